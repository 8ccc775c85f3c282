"""The promises of the main job on images and texts: quality, time and memory of whole commands."""

from __future__ import annotations

import gzip
import os
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.data import data_file, with_split
from benchmarks.main_job import COMMAND, REPEATS_PREDICT, WORK, Timed, interval, timed
from benchmarks.results import Result, Row, spread
from netwright.core.errors import SetupError
from netwright.core.files import read_json, writing

MINUTES_MNIST = 12


def finished(name: str, data: str, *options: str) -> tuple[Timed, dict[str, Any]]:
    """`netwright run` on a file or folder in the work folder: how it went, and its summary.json."""
    shutil.rmtree(WORK / name, ignore_errors=True)
    done = timed(COMMAND, "run", data, "--out", name, *options)
    return done, read_json(WORK / name / "summary.json")


def scores(summary: dict[str, Any], target: float) -> list[Row]:
    """Accuracy of the network against its target, and of the classic methods beside it."""
    accuracy = summary["network"]["network"]["accuracy"]
    what = f"network: accuracy on {summary['n_test']:,} test rows"
    rows = [Row(what, interval(accuracy, 4), f">= {target}", accuracy["value"] >= target)]
    return rows + [Row(f"{n}: accuracy", interval(s["accuracy"], 4)) for n, s in summary["baselines"].items()]


def mnist() -> Result:
    """The whole main job on MNIST; the test images are used once, at the end."""
    WORK.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(data_file("mnist.npz"), WORK / "mnist.npz")
    done, summary = finished("mnist", "mnist.npz", "--minutes", str(MINUTES_MNIST))
    return Result(
        "mnist",
        "mnist: the whole run",
        [
            *scores(summary, 0.993),
            Row("whole run", f"{done.seconds:.0f} s", f"<= {60 * MINUTES_MNIST} s", done.seconds <= 60 * MINUTES_MNIST),
            Row("peak memory", f"{done.peak_bytes / 2**30:.2f} GiB"),
            Row("parameters", f"{summary['parameters']:,}"),
        ],
        f"`netwright run mnist.npz --minutes {MINUTES_MNIST}`, one run, seed {summary['seed']}; {summary['n_train']:,} images train, "
        f"{summary['n_valid']:,} validate. Intervals: bootstrap over the test rows, 95 %. Recommended: "
        f"{summary['recommended']}.",
    )


def _text(name: str, frame: pl.DataFrame | None, target: float, title: str) -> Result:
    """The whole main job on a text set, from an unquoted TSV with a split column."""
    WORK.mkdir(parents=True, exist_ok=True)
    path = WORK / f"{name}.tsv"
    with writing(path) as temporary:
        if frame is None:
            temporary.write_bytes(gzip.decompress(data_file(f"text/{name}.tsv.gz").read_bytes()))
        else:
            frame.write_csv(temporary, separator="\t", quote_style="never")
    options = ("--target", "label", "--text", "text", "--split-column", "split", "--minutes", "6")
    done, summary = finished(name, path.name, *options)
    return Result(
        name,
        title,
        [
            *scores(summary, target),
            Row("whole run", f"{done.seconds:.0f} s", "<= 360 s", done.seconds <= 360),
            Row("recommended", summary["recommended"]),
        ],
        f"`netwright run {path.name} {' '.join(options)}`, one run, seed {summary['seed']}; {summary['n_train']:,} train, "
        f"{summary['n_valid']:,} validate. Intervals: bootstrap over the test rows, 95 %.",
    )


def sst2() -> Result:
    """Sentiment of sentences, the official split."""
    return _text("sst2", None, 0.795, "sst2: the whole run on text")


def sms_spam() -> Result:
    """Ham or spam, 80 % of the rows train."""
    frame = pl.read_csv(data_file("text/sms_spam.tsv.gz"), separator="\t", quote_char=None, infer_schema=False)
    return _text("sms_spam", with_split(frame), 0.975, "sms_spam: the whole run on text")


def predict_images() -> Result:
    """10,000 images from the command line, with the model of the run on MNIST."""
    if not (WORK / "mnist" / "model" / "model.json").is_file():
        mnist()
    with np.load(data_file("mnist.npz"), allow_pickle=False) as arrays:
        np.savez(WORK / "new.npz", x=arrays["x_test"])
    command = (COMMAND, "predict", "mnist/model", "new.npz", "-o", "images.csv")
    runs = [timed(*command) for _ in range(REPEATS_PREDICT)]
    seconds, n = [r.seconds for r in runs], len(pl.read_csv(WORK / "images.csv"))
    if n != 10_000:
        raise SetupError(f"10,000 images went in, and {n:,} predictions came out")
    return Result(
        "predict_images",
        "Predict images",
        [
            Row(
                f"`netwright predict` of {n:,} images",
                spread(seconds, "s"),
                "<= 8 s",
                statistics.median(seconds) <= 8,
            ),
            Row("peak memory", f"{max(r.peak_bytes for r in runs) / 2**20:,.0f} MiB"),
        ],
        f"`netwright {' '.join(map(str, command[1:]))}`, whole processes; the model is that of the last run on mnist.",
    )


def _folder(path: Path) -> int:
    """The 60,000 training images of MNIST as PNG files, a folder per class; gives how many there are."""
    from PIL import Image

    with np.load(data_file("mnist.npz"), allow_pickle=False) as arrays:
        x, y = arrays["x_train"], arrays["y_train"]
    if not path.is_dir():
        for label in range(10):
            (path / str(label)).mkdir(parents=True)
        for i, (image, label) in enumerate(zip(x, y, strict=True)):
            Image.fromarray(image).save(path / str(label) / f"{i:05d}.png")
    return len(x)


def image_folder() -> Result:
    """Memory of a run on a folder of 60,000 small images, and of one whose pixels may not stay in memory."""
    n, rows = _folder(WORK / "digits"), []
    for what, limit in (("as it is", ""), ("with 16 MB for pixels, so that they stream", "16MB")):
        os.environ.pop("NETWRIGHT_MEMORY", None)
        if limit:
            os.environ["NETWRIGHT_MEMORY"] = limit
        try:
            done, summary = finished("digits-run", "digits", "--minutes", "3")
        finally:
            os.environ.pop("NETWRIGHT_MEMORY", None)
        value = summary["network"]["network"]["accuracy"]["value"]
        rows.append(
            Row(
                f"peak memory of a run on {n:,} images, {what}",
                f"{done.peak_bytes / 2**30:.2f} GiB, {done.seconds:.0f} s, accuracy {value:.4f}",
                "<= 2 GB",
                done.peak_bytes <= 2e9,
            )
        )
    return Result(
        "image_folder",
        "A folder of images",
        rows,
        "`netwright run digits --minutes 3` on a folder of PNG files, one folder per class; the largest resident memory of the process, "
        "pages of the file that pixels stream from included.",
    )


BENCHMARKS: dict[str, Callable[[], Result]] = {
    f.__name__: f for f in (mnist, sst2, sms_spam, predict_images, image_folder)
}
