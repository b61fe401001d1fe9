"""The sweep: every run sees the same domain samples, a killed one goes on to the same result, wrong requests are refused."""

import hashlib
import html.parser
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adapt.errors import DataError, UsageError
from adapt.model.interpolation import interpolate
from adapt.records import ChatRecord, Turn, read_records, write_records, write_rows
from adapt.verbs import finetune, sweep

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "white": (240, 240, 240)}
SETTINGS = (
    "train.samples_per_step=8", "train.max_branches=2", "train.max_steps=3", "train.save_every=1", "data.workers=0",
    "train.learning_rate=1e-4",
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Indices go to the tests' own folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADAPT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def write_data(folder: Path, name: str, pictures: int, first_seed: int) -> Path:
    """``folder/name.jsonl``: coloured squares, two questions each, every fourth picture for testing."""
    records = []
    (folder / name).mkdir(parents=True)
    for number in range(pictures):
        random = np.random.default_rng(first_seed + number)
        colour = sorted(COLOURS)[int(random.integers(4))]
        canvas = random.integers(0, 60, (32, 32, 3), dtype=np.uint8)
        canvas[8:24, 8:24] = COLOURS[colour]
        Image.fromarray(canvas).save(folder / name / f"{number}.png")
        split = "test" if number % 4 == 3 else "train"
        for place, (question, answer) in enumerate([(f"Colour of the {name}?", colour), (f"Is it a {name}?", "yes")]):
            turns = (Turn("human", f"<image>\n{question}"), Turn("gpt", answer))
            picture = f"{name}/{number}.png"
            records.append(ChatRecord(f"{name}-{number}-{place}", turns, (picture,), ((32, 32),), meta={"split": split}))
    write_records(folder / f"{name}.jsonl", records)
    return folder / f"{name}.jsonl"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("data")
    return {name: write_data(folder, name, 24, seed) for name, seed in (("field", 0), ("common", 1000))}


@pytest.fixture(scope="module")
def base(data: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A nano model that answers every second general question."""
    run = tmp_path_factory.mktemp("base") / "run"
    settings = ("train.max_steps=25", "train.samples_per_step=12", "train.max_branches=2", "data.workers=0", "data.max_tiles=1")
    finetune(model="nano", data=[data["common"]], general=[data["field"]], general_ratio=0, output=run, set=settings)
    return run


def arguments(base: Path, data: dict[str, Path], output: Path) -> dict[str, Any]:
    return {
        "model": base, "data": [data["field"]], "general": [data["common"]], "benchmark": "vqa", "output": output,
        "ratios": "0,0.5", "seeds": "0,1", "alphas": "0.5", "set": SETTINGS,
    }  # fmt: skip


@pytest.fixture(scope="module")
def whole(base: Path, data: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep that nobody killed."""
    folder = tmp_path_factory.mktemp("whole") / "sweep"
    returned = sweep(**arguments(base, data, folder))
    assert returned == json.loads((folder / "sweep.json").read_text())
    return folder


@pytest.mark.slow
def test_every_run_sees_the_same_domain_samples(whole: Path) -> None:
    """By plan.json: equal domain samples at every ratio of a seed, general samples in their ratio, as many steps."""
    for seed in (0, 1):
        plans = [
            json.loads((whole / "runs" / f"ratio-{ratio}-seed-{seed}" / "plan.json").read_text()) for ratio in ("0", "0.5")
        ]
        assert [plan["samples"]["domain"] for plan in plans] == [24, 24]
        assert [plan["samples"]["general"] for plan in plans] == [0, 12]
        assert [plan["steps"] for plan in plans] == [3, 3]


@pytest.mark.slow
def test_a_sweep_leaves_what_it_promises(whole: Path) -> None:
    """sweep.json has a point for each ratio and alpha, pooled over the seeds; models that nobody needs are gone."""
    summary = json.loads((whole / "sweep.json").read_text())
    assert [row["ratio"] for row in summary["points"]] == [0, 0.5]
    assert [row["alpha"] for row in summary["interpolation"]["points"]] == [0.5]
    for row in (summary["base"], *summary["points"], *summary["interpolation"]["points"]):
        for side in ("field", "general"):
            assert row[side]["low"] <= row[side]["value"] <= row[side]["high"] and row[side]["count"] == 12
    for row in summary["points"]:
        for side in ("field", "general"):
            folders = [whole / model["folder"] / "scores" / side for model in row["models"]]
            values = [json.loads((folder / "scores.json").read_text())["metrics"]["exact"]["value"] for folder in folders]
            assert row[side]["value"] == pytest.approx(sum(values) / 2)
    assert not list(whole.glob("interpolated/*/*/model")) and not list(whole.glob("runs/*/checkpoints"))
    assert all((whole / model["folder"] / "model" / "config.json").is_file() for model in summary["points"][0]["models"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "killed_at", ["runs/ratio-0-seed-1/checkpoints/step-000002", "runs/ratio-0.5-seed-0/scores/field/scores.json"]
)
def test_a_killed_sweep_goes_on_to_the_same_result(
    base: Path, data: dict[str, Path], whole: Path, tmp_path: Path, killed_at: str
) -> None:
    """SIGKILL inside a run, or between two measurements; the same command again leaves the same sweep.json, to the byte."""
    folder = tmp_path / "sweep"
    given = arguments(base, data, folder)
    words = [sys.executable, "-m", "adapt", "sweep", "--set", *given.pop("set")]
    for name, value in given.items():
        words += [f"--{name}", *(str(each) for each in (value if isinstance(value, list) else [value]))]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    end = time.monotonic() + 300
    while not (folder / killed_at).exists():
        assert time.monotonic() < end and process.poll() is None, process.communicate()[1]
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (folder / "sweep.json").exists()
    sweep(**arguments(base, data, folder))
    assert (folder / "sweep.json").read_bytes() == (whole / "sweep.json").read_bytes()


@pytest.mark.slow
def test_a_finished_sweep_is_asked_again_at_once(base: Path, data: dict[str, Path], whole: Path, tmp_path: Path) -> None:
    """Another --keep trains nothing again; another recipe is refused with what differs, and leaves all as it was."""
    folder = tmp_path / "sweep"
    shutil.copytree(whole, folder)
    weights = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/model/model.safetensors")}
    assert sweep(**arguments(base, data, folder) | {"keep": 0.01})["recommendation"]["setting"] == 0
    before = (folder / "sweep.config.json").read_bytes()
    with pytest.raises(UsageError, match="settings was .*learning_rate=1e-4.*learning_rate=2e-4"):
        sweep(**arguments(base, data, folder) | {"set": (*SETTINGS[:-1], "train.learning_rate=2e-4")})
    assert (folder / "sweep.config.json").read_bytes() == before
    assert weights == {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/model/model.safetensors")}


@pytest.mark.slow
def test_a_sweep_that_could_not_start_holds_its_folder_for_no_model(base: Path, data: dict[str, Path], tmp_path: Path) -> None:
    """A base that has nothing to keep is refused before there is a run: the same folder may be asked with another one."""
    settings = ("train.max_steps=1", "train.samples_per_step=4", "data.workers=0", "data.max_tiles=1")
    finetune(
        model="nano", data=[data["common"]], general=[data["field"]], general_ratio=0, output=tmp_path / "new", set=settings
    )
    asked = arguments(base, data, tmp_path / "sweep") | {"ratios": "0", "seeds": "0", "alphas": ""}
    with pytest.raises(DataError, match="no ability that could be kept"):
        sweep(**asked | {"model": tmp_path / "new"})
    assert not (tmp_path / "sweep" / "runs").exists()
    assert sweep(**asked)["base"]["general"]["value"] > 0
    with pytest.raises(UsageError, match="model was .*weights_sha256"):
        sweep(**asked | {"model": tmp_path / "new"})


@pytest.mark.slow
def test_weights_between_are_those_of_the_ratios_asked_for(
    base: Path, data: dict[str, Path], whole: Path, tmp_path: Path
) -> None:
    """Asked again without the smallest ratio, the sweep interpolates from the smallest that is left, and measures that anew."""
    folder = tmp_path / "sweep"
    shutil.copytree(whole, folder)
    again = sweep(**arguments(base, data, folder) | {"ratios": "0.5", "seeds": "0"})["interpolation"]
    assert again["from"] == 0.5
    (point,) = again["points"]
    score = json.loads((folder / point["models"][0]["folder"] / "scores" / "field" / "scores.json").read_text())
    expected = interpolate(base, folder / "runs" / "ratio-0.5-seed-0", 0.5, tmp_path / "between")
    assert score["model"]["weights_sha256"] == hashlib.sha256((expected / "model.safetensors").read_bytes()).hexdigest()


@pytest.mark.slow
def test_fractions_are_nested_parts_of_the_pictures(base: Path, data: dict[str, Path], tmp_path: Path) -> None:
    """A smaller part lies inside a larger one, whole pictures, the test rows whole; as many domain samples are seen of each."""
    given = arguments(base, data, tmp_path / "sweep") | {
        "fractions": "0.25,0.5,1",
        "general_ratio": 0.5,
        "seeds": 3,
        "alphas": "",
    }
    del given["ratios"]
    summary = sweep(**given)
    parts = [
        {record.id for record in read_records(tmp_path / "sweep" / "data" / f"fraction-{part}-seed-3" / "0" / "field.jsonl")}
        for part in ("0.25", "0.5")
    ]
    every = read_records(data["field"])
    test = {record.id for record in every if record.split == "test"}
    assert test < parts[0] < parts[1] < {record.id for record in every}
    assert [len(part - test) for part in parts] == [8, 18]  # of 18 training pictures 4 (4.5 to even) and 9, two questions each
    assert [row["samples"] for row in summary["points"]] == [[{"domain": 24, "general": 12}]] * 3
    assert summary["recommendation"]["of"].startswith("field score")


class Page(html.parser.HTMLParser):
    """Tags and text of a page, as the standard library reads it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def write_measured(folder: Path, right: dict[str, dict[str, int]]) -> None:
    """What evaluate leaves, by hand: of 200 questions of each side, each its own picture, the first ``right`` are answered."""
    for side, count in right.items():
        write_measured_side(folder / "scores" / side, side, count)
    (folder / "plan.json").write_text(json.dumps({"samples": {"domain": 400, "general": 100}, "steps": 10}))
    write_rows(folder / "log.jsonl", [{"step": step, "loss": 1.0, "seconds": 6.0} for step in range(1, 11)])


def write_measured_side(place: Path, side: str, count: int) -> None:
    metric = {"value": count / 200, "count": 200, "low": count / 200 - 0.05, "high": count / 200 + 0.05}
    place.mkdir(parents=True)
    document = {"headline": "exact", "metrics": {"exact": metric}, "convention": "by hand", "floor": {"exact": 0.1}}
    (place / "scores.json").write_text(json.dumps(document))
    write_rows(place / "marks.jsonl", ({"id": f"{side}-{i}", "mark": float(i < count)} for i in range(200)))


@pytest.fixture
def by_hand(tmp_path: Path) -> Any:
    """A measured sweep of three ratios, one seed, one alpha, with marks written by hand."""
    from adapt.evaluate.sweep import Measured, Model, Point, Side

    scores = {"base": (0, 160), "r0": (150, 60), "r0.25": (152, 159), "r1": (149, 160), "a0.5": (90, 140)}
    for name, (field, general) in scores.items():
        write_measured(tmp_path / name, {"field": field, "general": general})
    sides = {
        side: Side("vqa", Path(f"{side}.jsonl"), "test", {f"{side}-{i}": i for i in range(200)})
        for side in ("field", "general")
    }
    points = tuple(Point(ratio, (Model(tmp_path / f"r{ratio:g}", 0),)) for ratio in (0.0, 0.25, 1.0))
    between = (Point(0.5, (Model(tmp_path / "a0.5", 0),)),)
    return Measured(tmp_path, "ratios", 0.98, 0.0, sides, Model(tmp_path / "base"), points, between, 0.0, None, {})


def test_the_summary_and_its_recommendation_from_marks_by_hand(by_hand: Any) -> None:
    """0.25 keeps 159 of 160 questions, which is surely 0.98; 0 keeps 60. Values and counts are those of the marks."""
    from adapt.evaluate.sweep import summarise

    summary = summarise(by_hand)
    assert [row["kept"]["value"] for row in summary["points"]] == [pytest.approx(each / 160) for each in (60, 159, 160)]
    assert [row["field"]["value"] for row in summary["points"]] == [0.75, 0.76, 0.745]
    assert summary["recommendation"]["setting"] == 0.25 and summary["recommendation"]["reached"]
    assert summary["points"][2]["kept"]["at_least"] == 1.0
    assert summary["sentence"].startswith("Ratio 0.25 is the smallest")


def test_the_summary_says_where_nothing_is_enough(by_hand: Any) -> None:
    """No ratio keeps 1.1 of the base: none is recommended, and the best is named."""
    import dataclasses

    from adapt.evaluate.sweep import summarise

    summary = summarise(dataclasses.replace(by_hand, keep=1.1))
    assert summary["recommendation"]["setting"] is None and not summary["recommendation"]["reached"]
    assert summary["recommendation"]["best"] == 1.0
    assert summary["sentence"].startswith("No ratio tried keeps 1.1")


def test_a_gain_that_is_sure_is_held_beside_the_recommendation(by_hand: Any) -> None:
    """The base has none of 200 right, ratio 0.25 has 152, the floor is 0.1: the sentence says nothing against it."""
    from adapt.evaluate.sweep import summarise

    summary = summarise(by_hand)
    advice = summary["recommendation"]
    assert (advice["above_base"], advice["above_floor"]) == (True, True)
    assert (advice["gain"]["value"], advice["gain"]["count"]) == (0.76, 200)
    assert 0.69 < advice["gain"]["low"] < 0.72 < 0.8 < advice["gain"]["high"] < 0.83  # 0.76 -+ 1.96 x 0.0302
    assert "But" not in summary["sentence"]


def test_a_recommendation_where_the_field_gained_nothing_says_so(by_hand: Any, tmp_path: Path) -> None:
    """The base has 151 of 200 right, a ratio of 0.25 the same and one more: kept is enough, gained is nothing that is sure."""
    from adapt.evaluate.sweep import summarise
    from adapt.evaluate.sweep_page import write_page

    for name, right in (("base", 151), ("r0.25", 152)):
        place = tmp_path / name / "scores" / "field"
        shutil.rmtree(place)
        write_measured_side(place, "field", right)
    summary = summarise(by_hand)
    assert summary["recommendation"]["setting"] == 0.25
    assert (summary["recommendation"]["above_base"], summary["recommendation"]["above_floor"]) == (False, True)
    assert summary["recommendation"]["gain"]["low"] == 0.0 < summary["recommendation"]["gain"]["value"]
    (score,) = (row["field"] for row in summary["points"] if row["ratio"] == 0.25)
    said = f"exact is 76.0 % ({100 * score['low']:.1f} to {100 * score['high']:.1f}) there and 75.5 % ("
    assert f"But the field gained nothing that is sure: {said}" in summary["sentence"]
    assert said in Page(write_page(summary, tmp_path)).text


def test_a_recommendation_below_what_needs_no_picture_says_so(by_hand: Any, tmp_path: Path) -> None:
    """Where always giving one answer scores 0.75, 0.76 of 200 is not surely above it, though the base had nothing right."""
    from adapt.evaluate.sweep import summarise

    place = tmp_path / "base" / "scores" / "field" / "scores.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | {"floor": {"exact": 0.75}}))
    summary = summarise(by_hand)
    assert (summary["recommendation"]["above_base"], summary["recommendation"]["above_floor"]) == (True, False)
    assert "But the field's score there, 76.0 % (" in summary["sentence"]
    assert "is not surely above 75.0 %, which needs no picture" in summary["sentence"]
    place.write_text(json.dumps(json.loads(place.read_text()) | {"floor": {}}))
    assert summarise(by_hand)["recommendation"]["above_floor"] is None


def test_a_floor_is_of_the_metric_whose_name_it_has(by_hand: Any, tmp_path: Path) -> None:
    """RSVQA's micro and micro_all are two metrics: 0.76 is above the floors of the first, whatever those of the second. What
    each question text could reach in the test is no floor."""
    from adapt.evaluate.sweep import summarise

    for place in tmp_path.glob("*/scores/field/scores.json"):
        document = json.loads(place.read_text())
        metric = document["metrics"]["exact"]
        metrics = {"micro": metric, "micro_all": metric, "macro": metric}
        floors = {
            "micro": 0.1,
            "micro_of_types": 0.2,
            "micro_question_only": 1.0,
            "micro_all": 0.99,
            "micro_all_of_types": 0.99,
        }
        place.write_text(json.dumps(document | {"headline": "micro", "metrics": metrics, "floor": floors | {"macro": 0.99}}))
    summary = summarise(by_hand)
    assert list(summary["benchmarks"]["field"]["floors"]) == ["micro", "micro_of_types", "micro_question_only"]
    assert summary["recommendation"]["above_floor"] is True and "But" not in summary["sentence"]


def test_a_headline_that_is_no_mean_of_the_marks_is_judged_by_its_own_intervals(by_hand: Any, tmp_path: Path) -> None:
    """Of 100 questions of two types the headline is of one: 30, then 45 of 50 are right there, of the others 50, then 33. The
    mean of the marks falls; the headline's gain is sure, since the intervals lie apart. Where they do not, none is."""
    from adapt.evaluate.sweep import summarise

    def write(name: str, headline: int, others: int, low: float, high: float) -> None:
        place = tmp_path / name / "scores" / "field"
        document = json.loads((place / "scores.json").read_text())
        metric = {"value": headline / 50, "count": 50, "low": low, "high": high}
        (place / "scores.json").write_text(json.dumps(document | {"metrics": {"exact": metric}}))
        write_rows(place / "marks.jsonl", ({"id": f"field-{i}", "mark": float(i < headline)} for i in range(50)))
        with open(place / "marks.jsonl", "a") as handle:
            handle.writelines(json.dumps({"id": f"field-{50 + i}", "mark": float(i < others)}) + "\n" for i in range(50))

    write("base", 30, 50, 0.46, 0.73)
    write("r0.25", 45, 33, 0.80, 0.97)
    summary = summarise(by_hand)
    assert (summary["recommendation"]["gain"], summary["recommendation"]["above_base"]) == (None, True)
    assert "But" not in summary["sentence"]
    write("r0.25", 33, 50, 0.52, 0.78)
    summary = summarise(by_hand)
    assert summary["recommendation"]["above_base"] is False
    assert "exact is 66.0 % (52.0 to 78.0) there and 60.0 % (46.0 to 73.0) of the base." in summary["sentence"]


def test_no_question_that_all_have_a_mark_for_is_no_gain_of_zero(by_hand: Any, tmp_path: Path) -> None:
    """Where a gate scores none of the base's questions nothing can be paired: the gain is not known."""
    from adapt.evaluate.sweep import summarise

    (tmp_path / "base" / "scores" / "field" / "marks.jsonl").write_text("")
    assert [row["gain"] for row in summarise(by_hand)["points"]] == [None, None, None]


def test_a_base_that_knows_no_more_than_the_floor_has_no_ability_to_keep(by_hand: Any, tmp_path: Path) -> None:
    """The base has 160 of 200 general questions right, always one answer would have 0.78: keeping that shows nothing, unless a
    floor was asked for."""
    import dataclasses

    from adapt.evaluate.sweep import summarise

    place = tmp_path / "base" / "scores" / "general" / "scores.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | {"floor": {"exact": 0.78}}))
    said = "is not surely above 78.0 %, which needs no picture: what is kept of it shows no ability."
    assert said in summarise(by_hand)["sentence"]
    assert said not in summarise(dataclasses.replace(by_hand, floor=0.78))["sentence"]
    assert said not in summarise(dataclasses.replace(by_hand, kind="fractions"))["sentence"]


def test_fractions_show_which_score_each_column_is_of(by_hand: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The recommendation goes by the field's score: its share kept stands beside that of the general score, both named."""
    import dataclasses

    from adapt.evaluate.sweep import summarise
    from adapt.evaluate.sweep_page import write_page
    from adapt.show import show_sweep

    summary = summarise(dataclasses.replace(by_hand, kind="fractions"))
    # The largest has 149 right; 0 has 150, 0.25 has 152.
    assert [row["kept_field"]["value"] for row in summary["points"]] == [pytest.approx(n / 149) for n in (150, 152, 149)]
    text = Page(write_page(summary, tmp_path)).text
    assert "field score kept,of the largest's" in text and "general score kept,of the base's" in text
    show_sweep(summary, "sweep.html")
    shown = " ".join(capsys.readouterr().out.split())
    assert "field kept of it at least general kept of it at least" in shown
    assert "kept_field" not in summarise(by_hand)["points"][0]


def test_fractions_of_which_the_largest_gets_nothing_right_have_a_page(
    by_hand: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """There is nothing to keep of such a field score: no fraction is recommended, and what was measured is not lost."""
    import dataclasses

    from adapt.evaluate.sweep import Model, Point, summarise
    from adapt.evaluate.sweep_page import write_page
    from adapt.show import show_sweep

    write_measured(tmp_path / "f1", {"field": 0, "general": 150})
    points = (Point(0.5, (Model(tmp_path / "r0", 0),)), Point(1.0, (Model(tmp_path / "f1", 0),)))
    summary = summarise(dataclasses.replace(by_hand, kind="fractions", points=points))
    assert summary["recommendation"]["setting"] is None and not summary["recommendation"]["reached"]
    assert [row["field"]["value"] for row in summary["points"]] == [0.75, 0.0]
    assert [row["kept_field"] for row in summary["points"]] == [None, None]
    assert summary["sentence"].startswith("The largest fraction has no field question right: there is nothing of which")
    assert "has no field question right" in Page(write_page(summary, tmp_path)).text
    show_sweep(summary, "sweep.html")
    assert "has no field question right" in " ".join(capsys.readouterr().out.split())


def test_questions_that_a_rule_scores_for_some_models_only_are_left_out(by_hand: Any, tmp_path: Path) -> None:
    """As DriveLM's gate does: 0.25 has no marks for 10 questions. All are compared on the other 190, and the page says so."""
    import dataclasses

    from adapt.evaluate.sweep import summarise

    place = tmp_path / "r0.25" / "scores" / "field" / "marks.jsonl"
    place.write_text("".join(place.read_text().splitlines(keepends=True)[10:]))
    fractions = dataclasses.replace(by_hand, kind="fractions", interpolated=())
    summary = summarise(fractions)
    assert summary["benchmarks"]["field"]["compared"] == 190 and summary["benchmarks"]["general"]["compared"] == 200
    # The largest has 139 of them right, 0.25 these and 3 more, 0 these and 1 more: the smallest keeps all for sure.
    assert summary["recommendation"]["of"] == "field score, against the largest fraction"
    assert [summary["recommendation"][key] for key in ("reached", "setting", "best", "at_least")] == [True, 0.0, 0.0, 1.0]
    # The mean of the 190 is no headline of 200.
    assert summary["recommendation"]["gain"] is None and summary["recommendation"]["above_base"] is True


def test_the_page_has_every_point_and_fetches_nothing(by_hand: Any, tmp_path: Path) -> None:
    """A dot and a row for the base, each ratio and each alpha, inside the drawing, in their order; no address and no script."""
    from adapt.evaluate.sweep import summarise
    from adapt.evaluate.sweep_page import write_page

    page = Page(write_page(summarise(by_hand), tmp_path))
    circles = [tag for name, tag in page.tags if name == "circle"]
    dots, near = circles[:5], circles[5:]
    assert len(near) == 2  # drawn once more: the two that keep 0.9 or more
    assert all(0 < float(dot["cx"] or 0) < 720 and 0 < float(dot["cy"] or 0) < 440 for dot in circles)
    alpha, zero, quarter, one, base = ((float(dot["cx"] or 0), float(dot["cy"] or 0)) for dot in dots)
    assert zero[0] < alpha[0] < quarter[0] < one[0] == base[0]  # by general score
    assert quarter[1] < zero[1] < one[1] < alpha[1] < base[1]  # by field score, which grows upward
    assert not {name for name, _ in page.tags} & {"script", "link", "img", "iframe"}
    assert not [value for _, tag in page.tags for value in tag.values() if value and "//" in value]
    assert all(text in page.text for text in ("Ratio 0.25 is the smallest", "α 0.5", "80.0 %", "400 + 100"))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"fractions": "0.5,1"}, "--ratios and --fractions"),
        ({"ratios": "0,zero"}, "--ratios 0,zero: expected numbers"),
        ({"ratios": "0,0"}, "each once"),
        ({"ratios": ""}, "at least one"),
        ({"ratios": "0,-1"}, "each 0 or more"),
        ({"ratios": None, "fractions": "0,1"}, "no domain data"),
        ({"ratios": None, "fractions": "0.5,2"}, "each 0 to 1"),
        ({"seeds": "0.5"}, "--seeds 0.5"),
        ({"alphas": "2"}, "--alphas 2"),
        ({"general_ratio": 0.5}, "--general-ratio"),
        ({"keep": -1}, "--keep"),
        ({"general": []}, "missing --general"),
        ({"benchmark": "vqaa"}, "unknown benchmark"),
        ({"set": ("train.seed=3",)}, "--seeds"),
        ({"set": ("data.general_ratio=1",)}, "--ratios"),
        ({"model": "nano"}, "random weights"),
        ({"general_split": "train"}, "held-out"),
        ({"set": ("train.max_step=3",)}, "train.max_steps"),
        ({"set": ("evaluate.max_new_token=3",)}, "evaluate.max_new_tokens"),
        ({"domain": "remote_sensin"}, "remote_sensing"),
        ({"option": "convention=none"}, "benchmark vqa"),
    ],
)
def test_wrong_requests_are_refused_before_anything_is_trained(
    data: dict[str, Path], tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    """Each is a UsageError that names the option, and no run is begun."""
    with pytest.raises(UsageError, match=said):
        sweep(**arguments(Path("runs/base"), data, tmp_path / "sweep") | changed)
    assert not (tmp_path / "sweep" / "sweep.config.json").exists()


@pytest.mark.parametrize(("name", "number"), [("field", 3), ("common", 3), ("field", 4)])
def test_a_picture_that_is_gone_is_told_before_the_first_run(
    data: dict[str, Path], tmp_path: Path, name: str, number: int
) -> None:
    """Of the questions of both sides and of the training rows, with its row, before there is a folder (3 is a test picture)."""
    shutil.copytree(data["field"].parent, tmp_path / "data")
    own = {side: tmp_path / "data" / path.name for side, path in data.items()}
    (tmp_path / "data" / name / f"{number}.png").unlink()
    told = rf"{name}\.jsonl:{2 * number + 1}: picture .*{number}\.png: no such file; run 'adapt check'"
    with pytest.raises(DataError, match=told):
        sweep(**arguments(Path("runs/base"), own, tmp_path / "sweep"))
    assert not (tmp_path / "sweep").exists()


def test_rows_that_a_benchmark_cannot_score_are_told_before_the_first_run(data: dict[str, Path], tmp_path: Path) -> None:
    """Of the general side as of the field's: no base is measured for questions whose answers cannot be scored."""
    for changed in ({"benchmark": "ground"}, {"general_benchmark": "ground"}):
        with pytest.raises(DataError, match="benchmark ground: row '.*-3-0' and all others ask neither for boxes"):
            sweep(**arguments(Path("runs/base"), data, tmp_path / "sweep") | changed)
    assert not (tmp_path / "sweep").exists()


def test_the_other_sides_training_rows_are_no_test(data: dict[str, Path], tmp_path: Path) -> None:
    """General ability is not measured on the field's training rows either, though they are of another file."""
    changed = {"general_test": data["field"], "general_split": "train"}
    with pytest.raises(UsageError, match="held-out.*--general-test"):
        sweep(**arguments(Path("runs/base"), data, tmp_path / "sweep") | changed)


def test_general_data_without_held_out_rows_is_refused(data: dict[str, Path], tmp_path: Path) -> None:
    """Ability is never measured on rows that the runs train on: a file of test questions is asked for."""
    rows = [record for record in read_records(data["common"]) if record.split == "train"]
    write_records(tmp_path / "train.jsonl", rows)
    with pytest.raises(UsageError, match="--general-test"):
        sweep(**arguments(Path("runs/base"), data, tmp_path / "sweep") | {"general": [tmp_path / "train.jsonl"]})


def test_a_kill_before_anything_was_noted_is_no_obstacle(data: dict[str, Path], tmp_path: Path) -> None:
    """While the model is read a sweep has but its lock and a file half written: the same command comes past them."""
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / ".lock").write_text("4194300")
    (tmp_path / "sweep" / ".tmp-sweep.config.json.4194300").write_text("{")
    with pytest.raises(UsageError, match="random weights"):
        sweep(**arguments(Path("nano"), data, tmp_path / "sweep"))


def test_a_folder_of_something_else_is_left_alone(data: dict[str, Path], tmp_path: Path) -> None:
    """An output that is not empty and no sweep is refused."""
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(UsageError, match="no sweep"):
        sweep(**arguments(Path("runs/base"), data, tmp_path))
