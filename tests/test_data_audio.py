"""Sounds: rates, channels, files that are empty, cut short or none; from folders, from memory, and through estimators."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import netwright as nw
from netwright.core.errors import DataError, SetupError, UsageError
from netwright.core.spec import AudioField
from netwright.data.audio import column_of_sounds, encode_audio, fit_audio, is_audio
from netwright.data.encode import decode_inputs, encode_inputs, fit_inputs
from netwright.data.read import look
from netwright.data.sound import BadSound, hear, mixed, resampled

soundfile = pytest.importorskip("soundfile", reason="the extra audio is not installed")


def tone(rate: int, hertz: float = 440.0, seconds: float = 0.25) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def folder_of_sounds(folder: Path, n: int = 12) -> Path:
    for i in range(n):
        inside = folder / ("high" if i % 2 else "low")
        inside.mkdir(parents=True, exist_ok=True)
        soundfile.write(inside / f"{i:02d}.wav", tone(8000, 900 if i % 2 else 300, 0.1 + 0.01 * i), 8000)
    return folder


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg"])
def test_a_file_of_each_format_gives_its_samples(tmp_path: Path, suffix: str) -> None:
    soundfile.write(tmp_path / f"a{suffix}", tone(8000), 8000)
    heard = hear(str(tmp_path / f"a{suffix}"))
    assert (heard.rate, heard.seconds, heard.treated) == (8000, 0.25, ())
    assert np.abs(heard.samples - tone(8000)).max() < (0.1 if suffix == ".ogg" else 1e-4)


def test_stereo_is_mixed_to_one_channel_and_said(tmp_path: Path) -> None:
    both = np.stack([tone(8000), np.zeros(2000, np.float32)], 1)
    soundfile.write(tmp_path / "a.wav", both, 8000, subtype="FLOAT")
    heard = hear(str(tmp_path / "a.wav"))
    assert heard.treated == ("2 channels, mixed to one",)
    assert heard.samples == pytest.approx(tone(8000) / 2, abs=1e-6)


def test_what_is_louder_than_full_scale_is_clipped_and_said() -> None:
    samples, treated = mixed(np.array([0.5, 3.0, -2.0]))
    assert samples.tolist() == [0.5, 1.0, -1.0]
    assert treated == ("louder than full scale, clipped",)


def test_whole_numbers_of_every_size_become_fractions() -> None:
    for kind in (np.int16, np.int32):
        assert mixed(np.array([np.iinfo(kind).min, 0], dtype=kind))[0].tolist() == [-1.0, 0.0]
    assert mixed(np.array([0, 128], dtype=np.uint8))[0].tolist() == [-1.0, 0.0]


def test_another_rate_keeps_the_tone_and_its_length() -> None:
    got = resampled(tone(16000), 16000, 8000)
    assert len(got) == 2000
    assert np.abs(got - tone(8000))[100:-100].max() < 0.01


def test_what_a_lower_rate_cannot_hold_is_taken_out() -> None:
    assert np.abs(resampled(tone(16000, 6000.0), 16000, 8000))[100:-100].max() < 0.01


def broken(folder: Path) -> dict[str, Path]:
    whole = folder / "whole.wav"
    soundfile.write(whole, tone(8000), 8000)
    (folder / "cut.wav").write_bytes(whole.read_bytes()[:1500])
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.wav").write_text("this is no sound at all, whatever its name says")
    soundfile.write(folder / "zero.wav", np.zeros(0), 8000)
    soundfile.write(folder / "nan.wav", np.array([0.0, np.nan]), 8000, subtype="FLOAT")
    soundfile.write(folder / "whole.flac", np.random.default_rng(0).uniform(-1, 1, 20000), 8000)
    (folder / "cut.flac").write_bytes((folder / "whole.flac").read_bytes()[:20000])
    return {path.name: path for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("cut.wav", r"cut short: 1,456 bytes of 4,000"),
        ("empty.wav", "empty file"),
        ("text.wav", "no sound inside, or damaged"),
        ("zero.wav", "0 s long"),
        ("nan.wav", "no finite numbers"),
        ("cut.flac", "cut short|damaged"),
        ("gone.wav", "no such file"),
    ],
)
def test_a_bad_file_says_what_is_wrong_with_it(tmp_path: Path, name: str, says: str) -> None:
    broken(tmp_path)
    with pytest.raises(BadSound, match=says):
        hear(str(tmp_path / name))


def test_bad_files_of_a_folder_are_left_out_with_the_reason_and_the_rest_is_told(tmp_path: Path) -> None:
    folder = folder_of_sounds(tmp_path / "x", 14)
    (folder / "low" / "cut.wav").write_bytes((folder / "low" / "00.wav").read_bytes()[:500])
    soundfile.write(folder / "low" / "zero.wav", np.zeros(0), 8000)
    soundfile.write(folder / "high" / "fast.flac", np.stack([tone(16000)] * 2, 1), 16000)
    found = look(folder)
    assert (found.format, found.kinds, found.target, len(found.frame)) == (
        "folder of sounds",
        {"audio": "audio"},
        "label",
        15,
    )
    assert found.warnings[0].startswith("2 of 17 sounds cannot be read and are left out: low/cut.wav (cut short")
    assert found.warnings[1:] == (
        "1 sound: 2 channels, mixed to one",
        "most sounds have 8,000 samples a second; the others are resampled to that (1 of 16,000)",
    )


def test_more_than_a_fifth_of_bad_files_are_refused(tmp_path: Path) -> None:
    folder = folder_of_sounds(tmp_path / "x", 6)
    for name in ("a", "b"):
        (folder / "low" / f"{name}.wav").write_bytes(b"")
    with pytest.raises(DataError, match="2 of 8 sounds cannot be read"):
        look(folder)


def test_a_folder_of_one_class_is_refused(tmp_path: Path) -> None:
    folder_of_sounds(tmp_path / "x", 1)
    with pytest.raises(DataError, match="only 'low' with training sounds"):
        look(tmp_path / "x")


def test_all_sounds_take_the_rate_that_most_have(tmp_path: Path) -> None:
    sounds = [(8000, tone(8000)), (16000, tone(16000)), (8000, tone(8000))]
    field = fit_audio(column_of_sounds(sounds))
    assert (field.rate, field.n_steps) == (8000, 2000)
    assert "1 of 16,000 were resampled" in field.rule
    x = encode_audio(column_of_sounds(sounds), field)
    assert x["audio:length"].tolist() == [2000, 2000, 2000]
    assert np.abs(x["audio"][1] - x["audio"][0])[100:-100].max() < 0.01


def test_one_long_sound_is_cut_so_that_the_others_need_no_room() -> None:
    sounds = [(8000, tone(8000))] * 40 + [(8000, tone(8000, seconds=3.0))]
    field = fit_audio(column_of_sounds(sounds))
    assert field.n_steps == 3000
    assert field.cut == pytest.approx(1 / 41)


def test_sounds_go_in_and_come_back() -> None:
    frame = column_of_sounds([(8000, tone(8000)), (8000, tone(8000, seconds=0.1))]).to_frame()
    spec = fit_inputs(frame, {"audio": "audio"})
    back = decode_inputs(encode_inputs(frame, spec), spec)["audio"]
    assert [len(cell["samples"]) for cell in back] == [2000, 800]
    assert np.allclose(back[1]["samples"], tone(8000, seconds=0.1))


@pytest.mark.parametrize(
    ("sounds", "says"),
    [
        ([(8000, np.zeros(0))], "sound 0 of 'audio' is 0 s long"),
        ([(0, np.zeros(3))], "the rate 0"),
        ([(8000, np.array([np.inf]))], "no finite numbers"),
        ([], "there are no sounds"),
    ],
)
def test_sounds_in_memory_that_are_none_are_refused(sounds: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        column_of_sounds(sounds)


def test_names_of_sounds_that_are_not_there_are_words() -> None:
    assert not is_audio(pl.Series(["/nowhere/a.wav", "/nowhere/b.wav"]))
    assert not is_audio(pl.Series(["a.wav"]))


def test_without_the_library_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder_of_sounds(tmp_path / "x", 2)
    real = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name == "soundfile":
            raise ImportError("No module named 'soundfile'")
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SetupError, match=r"pip install 'netwright\[audio\]'"):
        look(tmp_path / "x")


def test_an_estimator_takes_paths_and_pairs_of_a_rate_and_samples(tmp_path: Path) -> None:
    folder = folder_of_sounds(tmp_path / "x")
    paths = sorted(folder.rglob("*.wav"))
    y = [path.parent.name for path in paths]
    net = nw.Classifier(kind="audio", options={"width": 2}, epochs=2, random_state=0).fit(paths, y)
    field = net.model_.spec.fields[0]
    assert isinstance(field, AudioField) and field.rate == 8000
    pairs = [(8000, soundfile.read(path, dtype="int16")[0]) for path in paths]
    assert net.predict_proba(pairs) == pytest.approx(net.predict_proba([str(path) for path in paths]), abs=1e-4)
    with pytest.raises(UsageError, match="row 0 of X"):
        net.predict([np.zeros(3), np.zeros(4)])
    with pytest.raises(UsageError, match="no sound file by its name"):
        net.predict(["a.txt"])
