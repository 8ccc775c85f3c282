"""Sounds -> samples at one rate in one channel. Needs no torch.

A column of sounds holds either the absolute path of a sound file a cell (String), or a struct of `rate` (samples a second) and
`samples` (from -1 to 1, one channel).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl

from netwright.core.errors import DataError
from netwright.core.spec import AudioField
from netwright.data.cells import counted
from netwright.data.kind import Arrays, Kind
from netwright.data.memory import roomy
from netwright.data.picture import for_each
from netwright.data.sound import BadSound, Heard, Samples, hear, is_sound, mixed, resampled

MAX_SECONDS = 20.0
"""Longest sound that is kept whole."""
MANY_TIMES = 1.5
"""Sounds longer than so many times what 95 % of the training sounds have are cut: all rows take the room of the longest."""
_SAMPLE = 500
_FRAME = 0.025
_SOUND = pl.Struct({"rate": pl.Int64, "samples": pl.List(pl.Float32)})


def column_of_sounds(sounds: Iterable[Samples], name: str = "audio") -> pl.Series:
    """Sounds as a column: each a rate and samples (T,) or (T, channels), whole numbers or from -1 to 1, mixed to one channel.

    Raises:
        DataError: a sound without samples, with samples that are no finite numbers, or with a rate that is none.

    >>> column_of_sounds([(8000, np.zeros(4, dtype=np.int16))])[0]
    {'rate': 8000, 'samples': [0.0, 0.0, 0.0, 0.0]}
    """
    rates, rows = [], []
    for k, (rate, samples) in enumerate(sounds):
        if not float(rate) > 0 or int(rate) != rate:
            raise DataError(
                f"sound {k} of {name!r} has the rate {rate!r}; expected whole samples a second, such as 16000"
            )
        if not len(samples):
            raise DataError(f"sound {k} of {name!r} is 0 s long; take it out")
        try:
            rows.append(mixed(np.asarray(samples))[0])
        except BadSound as error:
            raise DataError(f"sound {k} of {name!r} has {error}; mend it, or take it out") from error
        rates.append(int(rate))
    if not rows:
        raise DataError(f"there are no sounds in {name!r}; at least one was expected")
    number = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    flat = pl.DataFrame({"row": number, "samples": np.concatenate(rows)})
    grouped = flat.group_by("row", maintain_order=True).agg("samples")
    return pl.DataFrame({"rate": pl.Series(rates, dtype=pl.Int64), "samples": grouped["samples"]}).to_struct(name)


def is_audio(column: pl.Series) -> bool:
    """Whether the cells are sounds in memory, or absolute paths of sound files that are there."""
    if isinstance(column.dtype, pl.Struct):
        fields = {f.name: f.dtype for f in column.dtype.fields}
        samples = fields.get("samples")
        return set(fields) == {"rate", "samples"} and isinstance(samples, pl.List) and samples.inner.is_numeric()
    if column.dtype != pl.String or column.null_count() or not len(column) or not is_sound(column[0]):
        return False
    return all(is_sound(path) and os.path.isabs(path) for path in column) and os.path.isfile(column[0])


def sounds_of(column: pl.Series, most_seconds: float, rows: Sequence[int] | None = None) -> list[Heard]:
    """The cells as sounds at their own rates, of no more than the first seconds of each.

    Raises:
        DataError: a cell is missing, or gives no samples.
    """
    column = column if rows is None else column.gather(list(rows))
    if column.null_count():
        raise DataError(f"column {column.name!r}: {counted(column.null_count(), 'sound')} missing; take those rows out")
    if column.dtype == pl.String:
        return for_each(paths_of(column), lambda _, path: _heard(path, most_seconds))
    found = []
    for k, (rate, samples) in enumerate(zip(*(column.struct.field(f) for f in ("rate", "samples")), strict=True)):
        if samples is None or not len(samples):
            raise DataError(f"column {column.name!r}, row {k}: a sound of 0 s; take it out")
        values = samples.to_numpy().astype(np.float32, copy=False)
        kept = values[: int(min(len(values), most_seconds * rate + 1))]
        found.append(Heard(kept, int(rate), len(values) / rate, ()))
    return found


def paths_of(column: pl.Series) -> list[str]:
    """Cells as absolute paths of files.

    Raises:
        DataError: a cell is none.
    """
    paths: list[str] = column.to_list()
    for row, path in enumerate(paths):
        if not path or not os.path.isabs(path):
            raise DataError(
                f"column {column.name!r} is to hold sound files, but its row {row} has {path!r}; expected files that lie below the "
                "folder that was given"
            )
    return paths


def _heard(path: str, most_seconds: float) -> Heard:
    try:
        return hear(path, most_seconds)
    except BadSound as error:
        raise DataError(f"the sound {path} cannot be read ({error}); get it again, or remove it") from error


def fit_audio(column: pl.Series) -> AudioField:
    """One rate (that of most training sounds), the longest length that is kept, and the power of frames."""
    sounds = sounds_of(column, MAX_SECONDS)
    rates = Counter(s.rate for s in sounds)
    rate = min(rates, key=lambda r: (-rates[r], r))
    seconds = np.array([s.seconds for s in sounds])
    longest = float(min(seconds.max(), MANY_TIMES * np.quantile(seconds, 0.95), MAX_SECONDS))
    n_steps = max(1, round(longest * rate))
    step = max(1, len(sounds) // _SAMPLE)
    power = np.concatenate([_powers(resampled(s.samples, s.rate, rate), rate) for s in sounds[::step]])
    return AudioField(
        name=column.name,
        rate=rate,
        n_steps=n_steps,
        power=(float(power.mean()), max(float(power.std()), 1.0)),
        cut=float((seconds * rate > n_steps + 0.5).mean()),
        rule=_rule(rates, rate),
    )


def _powers(samples: np.ndarray, rate: int) -> np.ndarray:
    """Power of each frame of 25 ms in decibels below full scale, not under -100."""
    size = max(1, min(len(samples), round(_FRAME * rate)))
    frames = samples[: len(samples) // size * size].reshape(-1, size).astype(np.float64)
    found: np.ndarray = 10 * np.log10((frames**2).mean(1) + 1e-10)
    return found


def _rule(rates: Counter[int], rate: int) -> str:
    if len(rates) == 1:
        return f"all sounds have {rate:,} samples a second; several channels are mixed to one"
    others = ", ".join(f"{n:,} of {r:,}" for r, n in sorted(rates.items()) if r != rate)
    return f"brought to {rate:,} samples a second, as most have ({others} were resampled); several channels are mixed to one"


def encode_audio(column: pl.Series, field: AudioField) -> Arrays:
    """Samples (N, n_steps) float32 at the field's rate, and lengths (N,) int64."""
    out = roomy((len(column), field.n_steps), np.float32)
    lengths = np.zeros(len(column), dtype=np.int64)
    seconds = field.n_steps / field.rate + 0.1
    for first in range(0, len(column), 256):
        for k, sound in enumerate(sounds_of(column[first : first + 256], seconds), first):
            samples = resampled(sound.samples, sound.rate, field.rate)[: field.n_steps]
            lengths[k] = max(1, len(samples))
            out[k, : len(samples)] = samples
            out[k, len(samples) :] = 0
    return {field.tensors[0]: out, field.tensors[1]: lengths}


def _decode(arrays: Arrays, field: AudioField) -> pl.Series:
    values, lengths = (arrays[name] for name in field.tensors)
    return column_of_sounds(((field.rate, row[:n]) for row, n in zip(values, lengths, strict=True)), field.name)


def _two_rows(field: AudioField) -> Arrays:
    values = np.zeros((2, field.n_steps), dtype=np.float32)
    values[0] = 0.5 * np.sin(np.arange(field.n_steps))
    values[1, 0] = 0.1
    return {field.tensors[0]: values, field.tensors[1]: np.array([field.n_steps, 1])}


def _describe(column: pl.Series) -> str:
    if column.dtype == pl.String:
        return f"names of sound files, such as {os.path.basename(column[0])[-40:]}"
    rates = column.struct.field("rate").unique().sort().to_list()
    return f"sounds of {', '.join(f'{r:,}' for r in rates[:3])} samples a second"


AUDIO = Kind("audio", AudioField, is_audio, fit_audio, encode_audio, _decode, _two_rows, _describe)
