"""Data sets as the files that `netwright run` reads: `python -m benchmarks.data NAME FILE.csv`.

`breast_cancer` comes with scikit-learn. The others are made from the folder that NETWRIGHT_DATA names (tables/NAME.csv.gz).
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

from netwright.core.errors import DataError, SetupError
from netwright.core.files import writing

SPLIT = "split"


def source(name: str) -> pl.DataFrame:
    """A raw table of the data folder, every cell as it stands in the file.

    Raises:
        SetupError, DataError: as of `data_file`.
    """
    return pl.read_csv(data_file(f"tables/{name}.csv.gz"), infer_schema=False)


def data_file(name: str) -> Path:
    """A file of the data folder.

    Raises:
        SetupError: NETWRIGHT_DATA is not set. DataError: the folder has no such file.
    """
    folder = os.environ.get("NETWRIGHT_DATA")
    if not folder:
        raise SetupError(f"{name} is not bundled; set NETWRIGHT_DATA to the folder that holds it")
    path = Path(folder) / name
    if not path.is_file():
        raise DataError(f"NETWRIGHT_DATA has no {name}")
    return path


def breast_cancer() -> pl.DataFrame:
    """569 tumours, 30 measurements of their cells' nuclei; target `diagnosis`. Bundled with scikit-learn."""
    bunch = load_breast_cancer()
    columns = {name.replace(" ", "_"): bunch.data[:, i] for i, name in enumerate(bunch.feature_names)}
    return pl.DataFrame({**columns, "diagnosis": bunch.target_names[bunch.target].tolist()})


def adult() -> pl.DataFrame:
    """48,842 people of a census; target `income`; the official 32,561 training and 16,281 test rows in `split`."""
    return source("adult")


def california_housing() -> pl.DataFrame:
    """20,640 districts; target `median_house_value`; 80 % of the rows train, seed 0."""
    return with_split(source("california_housing"))


def wine_quality() -> pl.DataFrame:
    """6,497 wines less repeated rows; target `quality` as a number; 80 % of the rows train, seed 0."""
    return with_split(source("wine_quality").unique(maintain_order=True))


def with_split(frame: pl.DataFrame, test_share: float = 0.2, seed: int = 0) -> pl.DataFrame:
    """The rows with a column `split` of "train" and "test", drawn by scikit-learn's `train_test_split`.

    >>> with_split(pl.DataFrame({"x": range(5)})).to_series(1).to_list()
    ['train', 'train', 'test', 'train', 'train']
    """
    _, test = train_test_split(np.arange(len(frame)), test_size=test_share, random_state=seed)
    part = np.full(len(frame), "train", dtype=object)
    part[test] = "test"
    return frame.with_columns(pl.Series(SPLIT, part.tolist(), dtype=pl.String))


DATA: dict[str, Callable[[], pl.DataFrame]] = {
    f.__name__: f for f in (breast_cancer, adult, california_housing, wine_quality)
}


def write(name: str, path: Path) -> pl.DataFrame:
    """Write one set as CSV, whole or not at all; gives the rows."""
    frame = DATA[name]()
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing(path) as temporary:
        frame.write_csv(temporary)
    return frame


def main() -> None:
    """Write one set to a file."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.data", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("name", choices=DATA)
    parser.add_argument("file", type=Path)
    arguments = parser.parse_args()
    frame = write(arguments.name, arguments.file)
    print(
        f"{arguments.file}: {len(frame):,} rows, {len(frame.columns)} columns: {(DATA[arguments.name].__doc__ or '').strip()}"
    )


if __name__ == "__main__":
    main()
