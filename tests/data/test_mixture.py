"""Sources inside a side of the mixture: weights, epochs, caps."""

import collections
import json
from pathlib import Path

import numpy as np
import pytest

from adapt.data.index import Index, build_index
from adapt.data.mixture import capped, check_sources, make_side, quotas, read_by_source, realised
from adapt.data.plan import Plan, Side, Stream, epoch_trees, plan_run, whole
from adapt.data.template import get_template
from adapt.data.tokenizer import train_tokenizer
from adapt.errors import UsageError

MOST = 8


def make_stream(name: str, rows: int, groups: int, start: int = 0) -> Stream:
    keys = np.random.default_rng(rows).integers(0, groups, rows)
    return Stream(name, np.arange(start, start + rows), keys)


def plan(domain: Side, general: Side | None = None, **changes: object) -> Plan:
    settings = {"ratio": 0.25, "seed": 0, "samples_per_step": 64, "max_branches": MOST, "epochs": 1.0, "max_steps": 0}
    return plan_run(domain, general, **(settings | changes))


def rows_in_order(made: Plan, stream: int = 0) -> np.ndarray:
    return np.asarray([row for step in made.steps for tree in step if tree.stream == stream for row in tree.rows])


@pytest.mark.parametrize(
    ("weights", "epochs", "expected"),
    [
        ("", "", [100, 300, 600]),
        ("a=7,b=2,c=1", "", [700, 200, 100]),
        ("a=0.1,b=0.3,c=0.1", "", [200, 600, 200]),
        ("a=1,b=1", "", [200, 200, 600]),
        ("", "a=3,c=0.5", [300, 300, 300]),
        ("b=2,c=1", "a=0.25", [25, 600, 300]),
    ],
)
def test_quotas_by_hand(weights: str, epochs: str, expected: list[float]) -> None:
    """Weights share out what the sources named have together; epochs multiply rows; who is not named is seen once."""
    counts = {"a": 100, "b": 300, "c": 600}
    assert quotas(counts, read_by_source(weights, epochs, "")) == pytest.approx(expected, abs=1e-9)


def deviations(of_sample: np.ndarray, shares: list[float]) -> tuple[float, float]:
    """The largest distance of a source from its quota, at any place, and in any window of 1,000 samples."""
    here = window = 0.0
    for source, share in enumerate(shares):
        ahead = np.r_[0, np.cumsum(of_sample == source)] - share * np.arange(len(of_sample) + 1)
        here, window = max(here, np.abs(ahead).max()), max(window, np.abs(ahead[1000:] - ahead[:-1000]).max())
    return here, window


def three(shares: tuple[float, ...]) -> Side:
    sizes = (5000, 3000, 2000)
    starts = (0, 5000, 8000)
    streams = [make_stream(f"domain/{i}", sizes[i], sizes[i] // 7, starts[i]) for i in range(len(shares))]
    return Side(tuple(streams), tuple(share * 10_000 for share in shares))


def test_three_weights_over_ten_thousand_draws() -> None:
    """Weights .7, .2, .1: after 10,000 samples, and at any place before, each source is within one tree of its quota."""
    made = plan(three((0.7, 0.2, 0.1)))
    of_sample = np.digitize(rows_in_order(made), (5000, 8000))
    assert len(of_sample) >= 10_000
    given = np.bincount(of_sample[:10_000])
    assert np.abs(given - [7000, 2000, 1000]).max() <= MOST
    here, window = deviations(of_sample, [0.7, 0.2, 0.1])
    assert here <= MOST
    assert window < 2 * MOST


@pytest.mark.parametrize("share", [0.5, 0.7, 0.05])
def test_two_sources_hold_their_quota_in_every_window(share: float) -> None:
    """Two sources are within one tree of their quotas in every window of 1,000 samples of their side."""
    made = plan(three((share, 1 - share)), max_steps=300)
    of_sample = np.digitize(rows_in_order(made), (5000, 8000))
    assert deviations(of_sample, [share, 1 - share])[1] <= MOST


def test_weights_inside_the_sides_leave_the_ratio_between_them() -> None:
    """data.general_ratio holds in every window to within one tree, whatever the sources of either side weigh."""
    general = Side((make_stream("general/x", 900, 100, 10_000), make_stream("general/y", 50, 9, 11_000)), (10.0, 940.0))
    made = plan(three((0.7, 0.2, 0.1)), general)
    sides = np.asarray([tree.stream for step in made.steps for tree in step for _ in tree.rows])
    assert deviations(sides, [0.8, 0.2])[1] <= MOST
    assert deviations((rows_in_order(made, 1) >= 11_000).astype(int), [10 / 950, 940 / 950])[0] <= MOST


def test_epochs_of_a_half_and_of_three() -> None:
    """Over two epochs of the side rows are seen once, six times and twice: no row more, none less; a third gives half again."""
    streams = tuple(make_stream(f"domain/{i}", 601, 90, 1000 * i) for i in range(3))
    side = Side(streams, (300.5, 1803.0, 601.0))
    seen = collections.Counter(rows_in_order(plan(side, epochs=2.0)).tolist())
    assert [{seen[row] for row in stream.rows} for stream in streams] == [{1}, {6}, {2}]
    seen = collections.Counter(rows_in_order(plan(side, epochs=3.0)).tolist())
    assert [{seen[row] for row in stream.rows} for stream in streams] == [{1, 2}, {9}, {3}]
    halves = sum(seen[row] == 2 for row in streams[0].rows)
    assert abs(halves - 300.5) <= MOST


def test_every_row_comes_before_one_comes_again() -> None:
    """At any place of a run a source's rows have been seen equally often, to within one."""
    made = plan(three((0.7, 0.2, 0.1)), epochs=2.3)
    order = rows_in_order(made)
    for end in (777, 5000, len(order)):
        counts = np.bincount(order[:end], minlength=10_000)
        for source in (counts[:5000], counts[5000:8000], counts[8000:]):
            assert source.max() - source.min() <= 1


def test_a_source_more_leaves_the_order_of_the_others() -> None:
    """A third source changes how often the first two come, not the order of their trees."""

    def trees(side: Side, below: int) -> list[tuple[int, ...]]:
        return [tree.rows for step in plan(side).steps for tree in step if max(tree.rows) < below]

    for below in (5000, 8000):
        two, more = trees(three((0.5, 0.3)), below), trees(three((0.5, 0.3, 0.2)), below)
        kept = [[rows for rows in each if min(rows) >= below - 3000] for each in (two, more)]
        shared = min(map(len, kept))
        assert shared > 50 and kept[0][:shared] == kept[1][:shared]


def test_caps_are_drawn_and_stable() -> None:
    """A cap keeps exactly that many rows from all over a source, the same each time; a smaller one keeps a part of them."""
    stream = Stream("domain/big", np.arange(50, 20_050), np.arange(20_000) // 40)
    kept = capped(stream, 1000, 0, MOST)
    assert len(kept.rows) == len(set(kept.rows.tolist())) == 1000
    assert np.array_equal(stream.tree_keys[kept.rows - 50], kept.tree_keys)
    assert kept.rows.mean() == pytest.approx(10_050, rel=0.1), "not the first rows, nor the last"
    assert np.array_equal(kept.rows, capped(stream, 1000, 0, MOST).rows)
    assert not np.array_equal(kept.rows, capped(stream, 1000, 1, MOST).rows)
    assert set(capped(stream, 300, 0, MOST).rows) < set(kept.rows)
    assert capped(stream, 20_000, 0, MOST) is stream


def test_a_capped_source_costs_in_proportion() -> None:
    """A twentieth of the rows makes a twentieth of the trees, from half of the pictures: rows drawn alone would need 433."""
    stream = Stream("domain/big", np.arange(20_000), np.arange(20_000) // 40)
    kept = capped(stream, 1000, 0, MOST)
    all_trees, trees = (epoch_trees(each, 0, 0, MOST) for each in (stream, kept))
    assert len(trees) <= len(all_trees) / 20
    assert 80 < len(np.unique(kept.tree_keys)) <= len(trees) == 125


TEXTS = {"rsvqa_lr": 40, "eurosat": 30, "dior": 20}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """Ninety rows of text of three sources in one file, the last ones a file's own; general ones in another."""
    folder = tmp_path_factory.mktemp("mixture")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADAPT_CACHE", str(folder / "cache"))
        return build_index(write_files(folder), train_tokenizer(["what is it? a road"] * 4, 300), get_template("internvl2_5"))


def write_files(folder: Path) -> list[Path]:
    def line(identifier: str, **fields: str) -> str:
        turns = [{"from": "human", "value": "what is it?"}, {"from": "gpt", "value": "a road"}]
        return json.dumps({"id": identifier, "conversations": turns} | fields) + "\n"

    named = [line(f"{source}-{i}", source=source) for source, count in TEXTS.items() for i in range(count)]
    (folder / "field.jsonl").write_text("".join([*named, *(line(f"own-{i}") for i in range(10))]))
    (folder / "coco.jsonl").write_text("".join([line(f"coco-{i}") for i in range(25)] + [line("d", source="dior")]))
    return [folder / "field.jsonl", folder / "coco.jsonl"]


DOMAIN, GENERAL = np.arange(100), np.arange(100, 126)


def side_of(index: Index, rows: np.ndarray, name: str = "domain", **texts: str) -> tuple[Side, list[str]]:
    by_source = read_by_source(*(texts.get(field, "") for field in ("weights", "epochs", "caps")))
    return make_side(name, index, rows, by_source, seed=0, max_branches=MOST)


def test_sources_are_named_by_record_or_by_file(index: Index) -> None:
    """A record's source, else its file's stem, is what the settings name; the side of no source named is one stream."""
    side, notes = side_of(index, DOMAIN, epochs="field=3,dior=0.5", caps="rsvqa_lr=7,eurosat=30")
    assert [stream.name for stream in side.streams] == ["domain/dior", "domain/eurosat", "domain/field", "domain/rsvqa_lr"]
    assert side.quotas == (10.0, 30.0, 30.0, 7.0)
    assert notes == [
        "domain: 30 of 30 training rows of 'eurosat' used, as without the cap",
        "domain: 7 of 40 training rows of 'rsvqa_lr' drawn",
    ]
    untouched, _ = side_of(index, GENERAL, "general", epochs="field=3")
    assert [stream.name for stream in untouched.streams] == ["general"] and untouched.quotas == (26.0,)


def test_what_was_realised_is_counted(index: Index) -> None:
    """Rows, samples, share and epochs of each source are those of the plan's trees, also where nothing was set."""
    side, _ = side_of(index, DOMAIN, weights="rsvqa_lr=2,eurosat=1", caps="field=5")
    sides = {"domain": side, "general": whole(Stream("general", GENERAL, GENERAL))}
    made = plan(side, sides["general"])
    found = realised(made, index, sides)
    names = np.asarray(index.table["source"][:])
    for number, name in enumerate(sides):
        taken = collections.Counter(names[rows_in_order(made, number)].tolist())
        assert {source: each["samples"] for source, each in found[name].items()} == taken
    # 70 rows shared out 2 to 1, twenty of dior and five of field seen once
    assert found["domain"]["rsvqa_lr"] == {"rows": 40, "samples": 47, "share": 0.4947, "epochs": 1.175}
    assert found["domain"]["field"] == {"rows": 5, "samples": 5, "share": 0.0526, "epochs": 1.0}
    assert set(found["general"]) == {"coco", "dior"}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"weights": "rsvqa_lr:2"}, r"--set data.weights=aerial=2,street=1$"),
        ({"weights": "rsvqa_lr=2,eurosat"}, r"'eurosat'; expected SOURCE=a number above 0"),
        ({"weights": "rsvqa_lr=2,rsvqa_lr=1"}, "'rsvqa_lr' twice"),
        ({"epochs": "dior=0"}, r"--set data.epochs=rare=3$"),
        ({"epochs": "dior=nan"}, r"--set data.epochs=rare=3$"),
        ({"epochs": "=3"}, r"--set data.epochs=rare=3$"),
        ({"caps": "geochat=2.5"}, r"a whole number of rows, 1 or more.*--set data.caps=huge=5000$"),
        ({"weights": "a=1,b=2", "epochs": "b=2"}, "'b' stands in data.weights and in data.epochs.*take it out of one"),
    ],
)
def test_bad_texts_are_answered_with_one_to_paste(texts: dict[str, str], message: str) -> None:
    """A text that says nothing, or two things of one source, is a usage error."""
    with pytest.raises(UsageError, match=message):
        read_by_source(*(texts.get(field, "") for field in ("weights", "epochs", "caps")))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"caps": "eurosta=5"}, "unknown source in data.caps 'eurosta': did you mean 'eurosat'"),
        ({"epochs": "nothing=5"}, "unknown source in data.epochs 'nothing': known: coco, dior, eurosat, field, rsvqa_lr"),
        ({"epochs": "dior=5"}, "'dior' is a source of the domain data and of the general data"),
        ({"weights": "eurosat=5"}, "data.weights names 'eurosat' alone.*data.epochs=eurosat=2"),
    ],
)
def test_settings_that_fit_no_source_are_refused(index: Index, texts: dict[str, str], message: str) -> None:
    """A source that does not exist, one on both sides, and a weight with nothing to weigh against are usage errors."""
    by_source = read_by_source(*(texts.get(field, "") for field in ("weights", "epochs", "caps")))
    with pytest.raises(UsageError, match=message):
        check_sources(by_source, index, {"domain": DOMAIN, "general": GENERAL})
        make_side("domain", index, DOMAIN, by_source, seed=0, max_branches=MOST)


def test_a_source_without_training_rows_is_named(index: Index) -> None:
    """A source of which all rows are held out or of a test split is not called unknown."""
    with pytest.raises(UsageError, match="the source 'field' has no training rows"):
        check_sources(read_by_source("", "field=2", ""), index, {"domain": np.arange(90)})


def test_without_settings_the_plan_is_what_it_was() -> None:
    """The digest of a plan of whole sides is the one from before there were sources."""
    made = plan(whole(make_stream("domain", 601, 70)), whole(make_stream("general", 400, 50, 601)), epochs=2.5, seed=5)
    assert made.digest == "92dd6765479f6c340ea92840527a4a26ac64109b1559bc2ed124ebcb38e77882"
