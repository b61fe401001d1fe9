"""PTB tokens in Python: Stanford's own, on stored rows and, where Java is there, on whatever text."""

import importlib.resources
import json
import random
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from adapt.evaluate.tokens import ptb_tokens

# What Stanford's PTBTokenizer 3.4.1 (-preserveLines -lowerCase) answers, less the dropped punctuation.
STANFORD = {
    "The car isn't moving; it can't.": "the car is n't moving it ca n't",
    "It's the driver's, they'll cannot go": "it 's the driver 's they 'll can not go",
    "<c1,CAM_BACK,1088.3,497.5>, <c2,CAM_BACK,864.2,468.3>.": "< c1 cam_back ,1088.3,497.5 > < c2 cam_back ,864.2,468.3 >",
    "<c2,CAM_BACK,[560,776]>": "< c2 cam_back -lsb- 560,776 -rsb- >",
    "(a) [b] {c}": "-lrb- a -rrb- -lsb- b -rsb- -lcb- c -rcb-",
    "A. Going ahead. B. Stopped. C. The car": "a. going ahead b. stopped c the car",
    "Mr. Smith of the U.S. at 5 p.m. in No. 5": "mr. smith of the u.s. at 5 p.m. in no. 5",
    "No. No one, i.e. e.g. etc.": "no no one i.e. e.g. etc.",
    "3.5 m/s, 12.6 km/h, 50%, $1,000.50, -0.5 +3": "3.5 m/s 12.6 km/h 50 % $ 1,000.50 -0.5 +3",
    "20:30 8:15am 12/25/2020 1/2 10-20 1.5-2.5": "20:30 8:15 am 12/25/2020 1/2 10-20 1.5-2 .5",
    "state-of-the-art -- a--b ... wait...what…": "state-of-the-art a b wait what",
    "He said \"hi\" and 'yes' ‘so’ “it’s”": "he said hi and yes so it 's",
    "what?! really!!! hello!world": "what ?! really !!! hello!world",
    "5.. 5...6 ,5 _a_ a_b 5_5 a..b": "5 5 6 ,5 _ a _ a_b 5_5 a. b",
    "AT&T a&b C++ m² 5°C €5 £6": "at&t a & b c++ m ² 5 ° c $ 5 # 6",
    "mph.The a.1 12. car.5 3D 2D-box": "mph.the a. 1 12 car .5 3d 2d-box",
    "rock'n'roll 'tis '90s o'clock O'Brien dogs'": "rock 'n' roll 't is '90s o'clock o'brien dogs",
    "www.example.com http://a.b/c?d=e foo@bar.com": "www.example.com http://a.b/c?d=e foo@bar.com",
    "<box>[[1, 2]]</box> <a b> x < y": "<box> -lsb- -lsb- 1 2 -rsb- -rsb- </box> <a b> x < y",
    "": "",
    " \n ...!?": "!?",
}


@pytest.mark.parametrize("text", STANFORD)
def test_tokens_are_stanfords(text: str) -> None:
    """Stored answers of the Java tokenizer: contractions, tags of cameras, abbreviations, numbers, quotes, brackets."""
    assert " ".join(ptb_tokens(text)) == STANFORD[text]


def language_items(folder: Path, name: str) -> list[tuple[str, str]]:
    """(truth, answer) of the questions with tag 2, in the challenge's order."""
    document = json.loads((folder / f"{name}.json").read_text())
    rows = document if isinstance(document, list) else document["results"]
    answers = {row["id"]: row["answer"] for row in rows}
    found = []
    for scene, content in json.loads((folder / "test_eval.json").read_text()).items():
        for frame, value in content["key_frames"].items():
            asked = [row for kind in ("perception", "prediction", "planning", "behavior") for row in value["QA"][kind]]
            found += [(row["A"], answers[f"{scene}_{frame}_{i}"]) for i, row in enumerate(asked) if 2 in row["tag"]]
    return found


@pytest.mark.parametrize("name", ["output", "submission"])
def test_golden_tokens(shared: Path, name: str) -> None:
    """Every language item of the challenge's sample has exactly the tokens that were stored with the official scores."""
    folder = shared / "data" / "drivelm_sample"
    golden = json.loads((folder / "golden" / f"ptb_tokens_{name}.json").read_text())
    items = language_items(folder, name)
    assert len(items) == len(golden["gts"]) == 9
    for place, (truth, answer) in enumerate(items):
        assert [" ".join(ptb_tokens(truth))] == golden["gts"][str(place)]
        assert [" ".join(ptb_tokens(answer))] == golden["res"][str(place)]


def stanford(texts: list[str], folder: Path) -> list[str]:
    """The Java tokenizer itself on one text a line; a blank line between, since it looks into the next one."""
    if shutil.which("java") is None:
        pytest.skip("needs java")
    jar = importlib.resources.files("pycocoevalcap.tokenizer") / "stanford-corenlp-3.4.1.jar"
    (folder / "in.txt").write_text("".join(f"{text}\n\n" for text in texts))
    command = ["java", "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase", "in.txt"]
    lines = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.split("\n")
    dropped = {"''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";"}
    return [" ".join(word for word in line.split() if word not in dropped) for line in lines[0 : 2 * len(texts) : 2]]


@pytest.mark.slow
def test_java_agrees(shared: Path, tmp_path: Path) -> None:
    """Java's tokenizer makes the same of every question and answer of the sample, of the stored texts, and of odd mixtures."""
    folder = shared / "data" / "drivelm_sample"
    texts = list(
        dict.fromkeys(text for name in ("output", "submission") for pair in language_items(folder, name) for text in pair)
    )
    for content in json.loads((folder / "data" / "train_sample.json").read_text()).values():
        for frame in content["key_frames"].values():
            texts += [row[key] for rows in frame["QA"].values() for row in rows for key in ("Q", "A")]
    draw = random.Random(0)
    mixed = "The car, is at 5.3 m/s <c1,CAM_BACK,1.5,2.5> don't it's No. yes. (left) 1,000 a/b x-y; to: U.S. 5% stop ."
    pieces = mixed.split()
    texts += [" ".join(draw.choices(pieces, k=draw.randint(1, 12))) for _ in range(300)]
    texts = [text.replace("\n", " ") for text in [*texts, *STANFORD] if text.strip()]
    for text, expected in zip(texts, stanford(texts, tmp_path), strict=True):
        assert " ".join(ptb_tokens(text)) == expected, text


def test_long_answers_cost_no_more_than_their_length() -> None:
    """Twenty thousand characters of what a stuck model repeats are read at once, not in hours."""
    start = time.process_time()
    for piece in (".a", "<a ", '<a b="', "a-", "a!", "'", "1,", "_.", "é@", "<!a"):
        ptb_tokens(piece * (20_000 // len(piece)))
    assert time.process_time() - start < 10
