"""Files into frames: what is read, and how everything else is refused."""

from __future__ import annotations

import csv
import gzip
import io
import os
import pickle
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netwright.core.errors import DataError, SetupError
from netwright.data import raw
from netwright.data.cells import to_labels, to_numbers
from netwright.data.delimited import records, well_quoted
from netwright.data.read import look, read_table


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def zstd(content: bytes) -> bytes:
    """A zstd file holding these bytes (polars compresses a frame of one column of lines)."""
    out = io.BytesIO()
    lines = content.decode().removesuffix("\n").split("\n")
    pl.DataFrame({"line": lines}).write_csv(
        out, include_header=False, quote_style="never", compression="zstd", check_extension=False
    )
    return out.getvalue()


def refused(path: Path, *words: str, error: type[Exception] = DataError, **options: int) -> None:
    """The file is refused with a message that holds all these words."""
    with pytest.raises(error) as caught:
        read_table(path, **options)
    for word in words:
        assert word in str(caught.value), f"{word!r} not in: {caught.value}"


# What is read --------------------------------------------------------------------------------------------------------


def test_columns_of_numbers_become_numbers_and_missing_words_null(tmp_path: Path) -> None:
    frame = read_table(write(tmp_path / "a.csv", "whole,part,word\n1,1.5,x\nNA,?,NA\n3,-2e3,\n"))
    assert frame.schema == {"whole": pl.Int64, "part": pl.Float64, "word": pl.String}
    assert frame.rows() == [(1, 1.5, "x"), (None, None, "NA"), (3, -2000.0, None)]


def test_a_number_that_comes_after_thousands_of_rows_is_no_surprise(tmp_path: Path) -> None:
    cells = ["1"] * 3000 + ["2.5", "x"]
    frame = read_table(
        write(tmp_path / "a.csv", "a,b\n" + "".join(f"{c},{min(i, 2999)}\n" for i, c in enumerate(cells)))
    )
    assert frame["a"].dtype == pl.String and frame["b"].dtype == pl.Int64 and frame["a"][-2:].to_list() == ["2.5", "x"]


def test_leading_zeros_and_very_long_numbers_are_kept_as_text(tmp_path: Path) -> None:
    frame = read_table(
        write(tmp_path / "a.csv", "zip,card,id\n01234,12345678901234567890,9007199254740993\n10115,1,2\n")
    )
    assert frame["zip"].to_list() == ["01234", "10115"]
    assert frame["card"].to_list() == ["12345678901234567890", "1"]
    assert frame["id"].to_list() == [9007199254740993, 2]


def test_nan_and_infinity_become_missing_with_a_warning(tmp_path: Path) -> None:
    result = look(write(tmp_path / "a.csv", "a,b\n1.5,1\nNaN,2\ninf,3\n"))
    assert result.frame["a"].to_list() == [1.5, None, None]
    assert any("'a'" in w and "infinite" in w for w in result.warnings)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found_out(tmp_path: Path, delimiter: str) -> None:
    frame = read_table(write(tmp_path / "a.csv", f"a{delimiter}b b\n1{delimiter}x y\n2{delimiter}z . \n"))
    assert frame.columns == ["a", "b b"] and frame["a"].to_list() == [1, 2]


def test_files_separated_by_semicolons_use_the_decimal_comma(tmp_path: Path) -> None:
    frame = read_table(write(tmp_path / "a.csv", "a;b;c\n1,5;1,234;1.234,5\n0,25;2;7,0\n"))
    assert frame.rows() == [(1.5, 1.234, 1234.5), (0.25, 2.0, 7.0)]


def test_header_is_stripped_and_empty_or_repeated_names_are_renamed_with_a_warning(tmp_path: Path) -> None:
    result = look(write(tmp_path / "a.csv", b"\xef\xbb\xbf a ,,a\r\n1,2,3\r\n"))
    assert result.frame.columns == ["a", "column_2", "a (2)"] and result.frame.rows() == [(1, 2, 3)]
    assert len(result.warnings) == 2


def test_a_file_without_column_names_is_suspected(tmp_path: Path) -> None:
    assert any("lack" in w for w in look(write(tmp_path / "a.csv", "1,2.5,3\n4,5,6\n")).warnings)


def test_blank_lines_and_a_missing_last_newline_do_no_harm(tmp_path: Path) -> None:
    frame = read_table(write(tmp_path / "a.csv", "\n\na,b\n\n1,2\n\r\n3,4\n\n\n5,6"))
    assert frame.rows() == [(1, 2), (3, 4), (5, 6)]


def test_old_mac_line_ends_are_read(tmp_path: Path) -> None:
    assert read_table(write(tmp_path / "a.csv", "a,b\r1,x\r2,y\r")).rows() == [(1, "x"), (2, "y")]


def test_quoted_cells_keep_delimiters_newlines_and_doubled_marks(tmp_path: Path) -> None:
    frame = read_table(write(tmp_path / "a.csv", 'a,b\n"x, ""y""\nz",1\nw,2\n'))
    assert frame.rows() == [('x, "y"\nz', 1), ("w", 2)]


def test_a_mark_inside_an_unquoted_cell_is_text(tmp_path: Path) -> None:
    result = look(write(tmp_path / "a.csv", 'a,b\n"p, q",5" pipe\nr,6" pipe\n'))
    assert result.frame.rows() == [("p, q", '5" pipe'), ("r", '6" pipe')] and result.warnings


def test_marks_of_a_tsv_that_quote_nothing_are_text(tmp_path: Path) -> None:
    result = look(write(tmp_path / "a.tsv", 'label\ttext\n1\t"it is\n0\tgreat"\n1\tok\n'))
    assert result.frame["text"].to_list() == ['"it is', 'great"', "ok"] and result.warnings


def test_parquet_and_json_lines_keep_their_types(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": [1, None], "b": ["x", "01"], "c": [True, False], "d": [0.5, float("nan")]})
    frame.write_parquet(tmp_path / "a.parquet")
    assert read_table(tmp_path / "a.parquet").rows() == [(1, "x", True, 0.5), (None, "01", False, None)]
    frame.fill_nan(None).write_ndjson(tmp_path / "a.ndjson")
    assert read_table(tmp_path / "a.ndjson").rows() == [(1, "x", True, 0.5), (None, "01", False, None)]


def test_parquet_categories_and_decimals_become_plain_columns(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {"c": pl.Series(["u", "v"], dtype=pl.Categorical), "d": pl.Series(["1.5", "2.5"]).str.to_decimal(scale=1)}
    )
    frame.write_parquet(tmp_path / "a.parquet")
    assert read_table(tmp_path / "a.parquet").schema == {"c": pl.String, "d": pl.Float64}


CELL = st.one_of(
    st.none(),
    st.text(
        st.characters(codec="utf-8", exclude_characters="\x00\r\t", exclude_categories=("Cs",)), min_size=1, max_size=8
    ),
    st.sampled_from(["1", "2.50", "-0", "007", "NA", "true", "1e5", '"', '""', ",", 'x, "y"', " Rome ", "a\nb"]),
)
NUMBER = st.one_of(st.none(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False, width=64))
SCHEMA = {"text": pl.String, "more": pl.String, "number": pl.Float64, "key": pl.Int64}


@st.composite
def tables(draw: st.DrawFn) -> pl.DataFrame:
    n = draw(st.integers(1, 12))
    columns = {name: draw(st.lists(CELL, min_size=n, max_size=n)) for name in ("text", "more")}
    numbers = [None if v is None else float(v) for v in draw(st.lists(NUMBER, min_size=n, max_size=n))]
    return pl.DataFrame({**columns, "number": numbers, "key": range(n)}, schema=SCHEMA)


@settings(max_examples=60, deadline=None)
@given(tables(), st.sampled_from([".csv", ".tsv", ".jsonl", ".parquet"]), st.sampled_from(["", ".gz", ".zst"]))
def test_every_format_and_compression_gives_back_the_cells(frame: pl.DataFrame, suffix: str, packed: str) -> None:
    out = io.BytesIO()
    if suffix == ".parquet":
        frame.write_parquet(out)
        packed = ""
    elif suffix == ".jsonl":
        frame.write_ndjson(out)
    else:
        frame.write_csv(out, separator="\t" if suffix == ".tsv" else ",")
    content = out.getvalue()
    if b"\x01" in content and packed == ".zst":
        packed = ""  # refused there: see below
    with tempfile.TemporaryDirectory() as folder:
        packer = {"": bytes, ".gz": gzip.compress, ".zst": zstd}[packed]
        back = read_table(write(Path(folder) / f"a{suffix}{packed}", packer(content)))
    assert back.columns == frame.columns and back["key"].to_list() == frame["key"].to_list()
    assert to_numbers(back["number"]).to_list() == frame["number"].to_list()
    for name in ("text", "more"):
        if back[name].dtype == pl.String:
            assert to_labels(back[name]).to_list() == to_labels(frame[name]).to_list()
        else:  # every cell reads as a number
            assert to_numbers(back[name]).to_list() == to_numbers(frame[name]).to_list()


# What is refused -----------------------------------------------------------------------------------------------------


def test_a_missing_file_offers_the_nearest_names(tmp_path: Path) -> None:
    write(tmp_path / "adult.csv", "a,b\n1,2\n")
    refused(tmp_path / "adlut.csv", "there is no file", "adult.csv")
    refused(tmp_path / "no" / "adult.csv", "folder", "does not exist")
    refused(tmp_path / "adult", "there is no file", "adult.csv")


def test_a_folder_and_an_empty_file_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "")
    refused(tmp_path, "is a folder", "a.csv")
    (tmp_path / "d.csv").mkdir()
    refused(tmp_path / "d.csv", "is a folder")
    refused(tmp_path / "a.csv", "is empty")
    refused(write(tmp_path / "b.csv", "\n\n  \n"), "is empty")
    refused(write(tmp_path / "b.csv.gz", gzip.compress(b"")), "is empty")
    refused(write(tmp_path / "b.jsonl", ""), "is empty")


@pytest.mark.parametrize("content", ["a,b\n", "a,b", "\na,b\n\n", '"a","b"\r\n'])
def test_a_header_without_rows_is_refused(tmp_path: Path, content: str) -> None:
    refused(write(tmp_path / "a.csv", content), "no rows")


def test_parquet_without_rows_is_refused(tmp_path: Path) -> None:
    pl.DataFrame({"a": []}, schema={"a": pl.Int64}).write_parquet(tmp_path / "a.parquet")
    refused(tmp_path / "a.parquet", "no rows")


def test_unknown_suffixes_are_refused_with_the_known_ones(tmp_path: Path) -> None:
    refused(write(tmp_path / "a.xlsx", "PK"), ".xlsx", ".parquet", ".csv")
    refused(write(tmp_path / "table", "a,b\n1,2\n"), "no suffix", ".csv")
    refused(write(tmp_path / "a.json", "[]"), ".json", ".jsonl")


@pytest.mark.parametrize("suffix", [".pkl", ".pickle", ".joblib", ".pt", ".pkl.gz", ".csv", ".txt"])
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_pickle_is_never_opened_whatever_its_name(tmp_path: Path, suffix: str, protocol: int) -> None:
    touched = tmp_path / "touched"
    content = pickle.dumps(_Trap(touched), protocol)
    content = gzip.compress(content) if suffix.endswith(".gz") else content
    refused(write(tmp_path / f"a{suffix}", content), "pickle")
    assert not touched.exists()


class _Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_a_pickled_frame_is_refused(tmp_path: Path) -> None:
    for content in (pickle.dumps(pl.DataFrame({"a": [1]})), pickle.dumps({"a": 1}), pickle.dumps([1, 2], 2)):
        refused(write(tmp_path / "a.csv", content), "pickle")


def test_what_is_no_table_is_named(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.csv", "a,b\n1,2\n")
    array = io.BytesIO()
    np.save(array, np.zeros(3))
    for content, word in [
        (b"\x89PNG\r\n\x1a\n\0\0", "PNG"),
        (packed.getvalue(), "zip"),
        (array.getvalue(), "NumPy"),
        (b"%PDF-1.4 ...", "PDF"),
        (b"PAR1....", "Parquet"),
        ("a,b\n1,2\n".encode("utf-16"), "UTF-16"),
        (b"a,b\n\x01\x00\x02,3\n", "binary"),
        (b"<!DOCTYPE html><html>a,b</html>\n1", "web page"),
    ]:
        refused(write(tmp_path / "a.csv", content), word)


def test_prose_is_no_table(tmp_path: Path) -> None:
    refused(
        write(tmp_path / "a.txt", "Once upon a time\nthere was, as you know, a king\n"), "does not look like a table"
    )


def test_bytes_that_are_not_utf8_are_placed_and_never_guessed(tmp_path: Path) -> None:
    text = "name,n\nanna,1\nJosé,2\n".encode("latin-1")
    refused(write(tmp_path / "a.csv", text), "0xE9", f"offset {text.index(0xE9)}", "line 3", "iconv", "José")
    refused(write(tmp_path / "a.csv.gz", gzip.compress(text)), "line 3")
    refused(write(tmp_path / "a.jsonl", b'{"a": "x"}\n{"a": "\xe9"}\n'), "line 2")


def test_bytes_that_are_not_utf8_are_found_beyond_the_first_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw, "_PIECE", 7)
    good = "a,b\n" + "äöü,1\n" * 50
    assert read_table(write(tmp_path / "a.csv", good)).height == 50
    bad = good.encode() + b"\xff,2\n"
    refused(write(tmp_path / "b.csv", bad), "0xFF", f"offset {len(good.encode())}", "line 52")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a,b\n1,2\n3,4,5\n6,7\n", ["line 3 has 3 cells", "header has 2", "comma"]),
        ("a,b,c\n1,2,3\n\n4,5\n6,7,8\n9\n", ["line 4 has 2 cells", "header has 3", "2 such lines: 4, 6"]),
        ('a,b\n"x\ny",2\n1\n', ["line 4 has 1 cell,"]),
        ("a,b\n1,2,3\n4,5,6\n", ["every row has one cell more"]),
    ],
)
def test_ragged_rows_are_refused_with_their_line(tmp_path: Path, content: str, words: list[str]) -> None:
    refused(write(tmp_path / "a.csv", content), *words)


def test_a_ragged_row_is_found_beyond_the_first_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netwright.data.delimited._PIECE", 11)
    lines = ['a,b,"c d"', *['1,"x, y\n",3'] * 30]
    assert read_table(write(tmp_path / "a.csv", "\n".join(lines))).shape == (30, 3)
    refused(write(tmp_path / "b.csv", "\n".join([*lines, "1,2"])), "line 62 has 2 cells", "1 such line")


def test_an_unclosed_quotation_mark_is_refused_with_its_line(tmp_path: Path) -> None:
    refused(write(tmp_path / "a.csv", 'a,b\n1,2\n3,"x\n5,6\n7,8\n'), "line 3", "never closed")
    refused(write(tmp_path / "b.csv", 'a,b\n"x"y,2\n3,"z, q"\n'), "line 2", "comma was expected")


def test_damaged_compression_is_refused(tmp_path: Path) -> None:
    text = ("a,b\n" + "".join(f"{i},{i * i}\n" for i in range(5000))).encode()
    for suffix, content in ((".gz", gzip.compress(text)), (".zst", zstd(text))):
        assert read_table(write(tmp_path / f"a.csv{suffix}", content)).height == 5000
        refused(write(tmp_path / f"a.csv{suffix}", content[: len(content) // 2]), "cut short")
        refused(write(tmp_path / f"a.csv{suffix}", content[:-1]), "cut short")
        refused(write(tmp_path / f"a.csv{suffix}", text), "is not")
    frame = pl.DataFrame({"a": range(1000)})
    frame.write_parquet(tmp_path / "a.parquet")
    content = (tmp_path / "a.parquet").read_bytes()
    refused(write(tmp_path / "a.parquet", content[:-40]), "damaged")
    refused(write(tmp_path / "a.parquet", text), "does not begin as one")


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_decompression_bomb_is_refused_before_it_unpacks(tmp_path: Path, suffix: str) -> None:
    text = b"a,b\n" + b"1,2\n" * 1_000_000
    packed = gzip.compress(text) if suffix == ".gz" else zstd(text)
    assert len(packed) < len(text) / 200
    path = write(tmp_path / f"a.csv{suffix}", packed)
    refused(path, "more than the 1,000,000 bytes", limit=1_000_000)
    assert read_table(path, limit=5_000_000).height == 1_000_000


def test_a_parquet_bomb_and_a_large_file_are_refused(tmp_path: Path) -> None:
    pl.DataFrame({"a": [1] * 200_000}).write_parquet(tmp_path / "a.parquet")
    refused(tmp_path / "a.parquet", "200,000 rows", limit=100_000)
    refused(write(tmp_path / "a.csv", "a,b\n" + "1,2\n" * 100), "more than the 100 bytes", limit=100)


@given(st.lists(st.integers(0, 60_000), min_size=1, max_size=3), st.booleans())
@settings(max_examples=15, deadline=None)
def test_the_bound_of_a_zstd_file_is_never_below_its_size(sizes: list[int], noisy: bool) -> None:
    packed, total = b"", 0
    for i, n in enumerate(sizes):
        line = np.random.default_rng(i).integers(97, 123, n, dtype=np.uint8).tobytes() if noisy else b"a" * n
        packed += zstd(line + b"\n")
        total += n + 1
    bound = raw.zstd_bound(packed)
    assert bound is not None and total <= bound <= total + len(sizes) * 2**17
    last = len(zstd(line + b"\n"))
    for cut in (1, 3, last // 2):
        assert raw.zstd_bound(packed[:-cut]) is None


@pytest.mark.skipif(shutil.which("zstd") is None, reason="the zstd program is not installed")
def test_files_of_the_zstd_program_are_read(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "a,b\n" + "1,x\n" * 300_000)
    subprocess.run(["zstd", "-q", str(tmp_path / "a.csv")], check=True)
    assert read_table(tmp_path / "a.csv.zst").height == 300_000


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"a": 1}\n{"a": 2\n', ["line 2", "not valid JSON"]),
        ('{"a": 1}\n\nhello\n', ["line 3", "hello"]),
        ('{"a": 1}\n[1, 2]\n', ["line 2", "expected one object"]),
        ('{"a": NaN}\n', ["line 1", "NaN"]),
        ('{"a": true}\n{"a": 1}\n', ["'a'", "line 1", "line 2"]),
        ('[{"a": 1}]\n', ["array"]),
        ('{"a": 1, "b": ["x", "y"]}\n', ["'b'", "lists"]),
        ('{"a": 1, "b": {"c": 2}}\n', ["'b'", "objects"]),
    ],
)
def test_broken_json_lines_are_refused_with_their_line(tmp_path: Path, content: str, words: list[str]) -> None:
    refused(write(tmp_path / "a.jsonl", content), *words)


def test_nested_parquet_columns_are_refused_by_name(tmp_path: Path) -> None:
    pl.DataFrame({"a": [1], "tags": [["x"]]}).write_parquet(tmp_path / "a.parquet")
    refused(tmp_path / "a.parquet", "'tags'", "lists")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission_is_a_matter_of_the_set_up(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "a,b\n1,2\n")
    path.chmod(0)
    refused(path, "permission", "chmod", error=SetupError)


def test_what_the_system_refuses_to_open_is_a_matter_of_the_set_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.csv", "a,b\n1,2\n")
    monkeypatch.setattr(os, "access", lambda *_: False)
    refused(path, "permission", "chmod", error=SetupError)
    refused(tmp_path / ("x" * 300 + ".csv"), "cannot be opened", error=SetupError)


# The scan of the structure -------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.text('ab,"\n ', max_size=5), min_size=2, max_size=4), min_size=1, max_size=6))
def test_records_are_those_of_pythons_csv_reader(rows: list[list[str]]) -> None:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    data = out.getvalue().encode()
    found = records(data, ",", b'"' in data)
    assert well_quoted(data, ",") or b'"' not in data
    assert found.cells.tolist() == [len(r) for r in rows] and found.ends[-1] == len(data) - 1


# Real files ----------------------------------------------------------------------------------------------------------


@pytest.mark.data
def test_shared_tables_and_texts_are_read_whole(real_data: Path) -> None:
    shapes = {
        "tables/adult.csv": (48842, 16),
        "tables/titanic.csv": (891, 12),
        "text/sst2.tsv": (9613, 3),
        "text/sms_spam.tsv": (5574, 2),
        "trees/trees.jsonl": (208, 4),
    }
    for name, shape in shapes.items():
        result = look(real_data / f"{name}.gz")
        assert result.frame.shape == shape
