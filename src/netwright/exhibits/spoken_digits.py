"""Sounds as pictures of their frequencies, and a network that must understand a speaker whom it has never heard.

By default five vowels are made from pulses and resonances; where NETWRIGHT_DATA names a folder with fsdd.npz, the full size takes
spoken digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from netwright.core.finding import Figure, Finding, Series, Table
from netwright.core.seed import numpy_generator
from netwright.data.sound import Samples
from netwright.estimators.classifier import Classifier
from netwright.exhibits.program import main
from netwright.exhibits.real import real_file
from netwright.nn.audio import LogMel, mel_centers

RATE = 8000
VOWELS = {
    "a": (730, 1090, 2440),
    "e": (530, 1840, 2480),
    "i": (270, 2290, 3010),
    "o": (570, 840, 2410),
    "u": (300, 870, 2240),
}
"""Mean resonances of men's vowels in hertz; Peterson and Barney (1952)."""
_BANDS = 40
_CHANGES: dict[str, float] = {"warp": 0.2, "speed": 0.1, "mask": 0.1}


@dataclass(frozen=True)
class Spoken:
    """Sounds, what is said, and by whom."""

    sounds: list[Samples]
    labels: np.ndarray
    speakers: np.ndarray
    what: str


def vowel(formants: tuple[float, ...], pitch: float, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Pulses at a pitch through one resonance after the other (each 80 Hz wide), with a little noise: samples (T,).

    Source: Klatt (1980), the cascade of resonators.
    """
    from scipy.signal import lfilter

    n = round(seconds * RATE)
    x = np.zeros(n)
    x[(np.cumsum(np.full(n, pitch / RATE)) % 1) < pitch / RATE] = 1.0
    for f in formants:
        r = np.exp(-np.pi * 80 / RATE)
        x = lfilter([1.0], [1, -2 * r * np.cos(2 * np.pi * min(f, 3900) / RATE), r * r], x)
    x = x * np.hanning(n) / np.abs(x).max()
    sound: np.ndarray = (0.5 * x + 0.004 * rng.normal(size=n)).clip(-1, 1).astype(np.float32)
    return sound


def vowels(n: int, seed: int) -> Spoken:
    """`n` vowels of each of six speakers, whose vocal tracts and pitches differ."""
    rng = numpy_generator(seed, "vowels")
    tracts, pitches = (0.95, 1.0, 1.05, 1.1, 1.15, 1.35), (90, 110, 130, 170, 200, 260)
    sounds, labels, speakers = [], [], []
    for speaker, (tract, pitch) in enumerate(zip(tracts, pitches, strict=True)):
        for k in range(n):
            name = list(VOWELS)[k % len(VOWELS)]
            formants = tuple(tract * f * rng.uniform(0.95, 1.05) for f in VOWELS[name])
            sounds.append((RATE, vowel(formants, pitch * rng.uniform(0.9, 1.1), rng.uniform(0.15, 0.3), rng)))
            labels.append(name)
            speakers.append(f"speaker {speaker + 1}")
    return Spoken(sounds, np.array(labels), np.array(speakers), "vowels")


def digits(place: Path) -> Spoken:
    """The spoken digits of fsdd.npz."""
    with np.load(place, allow_pickle=False) as z:
        audio, at, rate = z["audio"], z["offset"], int(z["rate"])
        names = z["speakers"][z["speaker"]]
        return Spoken([(rate, audio[i:j]) for i, j in pairwise(at.tolist())], z["y"].astype(str), names, "digits")


def exhibit(*, tiny: bool = False, seed: int = 0) -> Finding:
    """Sounds as pictures of their frequencies, and a speaker who was never heard."""
    place = real_file("fsdd.npz", tiny=tiny)
    real = place is not None
    spoken = digits(place) if place else vowels(20 if tiny else 100, seed)
    new = str(np.unique(spoken.speakers)[-1])
    scores = {
        what: _score(spoken, new, options, tiny, real, seed)
        for what, options in (("as it is", {}), ("with changes", _CHANGES))
    }
    title = ", ".join(f"{what} {value:.1%}" for what, value in scores.items())
    return Finding(
        probe="spoken-digits",
        family="gallery",
        verdict="info",
        title=f"{spoken.what} of a speaker who was never heard, right: {title}",
        measured={what.replace(" ", "_"): value for what, value in scores.items()},
        why="Each picture is a sound: time runs to the right, pitch upwards, red is louder than the sound is on average. What is said "
        "shows as bands of resonance; who says it, as where they stand, for a shorter vocal tract moves all of them up. A convolution "
        f"over time and pitch sees the same pattern a little higher. One of six speakers ({new}) is kept for the test. Training on "
        "randomly warped frequencies, speeds and masks stands for speakers whom nobody recorded.",
        figures=tuple(_picture(spoken, label, who) for label, who in _shown(spoken, new)),
        tables=(
            Table(
                title=f"Accuracy on {int((spoken.speakers == new).sum()):,} {spoken.what} of {new}",
                columns=("training", "accuracy"),
                rows=tuple(scores.items()),
            ),
        ),
        reference="Davis and Mermelstein (1980); Jaitly and Hinton (2013); Park et al. (2019)",
    )


def _score(spoken: Spoken, new: str, changes: dict[str, float], tiny: bool, real: bool, seed: int) -> float:
    """Accuracy on the new speaker of a network that was trained on all others."""
    train, test = np.flatnonzero(spoken.speakers != new), np.flatnonzero(spoken.speakers == new)
    options: dict[str, int | float | str | bool] = {"width": 4 if tiny else 8 if not real else 16, **changes}
    epochs = 10 if tiny else 12 if real else 20
    net = Classifier(
        kind="audio",
        options=options,
        epochs=epochs,
        batch_size=16 if tiny else 64,
        learning_rate=0.01,
        random_state=seed,
    )
    net.fit([spoken.sounds[i] for i in train], spoken.labels[train])
    return float(net.score([spoken.sounds[i] for i in test], spoken.labels[test]))


def _shown(spoken: Spoken, new: str) -> list[tuple[str, str]]:
    first, second = map(str, np.unique(spoken.labels)[[0, 2]])
    other = str(np.unique(spoken.speakers)[0])
    return [(first, other), (first, new), (second, other), (second, new)]


def _picture(spoken: Spoken, label: str, speaker: str) -> Figure:
    rate, samples = spoken.sounds[int(np.flatnonzero((spoken.labels == label) & (spoken.speakers == speaker))[0])]
    values = torch.from_numpy(np.asarray(samples, dtype=np.float32) / (32768 if samples.dtype.kind == "i" else 1))
    frames, _ = LogMel(rate, n_bands=_BANDS)(values[None], torch.tensor([len(values)]))
    level = (frames[0] - frames.mean()).numpy()[::-1]
    bands = tuple(tuple(round(float(v), 1) for v in band) for band in level)
    hertz = tuple(f"{f:,.0f} Hz" for f in reversed(mel_centers(_BANDS, rate)[1:-1].tolist()))
    steps = tuple(f"{10 * k} ms" for k in range(frames.shape[2]))
    return Figure(
        title=f"{label} said by {speaker}",
        kind="heatmap",
        series=(Series(x=steps, y=hertz, z=bands),),
        x_label="time",
        y_label="band, by its middle",
        caption="Decibels above the mean of the sound, in mel bands, a frame of 25 ms every 10 ms.",
    )


if __name__ == "__main__":
    main(exhibit)
