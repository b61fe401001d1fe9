"""Pictures turned and mirrored with the boxes of their texts."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adapt import boxes
from adapt.data.augment import (
    SYMMETRIES_OF_A_RECTANGLE,
    SYMMETRIES_OF_A_SQUARE,
    can_turn,
    symmetries,
    turn,
    turn_box,
    turn_text,
)
from adapt.data.index import Index, build_index
from adapt.data.loader import PackReader, TileRule, most_tokens, row_sizes
from adapt.data.packing import PackRule, Piece, collate, pack_step
from adapt.data.plan import Plan, Tree, draw_symmetries, plan_run, stream_of, whole
from adapt.data.template import get_template
from adapt.data.tokenizer import train_tokenizer

TEMPLATE = get_template("internvl2_5")
RULE = TileRule(tile_px=120, tokens_per_tile=4, max_tiles=1)
SIZES = {"square": (120, 120), "wide": (120, 80)}
RECTANGLES = {"square": (12, 30, 84, 48), "wide": (0, 4, 60, 70)}
CASES = [(name, symmetry) for name, size in SIZES.items() for symmetry in symmetries(size)]


def draw(name: str) -> np.ndarray:
    """uint8[H, W, 3]: a dark picture with a bright red rectangle."""
    width, height = SIZES[name]
    x1, y1, x2, y2 = RECTANGLES[name]
    picture = np.full((height, width, 3), 40, np.uint8)
    picture[y1:y2, x1:x2] = (220, 30, 30)
    return picture


def red_box(picture_HWC: np.ndarray) -> np.ndarray:
    """float64[4]: where the red lies, in thousandths of the picture."""
    rows, columns = np.nonzero(picture_HWC[..., 0].astype(int) - picture_HWC[..., 1] > 90)
    height, width = picture_HWC.shape[:2]
    edges = [columns.min() / width, rows.min() / height, (columns.max() + 1) / width, (rows.max() + 1) / height]
    return 1000 * np.asarray(edges)


def row(identifier: str, images: list[str], *turns: str) -> str:
    said = [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(turns)]
    return json.dumps({"id": identifier, "image": images, "conversations": said}) + "\n"


def red(name: str) -> str:
    return boxes.format_boxes("red", [RECTANGLES[name]], SIZES[name])


ROWS = [
    ("square", ["square.png"], "<image>\nwhere is red?", red("square")),
    ("square colour", ["square.png"], "<image>\nwhat is it?", "red"),
    ("square asked", ["square.png"], f"<image>\nwhat is in {red('square')}?", "red"),
    ("wide", ["wide.png"], "<image>\nwhere is red?", red("wide")),
    ("wide colour", ["wide.png"], "<image>\nwhat is it?", "red"),
    ("side", ["side.png"], "<image>\nwhere is red?", f"on the left, {red('square')}"),
    ("side colour", ["side.png"], "<image>\nwhat is it?", "red"),
    ("two", ["square.png", "wide.png"], "<image><image>\nwhat is it?", "red"),
    ("text", [], "what is red?", "a colour"),
]
BOXED = {"square", "square asked", "wide"}  # and free to turn
NUMBER = {name: number for number, (name, *_) in enumerate(ROWS)}


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["where is red? what is in it 0 10 120 345 678 900 1000 the left"] * 4, 400)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("turning")
    Image.fromarray(draw("square")).save(made / "square.png")
    Image.fromarray(draw("wide")).save(made / "wide.png")
    Image.fromarray(draw("square") + np.uint8(1)).save(made / "side.png")
    (made / "rows.jsonl").write_text("".join(row(*each) for each in ROWS))
    return made


def index_of(folder: Path, tokenizer, turned: bool = True) -> Index:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADAPT_CACHE", str(folder / "cache"))
        return build_index([folder / "rows.jsonl"], tokenizer, TEMPLATE, turned=turned)


@pytest.fixture(scope="module")
def index(folder: Path, tokenizer) -> Index:
    return index_of(folder, tokenizer)


def reader_of(index: Index, tokenizer) -> PackReader:
    return PackReader(
        index=index, rule=RULE, image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"), reduction="square", seed=0,
        augment="overhead", jpeg_quality=0, drop_path=0.0, residual_branches=4, source_numbers={"rows": 0},
    )  # fmt: skip


def plan_of(index: Index, seed: int = 0, epochs: float = 40.0) -> Plan:
    everything = whole(stream_of("domain", index, np.arange(len(index))))
    return plan_run(everything, None, ratio=0, seed=seed, samples_per_step=4, max_branches=3, epochs=epochs, max_steps=0)


@pytest.mark.parametrize(("name", "symmetry"), CASES)
def test_the_rectangle_lies_where_the_text_says(name: str, symmetry: str) -> None:
    """A rectangle drawn in a picture is found in each of its symmetries where the turned text has its box, to 1 in 1,000."""
    text = turn_text(f"a {red(name)} b", symmetry, SIZES[name])
    assert re.fullmatch(r"a <ref>red</ref><box>\[\[\d+, \d+, \d+, \d+\]\]</box> b", text)
    ((_, ((*said,),)),) = boxes.read_boxes(text)
    assert np.abs(red_box(turn(draw(name), symmetry)) - said).max() <= 1


@pytest.mark.parametrize("symmetry", SYMMETRIES_OF_A_SQUARE)
def test_boxes_move_as_albumentations_moves_them(symmetry: str) -> None:
    """Our box of each symmetry is that of albumentations' bboxes_d4, for any box."""
    from albumentations.augmentations.geometric import functional

    corners = np.sort(np.random.default_rng(0).uniform(0, 1, (50, 2, 2)), axis=1).reshape(50, 4)
    expected = functional.bboxes_d4(corners, symmetry)
    ours = [turn_box(tuple(box), symmetry, (1, 1)) for box in corners]
    assert np.allclose(ours, expected, atol=1e-12)


@pytest.mark.parametrize("size", [(1000, 1000), (97, 97), (33, 57), (1013, 401)])
def test_whole_numbers_move_without_loss(size: tuple[int, int]) -> None:
    """Numbers of 0..1000 mirror to 1000 minus themselves, exactly, whatever the picture's size; four quarters are none."""
    for value in range(1001):
        (moved,) = boxes.find_boxes(turn_text(f"<box>[[0, {value}, 7, 1000]]</box>", "r180", size))
        assert moved.texts == (("993", "0", "1000", str(1000 - value)),)
        if size[0] == size[1]:
            text = moving = f"<box>[[0, {value}, 7, 1000]]</box>"
            for _ in range(4):
                moving = turn_text(moving, "r90", size)
            assert moving == text


@pytest.mark.parametrize(
    "text",
    [
        "turn left?", "the upper one", "north-west", "a northeastern road", "what is above it?", "counterclockwise", "在左边",
        "<quad>[[1, 2, 3, 4, 5, 6, 7, 8]]</quad>", "<box>[[1, 2, 3, 4, 5, 6, 7, 8]]</box>", "<box>[[1, 2, 3, 4, 45.0]]</box>",
        "<box>[[0.1, 0.2, 0.3, 0.4]]</box>", "<box>[[10, 20, 1030, 40]]</box>", "<box>[[30, 20, 10, 40]]</box>",
        "it lies at [10, 20, 30, 40]", "it lies at (10, 20)", "{<12><20><30><40>|<5>}", "<c1,CAM_BACK,120.5,300.0>",
        "<box>[[10, 20, 30, 40]]</box> on the right",
    ],
)  # fmt: skip
def test_texts_that_forbid_turning(text: str) -> None:
    """Words that name a side, and places written otherwise than as our boxes, keep a picture as it is."""
    assert not can_turn(["what is it?", text])


@pytest.mark.parametrize(
    "text",
    [
        "a bright road", "there are 1,200 of them", "<box>[[1, 2, 3, 4], [5, 6, 7, 8]]</box>", "<box>(1, 2),(3, 4)</box>",
        "<ref>a car</ref><box>[1,2,3,4]</box> and <box>[[0, 0, 1000, 1000]]</box>", "<box>[]</box>",
    ],
)  # fmt: skip
def test_texts_that_may_turn(text: str) -> None:
    """Boxes in tags move, in whatever brackets, and all else stays as it is written."""
    assert can_turn([text])
    assert boxes.outside_tags(turn_text(text, "hvt", (50, 50))) == boxes.outside_tags(text)
    assert re.sub(r"\d+", "0", turn_text(text, "r90", (50, 50))) == re.sub(r"\d+", "0", text)
    assert turn_text(turn_text(text, "h", (50, 40)), "h", (50, 40)) == text


def test_only_rows_with_boxes_are_kept_in_every_symmetry(index: Index, folder: Path, tokenizer) -> None:
    """The index of turned pictures holds the boxed rows that may turn seven or three times more; the other index nothing."""
    names = index.table["id"][:]
    counted = {name: index.turned["row"][:].count(number) for number, name in enumerate(names)}
    assert {name: count for name, count in counted.items() if count} == {"square": 7, "square asked": 7, "wide": 3}
    plain = index_of(folder, tokenizer, turned=False)
    assert len(plain.turned) == 0 and plain.fingerprint == index.fingerprint
    assert plain.table["input_ids"][:] == index.table["input_ids"][:]
    assert dict(zip(names, index.table["turnable"][:], strict=True)) == {
        "square": True, "square colour": True, "square asked": True, "wide": True, "wide colour": True, "side": False,
        "side colour": True, "two": False, "text": False,
    }  # fmt: skip


def test_tokens_of_the_plan_are_the_ids_loaded(index: Index, tokenizer) -> None:
    """Each row, turned or not, costs what is loaded for it; the longest symmetry is what a bound on tokens looks at."""
    sizes, reader = row_sizes(index, RULE), reader_of(index, tokenizer)
    lengths = []
    for number in range(len(index) + len(index.turned)):
        fields = index.fields(number)
        tree = reader.tree(Piece(0, Tree(0, 0, (number,), fields.get("symmetry", "e"))), 3)
        assert tree.num_tokens == sizes.tokens((number,)) and len(tree.tiles) == sizes.tiles[number]
        assert sum(fields["supervised"]) == sizes.supervised[number]
        lengths.append(tree.num_tokens)
    most = most_tokens(index, sizes)
    wide = [i for i in range(len(lengths)) if index.records([i])[0] == NUMBER["wide"]]
    assert len(wide) == 4 and most[NUMBER["wide"]] == max(lengths[i] for i in wide) > min(lengths[i] for i in wide)
    assert most[NUMBER["text"]] == lengths[NUMBER["text"]]


def test_the_branches_of_a_tree_turn_together(index: Index) -> None:
    """One symmetry for all rows of a tree, every one is drawn; where one row names a side none of its tree turns."""
    made, before = draw_symmetries(plan_of(index), index, 0), plan_of(index)
    drawn: dict[str, set[str]] = {}
    for trees, plain in zip(made.steps, before.steps, strict=True):
        for tree, was in zip(trees, plain, strict=True):
            assert tuple(index.records(tree.rows)) == was.rows and (tree.stream, tree.epoch) == (was.stream, was.epoch)
            for row in tree.rows:
                fields = index.fields(row)
                assert fields.get("symmetry", "e") == (tree.symmetry if fields["id"] in BOXED else "e")
                drawn.setdefault(fields["id"], set()).add(tree.symmetry)
    assert drawn["square"] == drawn["square asked"] == set(SYMMETRIES_OF_A_SQUARE)
    assert drawn["wide"] == drawn["wide colour"] == set(SYMMETRIES_OF_A_RECTANGLE)
    assert drawn["side"] == drawn["side colour"] == drawn["two"] == drawn["text"] == {"e"}


def test_pictures_and_answers_of_a_plan_agree(index: Index, tokenizer) -> None:
    """In the packs of a plan every box, asked about or answered, lies on the red of its own picture, in any light."""
    made, sizes, reader = (
        draw_symmetries(plan_of(index, epochs=12), index, 0),
        row_sizes(index, RULE),
        reader_of(index, tokenizer),
    )
    looked = set()
    for step, trees in enumerate(made.steps):
        for pack in pack_step(trees, sizes, PackRule(tokens=4000, tiles=20)):
            for piece in pack:
                tree = reader.tree(piece, step)
                for branch in tree.branches:
                    for _, found in boxes.read_boxes(tokenizer.decode(branch)):
                        assert np.abs(red_box(tree.tiles[0]) - found[0]).max() <= 1
                        looked.add((piece.tree.symmetry, index.fields(piece.tree.rows[0])["pictures"][0]))
            collate([reader.tree(piece, step) for piece in pack], reader.image_token_id)
    assert len(looked) >= 10


def test_the_draw_is_part_of_the_plan(index: Index) -> None:
    """The same seed turns the same trees; another seed others, though the rows be the same; the digest knows."""
    plain = plan_of(index)
    one, same, other = (draw_symmetries(plain, index, seed) for seed in (0, 0, 1))
    assert one == same and one.digest != other.digest != plain.digest != one.digest
    assert all(tree.symmetry == "e" for step in plain.steps for tree in step)


def test_boxes_of_another_scale_do_not_turn(folder: Path, tokenizer, tmp_path: Path) -> None:
    """Where a run's boxes are shares of 1 or pixels their rows stay as they are; rows without boxes turn."""
    Image.fromarray(draw("square")).save(tmp_path / "square.png")
    lines = [row("a", ["square.png"], "<image>\nwhere?", "<box>[[10, 20, 30, 1200]]</box>")]
    lines += [row("c", ["square.png"], "<image>\nwhat?", "red")]
    (tmp_path / "rows.jsonl").write_text("".join(lines))
    index = index_of(tmp_path, tokenizer)
    assert index.table["turnable"][:] == [False, True] and len(index.turned) == 0
