"""The index and what the loader makes of it."""

import json
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from adapt.data.index import build_index
from adapt.data.loader import PackReader, PackRequest, TileRule, load_packs, loss_weight, read_tiles, row_sizes
from adapt.data.packing import PackRule, Piece, collate, pack_step
from adapt.data.plan import Tree, hold_out
from adapt.data.template import get_template
from adapt.data.tiling import tile
from adapt.data.tokenizer import train_tokenizer
from adapt.errors import DataError

TEMPLATE = get_template("internvl2_5")
RULE = TileRule(tile_px=32, tokens_per_tile=4, max_tiles=4)


def row(identifier: str, image: str | list[str] | None, *turns: str, **fields: object) -> dict[str, object]:
    """A chat row; turns alternate human, gpt."""
    made = {
        "id": identifier,
        "conversations": [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(turns)],
    }
    return made | ({} if image is None else {"image": image}) | fields


ROWS = [
    row("a", "1.png", "<image>\nWhat is it?", "a road"),
    row("b", "1.png", "<image>\nIs it wet?", "yes"),
    row("c", ["1.png", "2.png"], "<image>\nand <image>\nSame?", "no", "Really?", "it is not the same"),
    row("d", None, "What is a road?", "a way"),
    row("e", "2.png", "<image>\nTurn left?", "no", meta={"split": "val"}),
    row("f", ["1.png", "2.png"], "<image>\nWhat?", "a road", "Now <image>\nWhat?", "a tree"),
    row("g", ["1.png", "2.png"], "<image>\nWhat?", "a road", "Now <image>\nWet?", "no"),
]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADAPT_CACHE", str(tmp_path / "cache"))
    random = np.random.default_rng(0)
    for name, size in (("1.png", (32, 32)), ("2.png", (64, 32))):
        Image.fromarray(random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(tmp_path / name)
    write(tmp_path / "rows.jsonl", ROWS)
    return tmp_path / "rows.jsonl"


def write(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))


@pytest.fixture
def tokenizer():
    return train_tokenizer(["What is it? a road is wet and the same way, turn left"] * 4, 300)


def reader_of(index, tokenizer, **changes: object) -> PackReader:
    settings = {
        "rule": RULE, "image_token_id": tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"), "reduction": "square", "seed": 0,
        "augment": "none", "jpeg_quality": 0, "drop_path": 0.0, "residual_branches": 4, "source_numbers": {"rows": 0},
    }  # fmt: skip
    return PackReader(index=index, **(settings | changes))


def test_rows_that_share_pictures_and_prompt_share_a_tree(files: Path, tokenizer) -> None:
    """Same pictures and same text up to the last one: one tree; text alone is a tree of its own."""
    keys = dict(zip(*(build_index([files], tokenizer, TEMPLATE).table[name][:] for name in ("id", "tree_key")), strict=True))
    assert keys["a"] == keys["b"] and keys["f"] == keys["g"]
    assert len({keys[name] for name in "acdef"}) == 5


def test_sizes_are_what_the_loader_makes(files: Path, tokenizer) -> None:
    """Predicted tiles and tokens of every row equal what is loaded: known before a pixel is read."""
    index = build_index([files], tokenizer, TEMPLATE)
    sizes, reader = row_sizes(index, RULE), reader_of(index, tokenizer)
    for number in range(len(ROWS)):
        tree = reader.tree(Piece(0, Tree(0, 0, (number,))), None)
        assert len(tree.tiles) == sizes.tiles[number]
        assert tree.num_tokens == sizes.tokens((number,))
        assert int((tree.prefix_ids == reader.image_token_id).sum()) == 4 * sizes.tiles[number]
    assert sizes.tiles.tolist() == [1, 1, 1 + 3, 0, 3, 4, 4]


def test_supervised_tokens_are_the_answers(files: Path, tokenizer) -> None:
    """Decoding the predicted tokens of a pack gives the answers with their end tokens, wherever the branches lie."""
    index = build_index([files], tokenizer, TEMPLATE)
    reader = reader_of(index, tokenizer)
    trees = [Tree(0, 0, rows) for rows in ((0, 1), (2,), (3,), (5, 6))]
    batch = collate([reader.tree(Piece(i, tree), None) for i, tree in enumerate(trees)], reader.image_token_id)
    said = tokenizer.decode(batch.target_ids_P.tolist()).split("<|im_end|>")
    # f and g share their prefix, so its answer stands once and weighs for both
    expected = ["a road", "yes", "no", "it is not the same", "a way", "a road", "a tree", "no", ""]
    assert sorted(said) == sorted(expected)
    ids = batch.input_ids_RL.flatten()
    assert (ids[batch.target_positions_P + 1] == batch.target_ids_P).all()
    counts = row_sizes(index, RULE).supervised
    total = sum(counts[r] * loss_weight(int(counts[r]), "square") for tree in trees for r in tree.rows)
    assert float(batch.target_weights_P.sum()) == pytest.approx(float(total), rel=1e-12)


@pytest.mark.parametrize(("reduction", "weight"), [("token", 1.0), ("sample", 0.25), ("square", 0.5)])
def test_loss_weights(reduction: str, weight: float) -> None:
    """A token of a row with four supervised ones weighs 1, 1/4 or 1/2."""
    assert loss_weight(4, reduction) == weight
    assert loss_weight(0, reduction) == 0


def test_a_changed_picture_stops_the_run(files: Path, tokenizer) -> None:
    """A picture whose bytes are not those of the index is refused by name before it reaches a step."""
    index = build_index([files], tokenizer, TEMPLATE)
    Image.new("RGB", (32, 32), "red").save(files.parent / "1.png")
    with pytest.raises(DataError, match=r"1\.png: the picture changed since"):
        read_tiles(index.pictures[0], 4, RULE)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_changed_picture_is_one_line_from_a_worker_too(files: Path, tokenizer, workers: int) -> None:
    """What a loader's worker finds wrong reaches the caller as the same DataError of one line, no traceback in it."""
    index = build_index([files], tokenizer, TEMPLATE)
    Image.new("RGB", (32, 32), "red").save(files.parent / "1.png")
    requests = [PackRequest(0, (Piece(0, Tree(0, 0, (row,))),)) for row in (4, 0)]
    batches = load_packs(reader_of(index, tokenizer), requests, workers=workers, prefetch=2)
    next(batches)
    with pytest.raises(DataError, match=r"^[^\n]*1\.png: the picture changed since[^\n]*$"):
        next(batches)


def test_the_cache_follows_the_content(files: Path, tokenizer) -> None:
    """The same content is indexed once; a changed row, or a picture of another size or time, is indexed anew."""
    first = build_index([files], tokenizer, TEMPLATE)
    stored = list((files.parent / "cache" / "index").iterdir())
    assert build_index([files], tokenizer, TEMPLATE).fingerprint == first.fingerprint
    assert list((files.parent / "cache" / "index").iterdir()) == stored
    Image.new("RGB", (64, 64), "red").save(files.parent / "1.png")
    os.utime(files.parent / "1.png", ns=(1, 1))
    changed = build_index([files], tokenizer, TEMPLATE)
    assert changed.fingerprint != first.fingerprint
    assert changed.pictures[0]["width"] == 64
    write(files, ROWS[:3])
    assert len(build_index([files], tokenizer, TEMPLATE)) == 3


def test_the_fingerprint_knows_which_row_has_which_picture(files: Path, tokenizer) -> None:
    """Two pictures that change places are other data, though their contents and the rows' text are the same."""
    first = build_index([files], tokenizer, TEMPLATE).fingerprint
    one, two = ((files.parent / name).read_bytes() for name in ("1.png", "2.png"))
    (files.parent / "1.png").write_bytes(two)
    (files.parent / "2.png").write_bytes(one)
    assert build_index([files], tokenizer, TEMPLATE).fingerprint != first


def test_a_file_s_name_is_the_source_that_its_rows_do_not_give(files: Path, tokenizer) -> None:
    """A copy under another name is not taken from the cache under the first one's source; its trees are the same."""
    other = files.with_name("other.jsonl")
    other.write_bytes(files.read_bytes())
    first, second = (build_index([path], tokenizer, TEMPLATE) for path in (files, other))
    assert (set(first.table["source"][:]), set(second.table["source"][:])) == ({"rows"}, {"other"})
    assert first.table["tree_key"][:] == second.table["tree_key"][:]
    assert first.fingerprint == second.fingerprint


def test_rows_of_text_alone(files: Path, tokenizer) -> None:
    """Data without a single picture is indexed; each row is a tree of its own, equal rows of two files too."""
    write(files, [row("a", None, "What is a road?", "a way"), row("b", None, "What is a road?", "a way")])
    copy = files.with_name("copy.jsonl")
    copy.write_bytes(files.read_bytes())
    index = build_index([files, copy], tokenizer, TEMPLATE)
    assert (len(index), len(index.pictures)) == (4, 0)
    assert len(set(index.table["tree_key"][:])) == 4
    assert row_sizes(index, RULE).tiles.tolist() == [0, 0, 0, 0]


def test_a_file_without_rows_is_named(files: Path, tokenizer) -> None:
    """An empty file beside a good one is an error, not a silence."""
    files.with_name("empty.jsonl").write_text("\n")
    with pytest.raises(DataError, match=r"empty\.jsonl: no rows"):
        build_index([files, files.with_name("empty.jsonl")], tokenizer, TEMPLATE)


def test_boxes_in_two_scales_are_refused(files: Path, tokenizer) -> None:
    """One row with shares of 1 among rows of 0-1000 stops the index with the rows named."""
    good = row("x", "1.png", "<image>\nWhere?", "<ref>road</ref><box>[[10, 20, 300, 400]]</box>")
    write(files, [good])
    build_index([files], tokenizer, TEMPLATE)
    write(files, [good, row("y", "1.png", "<image>\nWhere?", "[0.1, 0.2, 0.3, 0.4]")])
    with pytest.raises(DataError, match=r"boxes in 2 scales: .*rows\.jsonl:1.*rows\.jsonl:2"):
        build_index([files], tokenizer, TEMPLATE)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row("x", "none.png", "<image>\nWhat?", "a"), r"rows\.jsonl:8: picture .*none\.png: no such file"),
        (row("a", "1.png", "<image>\nWhat?", "a"), r"rows\.jsonl:8: the id 'a' was seen before, at .*rows\.jsonl:1"),
        (row("x", "1.png", "What?", "a"), r"rows\.jsonl:8: 0 <image> placeholder\(s\) for 1 picture"),
        (row("x", "../up.png", "<image>\nWhat?", "a"), r"rows\.jsonl:8: the path '\.\./up\.png' leaves"),
    ],
    ids=["missing picture", "doubled id", "no placeholder", "path out"],
)
def test_bad_rows_are_named(files: Path, tokenizer, bad: dict[str, object], message: str) -> None:
    """A bad row stops the index with file:line, what was found and what was expected."""
    write(files, [*ROWS, bad])
    with pytest.raises(DataError, match=message):
        build_index([files], tokenizer, TEMPLATE)


def test_held_out_rows_are_chosen_by_picture(files: Path, tokenizer) -> None:
    """Where there is a val split it is taken; where there is none, whole pictures are drawn, and none is on both sides."""
    index = build_index([files], tokenizer, TEMPLATE)
    train, held, _ = hold_out(index, np.arange(7), share=0.1, most=5, seed=0, name="domain")
    assert held.tolist() == [4] and train.tolist() == [0, 1, 2, 3, 5, 6]
    rows = [row(f"{p}-{q}", f"{p}.png", f"<image>\nquestion {q}?", "yes") for p in range(20) for q in range(3)]
    for picture in range(20):
        Image.new("RGB", (32, 32), (picture, 0, 0)).save(files.parent / f"{picture}.png")
    write(files, rows)
    index = build_index([files], tokenizer, TEMPLATE)
    train, held, _ = hold_out(index, np.arange(60), share=0.2, most=500, seed=0, name="domain")
    assert sorted([*train, *held]) == list(range(60)) and len(held) == 12
    pictures = index.table["pictures"][:]
    assert {pictures[r][0] for r in train}.isdisjoint(pictures[r][0] for r in held)


def test_no_picture_of_a_row_with_several_is_on_both_sides(files: Path, tokenizer) -> None:
    """Rows of two pictures each, chained four by four: no held-out picture is one of training."""
    for picture in range(60):
        Image.new("RGB", (32, 32), (picture, 0, 0)).save(files.parent / f"{picture}.png")
    pairs = [(first + step, first + step + 1) for first in range(0, 60, 4) for step in range(3)]
    rows = [row(f"{a}-{b}", [f"{a}.png", f"{b}.png"], "<image> and <image>\nSame?", "no") for a, b in pairs]
    write(files, rows)
    index = build_index([files], tokenizer, TEMPLATE)
    train, held, _ = hold_out(index, np.arange(len(rows)), share=0.2, most=500, seed=0, name="domain")
    assert len(held) == 9 and sorted([*train, *held]) == list(range(len(rows)))
    pictures = index.table["pictures"][:]
    assert {p for r in train for p in pictures[r]}.isdisjoint(p for r in held for p in pictures[r])


def test_a_long_val_split_is_drawn_by_picture(files: Path, tokenizer) -> None:
    """Of a val split longer than the bound pictures are drawn by seed from all of the file; the count is said."""
    for picture in range(50):
        Image.new("RGB", (32, 32), (picture, 0, 0)).save(files.parent / f"{picture}.png")
    val = {"meta": {"split": "val"}}
    rows = [row(f"{p}-{q}", f"{p}.png", f"<image>\n{q}?", "yes", **val) for p in range(50) for q in range(4)]
    write(files, [*rows, row("t", "0.png", "<image>\nWhat?", "a")])
    index = build_index([files], tokenizer, TEMPLATE)
    held = [hold_out(index, np.arange(201), share=0.2, most=40, seed=seed, name="domain") for seed in (0, 0, 1)]
    chosen = held[0][1]
    assert held[0][2] == "40 of 200 rows of split 'val', drawn by picture"
    assert chosen.tolist() == held[1][1].tolist() != held[2][1].tolist()
    assert len({r // 4 for r in chosen}) == 10 and chosen.max() > 100
    assert held[0][0].tolist() == [200]


def test_packs_hold_their_budget(files: Path, tokenizer) -> None:
    """No pack exceeds its places or tiles; a tree over the budget is split between its branches; no row is lost."""
    rows = [row(f"{i}", f"{1 + i % 2}.png", f"<image>\nquestion number {i}?", "yes " * (1 + i % 7)) for i in range(120)]
    write(files, rows)
    index = build_index([files], tokenizer, TEMPLATE)
    sizes, reader = row_sizes(index, RULE), reader_of(index, tokenizer)
    step = [Tree(0, 0, tuple(range(start, min(start + 40, 120), 2))) for start in (0, 1, 40, 41, 80, 81)]
    for tokens, tiles in ((200, 4), (400, 6), (4000, 100)):
        packs = pack_step(step, sizes, PackRule(tokens=tokens, tiles=tiles))
        for pack in packs:
            batch = reader.read(type("Request", (), {"pieces": tuple(pack), "step": None})())
            assert batch.input_ids_RL.numel() <= tokens and len(batch.tiles_NCHW) <= tiles
        assert sorted(r for pack in packs for piece in pack for r in piece.tree.rows) == list(range(120))
    with pytest.raises(DataError, match="raise it"):
        pack_step(step, sizes, PackRule(tokens=20, tiles=4))


def test_light_and_noise_are_drawn_by_step(files: Path, tokenizer) -> None:
    """The same step gives the same light, other steps others; nothing changes outside training, and nothing is turned here."""
    index = build_index([files], tokenizer, TEMPLATE)
    reader = reader_of(index, tokenizer, augment="photometric")
    drawn = [reader.tree(Piece(0, Tree(0, 0, (0, 1))), step).tiles for step in (1, 1, 2, 3, 4)]
    assert np.array_equal(drawn[0], drawn[1]) and not all(np.array_equal(drawn[0], other) for other in drawn[2:])
    plain = tile(Image.open(files.parent / "2.png"), 4, 32)
    assert np.array_equal(reader.tree(Piece(0, Tree(0, 0, (4,))), None).tiles, plain)
    for step in range(12):  # brightness may change, left may not become right
        changed = reader.tree(Piece(0, Tree(0, 0, (4,))), step).tiles
        assert np.corrcoef(changed.ravel(), plain.ravel())[0, 1] > 0.9


def test_drop_path_is_drawn_by_tree_and_step(files: Path, tokenizer) -> None:
    """Drop-path factors are 0 or 1/(1-p) at the asked rate, grow with depth, and do not depend on the packing."""
    index = build_index([files], tokenizer, TEMPLATE)
    reader = reader_of(index, tokenizer, drop_path=0.5, residual_branches=8)
    keeps = np.concatenate(
        [reader.tree(Piece(n, Tree(0, 0, (0,))), step).keep for n in range(20) for step in range(20)], axis=1
    )
    assert (keeps[0] == 1).all(), "the first layer never drops"
    assert set(np.unique(keeps[-1])) == {0.0, 2.0}
    assert 0.4 < (keeps[-1] == 0).mean() < 0.6
    assert keeps.mean() == pytest.approx(1.0, abs=0.05)
    assert reader.tree(Piece(0, Tree(0, 0, (0,))), None).keep is None


@pytest.mark.parametrize("is_asked", [False, True])
def test_ctrl_c_while_workers_end_is_heard(files: Path, tokenizer, monkeypatch: pytest.MonkeyPatch, is_asked: bool) -> None:
    """It comes just when torch ends them: they end all the same, and then it is answered. So it is after one that came while
    the next batch was waited for: its traceback holds torch's frames."""
    loader = torch.utils.data.dataloader._MultiProcessingDataLoaderIter
    end, presses = loader._shutdown_workers, []

    def pressed(batches: Any) -> None:
        if not presses:
            presses.append(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        end(batches)

    monkeypatch.setattr(loader, "_shutdown_workers", pressed)
    index = build_index([files], tokenizer, TEMPLATE)
    request = PackRequest(0, (Piece(0, Tree(0, 0, (4,))),))
    batches = load_packs(reader_of(index, tokenizer), [request] * 4, workers=2, prefetch=1)
    next(batches)
    workers = multiprocessing.active_children()
    if is_asked:
        monkeypatch.setattr(loader, "_next_data", lambda batches: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        next(batches) if is_asked else batches.close()
    assert presses and len(workers) >= 2 and not any(worker.is_alive() for worker in workers)
