"""A Parquet table that stays on disk gives the same rows as one in memory, each once, in an order of (seed, epoch) alone."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from netwright.core.errors import DataError, UsageError
from netwright.data import stream as module
from netwright.data.ahead import ahead
from netwright.data.batch import Batch, Block, Streaming
from netwright.data.encode import encode_inputs, encode_target, fit_inputs, fit_target
from netwright.data.frames import settled
from netwright.data.parquet import ParquetTable, parquet_files
from netwright.data.parts import NO_PART, TEST, TRAIN, VALID, PartRule, uniform
from netwright.data.stream import ParquetStream

N = 3_000
KINDS = {"x": "number", "day": "date", "colour": "category"}


def table(n: int = N) -> pl.DataFrame:
    """Rows whose column `x` is their number but for missing cells, with a target that is missing in every 50th row."""
    rng = np.random.default_rng(0)
    target = ["yes" if u < 0.3 else "no" for u in rng.random(n)]
    return pl.DataFrame(
        {
            "x": [float("nan") if i % 97 == 5 else float(i) for i in range(n)],
            "day": pl.Series(rng.integers(0, 9000, n)).cast(pl.Int32).cast(pl.Date),
            "colour": pl.Series([f"c{k}" for k in rng.integers(0, 5, n)]).cast(pl.Categorical),
            "y": [None if i % 50 == 7 else t for i, t in enumerate(target)],
            "number": np.arange(n),
            "part": [("train", "dev", "Test")[k] for k in rng.choice(3, n, p=[0.8, 0.1, 0.1])],
        }
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    table().write_parquet(tmp_path / "t.parquet", row_group_size=250)
    return tmp_path / "t.parquet"


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks so small that a few thousand rows are many."""
    monkeypatch.setattr(module, "BLOCK_ROWS", 100)
    monkeypatch.setattr(module, "_SCAN_ROWS", 700)
    monkeypatch.setattr(module, "MIXED", 4)


def a_stream(path: Path, *, shards: int = 1, split_column: str | None = None, seed: int = 0) -> ParquetStream:
    frame = settled(table())[0]
    spec = fit_inputs(frame, KINDS)  # type: ignore[arg-type]
    target = fit_target(frame["y"].drop_nulls(), "binary")
    rule = PartRule("y", seed, 0.1, 0.2, split_column)
    return ParquetStream(ParquetTable(path), rule, spec, target, shards=shards)


def training_rows(source: ParquetStream) -> pl.DataFrame:
    """The training rows as the rule says, of the table read as a whole."""
    frame = settled(table())[0]
    return frame.filter(source.rule(frame, 0) == TRAIN)


def rows_of(batches: Iterator[Batch]) -> torch.Tensor:
    return torch.cat([b.rows for b in batches if b.rows is not None])


def equal(one: Batch, other: Batch) -> bool:
    assert one.y is not None and other.y is not None
    return torch.equal(one.y, other.y) and all(
        torch.equal(one.x[k].nan_to_num(-1), v.nan_to_num(-1)) for k, v in other.x.items()
    )


def test_an_epoch_gives_every_training_row_once_but_for_the_last_incomplete_batch(path: Path) -> None:
    source = a_stream(path)
    assert isinstance(source, Streaming) and len(source) == training_rows(source).height
    rows = rows_of(source.batches(seed=1, epoch=0, size=64))
    assert len(rows) == len(source) // 64 * 64
    assert len(set(rows.tolist())) == len(rows) and int(rows.max()) < len(source)
    assert sorted(rows_of(source.batches(seed=1, epoch=0, size=1)).tolist()) == list(range(len(source)))


def test_values_are_those_of_the_rows_encoded_in_memory(path: Path) -> None:
    source = a_stream(path)
    frame = training_rows(source)
    block = Block(encode_inputs(frame, source.spec), encode_target(frame["y"], source.target))
    for batch in source.batches(seed=3, epoch=2, size=50):
        assert batch.rows is not None and equal(batch, block.take(batch.rows))


def test_rows_taken_at_random_are_those_of_the_rows_in_memory(path: Path) -> None:
    source = a_stream(path)
    frame = training_rows(source)
    block = Block(encode_inputs(frame, source.spec), encode_target(frame["y"], source.target))
    index = torch.tensor([len(source) - 1, 0, 517, 3, 517])
    assert equal(source.take(index), block.take(index))


@pytest.mark.slow
def test_the_order_depends_on_seed_and_epoch_alone(path: Path) -> None:
    one, other = a_stream(path), a_stream(path)
    order = rows_of(one.batches(seed=1, epoch=1, size=32))
    rows_of(other.batches(seed=9, epoch=0, size=8))
    assert torch.equal(order, rows_of(other.batches(seed=1, epoch=1, size=32)))
    assert torch.equal(order[:960], rows_of(other.batches(seed=1, epoch=1, size=96))[:960])
    assert not torch.equal(order, rows_of(one.batches(seed=1, epoch=2, size=32)))
    assert not torch.equal(order, rows_of(one.batches(seed=2, epoch=1, size=32)))


def test_rows_of_several_blocks_are_mixed(path: Path) -> None:
    source = a_stream(path)
    first = rows_of(source.batches(seed=0, epoch=0, size=64))[:64].numpy()
    blocks = np.searchsorted(source.ends, first, side="right")
    assert len(np.unique(blocks)) == 4


@pytest.mark.parametrize("first", [0, 1, 7, 12, 28])
@pytest.mark.parametrize("shards", [1, 3])
def test_batches_from_a_later_one_on_are_those_of_an_uninterrupted_epoch(path: Path, first: int, shards: int) -> None:
    source = a_stream(path, shards=shards)
    whole = list(source.batches(seed=4, epoch=5, size=20))
    rest = list(source.batches(seed=4, epoch=5, size=20, first=first))
    assert len(rest) == len(source) // 20 - first
    for one, other in zip(whole[first:], rest, strict=True):
        assert (
            equal(one, other) and one.rows is not None and other.rows is not None and torch.equal(one.rows, other.rows)
        )


def test_shards_in_turn_give_every_row_once(path: Path) -> None:
    whole = a_stream(path)
    source = a_stream(path, shards=3)
    assert len(source) == len(whole) // 3
    rows = torch.cat([rows_of(source.batches(seed=0, epoch=epoch, size=1)) for epoch in (3, 4, 5)])
    assert torch.equal(rows, rows_of(whole.batches(seed=0, epoch=1, size=1))[: len(rows)])
    assert len(set(rows.tolist())) == len(rows) >= len(whole) - 2


def test_parts_are_disjoint_shares_that_depend_on_row_number_and_seed_alone() -> None:
    frame = settled(table(20_000))[0]
    rule = PartRule("y", 0, 0.1, 0.2)
    codes = rule(frame, 0)
    assert np.array_equal(codes[5_000:6_000], rule(frame[5_000:6_000], 5_000))
    assert np.array_equal(codes == NO_PART, frame["y"].is_null().to_numpy())
    shares = [(codes == code).mean() / 0.98 for code in (TRAIN, VALID, TEST)]
    assert np.allclose(shares, [0.7, 0.1, 0.2], atol=0.01)
    assert 0.5 < (PartRule("y", 1, 0.1, 0.2)(frame, 0) == codes).mean() < 0.6  # as chance has it


def test_a_column_that_names_the_parts_is_believed(path: Path) -> None:
    source = a_stream(path, split_column="part")
    frame = table()
    codes = PartRule("y", 0, 0.0, 0.0, "part")(frame, 0)
    named = frame["part"].replace_strict({"train": TRAIN, "dev": VALID, "Test": TEST}).to_numpy()
    assert np.array_equal(codes, np.where(frame["y"].is_null().to_numpy(), NO_PART, named))
    given = training_rows(source)
    assert set(given["part"]) == {"train"} and len(given) == len(source)
    with pytest.raises(DataError, match="'blue'"):
        PartRule("y", 0, 0.1, 0.1, "part")(frame.with_columns(part=pl.lit("blue")), 0)


def test_the_hash_of_row_numbers_is_uniform_and_independent_between_names() -> None:
    rows = np.arange(100_000)
    one, other = uniform(rows, 0, "a"), uniform(rows, 0, "b")
    assert one.min() >= 0 and one.max() < 1
    assert np.abs(np.histogram(one, 20, (0, 1))[0] / 5_000 - 1).max() < 0.06
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.015 and abs(np.corrcoef(one[1:], one[:-1])[0, 1]) < 0.015


def test_a_folder_of_files_gives_the_rows_of_one_file(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    frame = table()
    for k, (start, stop) in enumerate([(0, 130), (130, 130), (130, 2_000), (2_000, N)]):
        frame[start:stop].write_parquet(folder / f"part-{k}.parquet", row_group_size=300)
    (folder / "_SUCCESS").touch()
    (folder / ".part-0.parquet.crc").touch()
    many, one = a_stream(folder), a_stream(path)
    assert [p.name for p in parquet_files(folder)] == [f"part-{k}.parquet" for k in range(4)]
    index = torch.arange(len(one))
    assert len(many) == len(one) and equal(many.take(index), one.take(index))
    assert sorted(rows_of(many.batches(seed=0, epoch=0, size=1)).tolist()) == index.tolist()


def test_a_category_that_the_sample_never_had_is_unknown(path: Path) -> None:
    source = a_stream(path)
    few = fit_inputs(settled(table())[0].filter(pl.col("colour") != "c3"), KINDS)  # type: ignore[arg-type]
    other = ParquetStream(source.table, source.rule, few, source.target)
    codes = next(iter(other.batches(seed=0, epoch=0, size=len(other)))).x["codes"][:, 0]
    assert (codes == 0).sum() == (training_rows(source)["colour"] == "c3").sum() > 0


def test_a_stream_of_text_has_blocks_of_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_ROWS", 65_536)
    monkeypatch.setattr(module, "BLOCK_BYTES", 100_000)
    rng = np.random.default_rng(0)
    words = np.array(["sun", "moon", "stars", "rain", "snow"])
    frame = pl.DataFrame({"text": [" ".join(rng.choice(words, 12)) for _ in range(900)], "y": ["a", "b", "a"] * 300})
    frame.write_parquet(tmp_path / "text.parquet")
    spec, target = fit_inputs(frame, {"text": "text"}), fit_target(frame["y"], "binary")
    source = ParquetStream(ParquetTable(tmp_path / "text.parquet"), PartRule("y", 0, 0.1, 0.1), spec, target)
    whole = encode_inputs(frame, spec)
    assert len(source.blocks) > 2
    start, stop = source.blocks[0]
    assert sum(t[start:stop].numel() * t.element_size() for t in whole.values()) <= 100_000
    assert len(set(rows_of(source.batches(seed=0, epoch=0, size=1)).tolist())) == len(source)


def test_rows_whose_number_to_predict_is_none_are_left_out(tmp_path: Path) -> None:
    values = [float("nan") if i % 10 == 0 else float("inf") if i % 10 == 1 else float(i) for i in range(500)]
    frame = pl.DataFrame({"x": np.arange(500.0), "y": values})
    frame.write_parquet(tmp_path / "n.parquet")
    known = settled(frame)[0].drop_nulls()
    spec, target = fit_inputs(known, {"x": "number"}), fit_target(known["y"], "number")
    source = ParquetStream(ParquetTable(tmp_path / "n.parquet"), PartRule("y", 0, 0.0, 0.0), spec, target)
    whole = source.take(torch.arange(len(source)))
    assert whole.y is not None and len(source) == 400
    assert torch.equal(whole.y, whole.x["numbers"][:, 0]) and torch.isfinite(whole.y).all()


def threads() -> int:
    return sum(t.name == "parquet stream" for t in threading.enumerate())


def test_a_file_that_breaks_in_mid_epoch_is_an_error_of_the_data(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for k in range(30):
        table()[100 * k : 100 * (k + 1)].write_parquet(folder / f"{k:02d}.parquet")
    source = a_stream(folder)
    batches = iter(source.batches(seed=0, epoch=0, size=16))
    next(batches)
    for file in folder.iterdir():
        file.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(DataError, match="is damaged or no Parquet file"):
        list(batches)
    assert threads() == 0


def test_a_target_that_the_sample_never_had_is_an_error_of_the_data(path: Path) -> None:
    source = a_stream(path)
    source.target = source.target.model_copy(update={"classes": ("maybe", "no")})
    with pytest.raises(DataError, match="classes that the training rows do not have: \\['yes'\\]"):
        next(iter(source.batches(seed=0, epoch=0, size=16)))


def test_a_file_that_was_exchanged_for_a_shorter_one_is_an_error_of_the_data(path: Path) -> None:
    source = a_stream(path)
    table(1_000).write_parquet(path)
    with pytest.raises(DataError, match="changed while it was read"):
        list(source.batches(seed=0, epoch=0, size=16))


def test_a_dropped_iterator_ends_its_thread(path: Path) -> None:
    batches = iter(a_stream(path).batches(seed=0, epoch=0, size=8))
    next(batches)
    assert threads() == 1
    del batches
    gc.collect()
    assert threads() == 0


def test_an_exception_of_the_reader_ends_the_thread(path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        for _ in a_stream(path).batches(seed=0, epoch=0, size=8):
            raise KeyboardInterrupt
    assert threads() == 0


def test_a_program_that_ends_while_it_reads_does_end() -> None:
    program = "from itertools import count; from netwright.data.ahead import ahead; a = ahead(count()); next(a); raise SystemExit(7)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 7


def test_no_more_than_the_given_number_of_items_are_made_ahead() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for k in range(50):
            made.append(k)
            yield k

    reading = ahead(items(), 2)
    assert next(reading) == 0
    deadline = time.monotonic() + 10
    while len(made) < 4 and time.monotonic() < deadline:  # one was taken, two are ready, one waits for room
        time.sleep(0.01)
    time.sleep(0.2)
    assert made == [0, 1, 2, 3]
    assert list(reading) == list(range(1, 50))


def test_files_of_different_columns_and_tables_with_images_are_refused(tmp_path: Path, path: Path) -> None:
    (tmp_path / "mixed").mkdir()
    table().write_parquet(tmp_path / "mixed" / "a.parquet")
    table().with_columns(pl.col("number").cast(pl.String)).write_parquet(tmp_path / "mixed" / "b.parquet")
    with pytest.raises(DataError, match="'number' is String, not Int64"):
        ParquetTable(tmp_path / "mixed")
    with pytest.raises(DataError, match="holds no Parquet"):
        ParquetTable(tmp_path / "none")
    (tmp_path / "bad.parquet").write_bytes(b"x,y\n1,2\n")
    with pytest.raises(DataError, match="does not begin as one"):
        ParquetTable(tmp_path / "bad.parquet")
    source = a_stream(path)
    pictures = fit_inputs(pl.DataFrame({"p": pl.Series(np.zeros((3, 8, 8), np.uint8))}), {"p": "image"})
    with pytest.raises(UsageError, match="does not stream"):
        ParquetStream(source.table, source.rule, pictures, source.target)
