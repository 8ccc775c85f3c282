"""Errors on images and texts: the sheet of the worst, the table, and the properties in which errors gather."""

from __future__ import annotations

import base64
import io

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from netwright.baselines.errors import errors
from netwright.baselines.slices import properties, worst_slices
from netwright.baselines.worst import MAX_TEXT, N_PICTURES
from netwright.core.finding import Figure, Finding
from netwright.core.seed import numpy_generator
from netwright.data.data import PARTS, Data
from netwright.data.encode import fit_inputs, fit_target
from netwright.losses.standard import CrossEntropy, SquaredError
from netwright.model import Model, Subject
from netwright.workflow.probing import load_subject

N = 600


class Bright(nn.Module):
    """The logit of class 1, or the value: the mean of an image less 100."""

    def __init__(self, number: bool) -> None:
        super().__init__()
        self.number = number

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        z = (x["image"].float().mean((1, 2, 3)) - 100) / 10
        return z.unsqueeze(1) if self.number else torch.stack([torch.zeros_like(z), z], 1)


def pictures(number: bool = False, flipped: int = 30, more: bool = False) -> Subject:
    """Grey images of a known mean; of the test rows (the last 200), `flipped` bright ones have the other label."""
    rng = numpy_generator(0, "levels")
    level = rng.integers(60, 140, N)
    x = np.clip(rng.integers(-20, 21, (N, 8, 8)) + level[:, None, None], 0, 255).astype(np.uint8)
    z = (x.mean((1, 2)) - 100) / 10
    y = z > 0
    y[np.flatnonzero((np.arange(N) >= 400) & (z > 1.5))[:flipped]] ^= True
    label = (
        pl.Series("y", z + rng.normal(size=N)) if number else pl.Series("y", np.array(["dark", "light"])[y.astype(int)])
    )
    frame = pl.DataFrame({"image": pl.Series("image", x), "age": rng.normal(size=N), "y": label})
    split = dict(zip(PARTS, np.split(np.arange(N), [300, 400]), strict=True))
    train, kinds = frame[split["train"]], {"image": "image", **({"age": "number"} if more else {})}
    target = fit_target(train["y"], "number" if number else "binary")
    data = Data(frame, fit_inputs(train, kinds), target, split)  # type: ignore[arg-type]
    return Subject(
        model=Model(Bright(number).eval(), data.spec, target, SquaredError() if number else CrossEntropy()), data=data
    )


def ask(subject: Subject) -> Finding:
    found = errors(subject, budget_seconds=5, seed=0)
    assert Finding.model_validate_json(found.model_dump_json()) == found
    return found


def sheet_of(found: Finding) -> Figure:
    (sheet,) = [f for f in found.figures if f.kind == "pictures"]
    return sheet


def test_the_sheet_shows_the_worst_errors_with_row_truth_and_answer() -> None:
    subject = pictures()
    sheet, data = sheet_of(ask(subject)), subject.need("data")
    p, y = subject.need("model").predict_encoded(data.block("test").x), data.y("test")
    wrong = np.flatnonzero(p.argmax(1) != y)
    worst = wrong[np.argsort(p[wrong, y[wrong]], kind="stable")]
    assert sheet.title == f"All {len(wrong)} wrong answers, the worst first" and len(sheet.pictures) == len(wrong) == 30
    for picture, i in zip(sheet.pictures, worst, strict=True):
        assert (
            picture.caption == f"row {400 + i}: true dark, said light ({100 * p[i, 1]:.0f} %)" and picture.mark == "bad"
        )
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.png))))
        assert np.array_equal(shown, data.block("test").x["image"][i, 0].numpy())


def test_all_errors_of_a_classifier_of_small_images_are_shown() -> None:
    subject = pictures(flipped=N)
    sheet = sheet_of(ask(subject))
    wrong = int(sheet.title.split()[1])  # "All 100 wrong answers, ...": images are small, and so all are shown
    assert len(sheet.pictures) == wrong > N_PICTURES


def test_of_more_errors_than_fit_the_first_are_shown_and_the_title_counts_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netwright.baselines.worst.N_WRONG", 7)
    sheet = sheet_of(ask(pictures(flipped=N)))
    assert len(sheet.pictures) == 7 and sheet.title.startswith("The 7 worst of ")


def test_without_an_error_there_is_no_sheet() -> None:
    assert [f.kind for f in ask(pictures(flipped=0)).figures] == ["heatmap"]


def test_the_largest_errors_of_numbers_are_shown_too() -> None:
    subject = pictures(number=True)
    sheet = sheet_of(ask(subject))
    y, value = (
        subject.need("data").y("test"),
        subject.need("model").predict_encoded(subject.need("data").block("test").x),
    )
    first = int(np.abs(y - value).argmax())
    assert sheet.title == f"{N_PICTURES} largest errors"
    assert sheet.pictures[0].caption == f"row {400 + first}: true {y[first]:.4g}, said {value[first]:.4g}"


def test_pixels_are_in_the_sheet_and_not_in_the_table() -> None:
    found = ask(pictures(more=True))
    (worst,) = [t for t in found.tables if t.title.startswith("The 20 worst")]
    assert worst.columns[4:] == ("age",) and "(column 'image')" in sheet_of(found).title


def test_errors_that_gather_on_bright_images_are_said_to() -> None:
    found = ask(pictures())
    (slices,) = [t for t in found.tables if t.title.startswith("Slices")]
    assert slices.rows[0][0] == "brightness" and "Errors gather where brightness is" in found.todo
    assert "a further column" not in found.todo


class Listens(nn.Module):
    """The logit of class 1 is 4 where the first word is known, whatever else is said, else -4."""

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        z = 8.0 * (x["text:words"][:, 0] > 1) - 4
        return torch.stack([torch.zeros_like(z), z], 1)


def texts(long: str = "") -> Subject:
    rng = numpy_generator(0, "texts")
    words = np.array(["red", "green", "blue", "gold"])
    said = [" ".join(words[rng.integers(0, 4, 5)]) for _ in range(N)]
    y = np.array([1] * 300 + [i % 2 for i in range(300)])
    for i in range(400, N, 2):
        said[i] = f"zyx{i} uvw{i} {long}"
    for i in range(400, 480, 2):
        y[i] = 1  # words that training never had, which the network takes for the other class
    frame = pl.DataFrame({"text": said, "y": np.array(["no", "yes"])[y]})
    split = dict(zip(PARTS, np.split(np.arange(N), [300, 400]), strict=True))
    spec = fit_inputs(frame[split["train"]], {"text": "text"})
    target = fit_target(frame["y"], "binary")
    return Subject(model=Model(Listens().eval(), spec, target, CrossEntropy()), data=Data(frame, spec, target, split))


def test_the_worst_texts_are_told_in_full_unless_they_are_long() -> None:
    (short,) = [t for t in ask(texts()).tables if "worst" in t.title]
    assert short.columns[-1] == "text" and short.rows[0][-1] == f"zyx{short.rows[0][0]} uvw{short.rows[0][0]} "
    (long,) = [t for t in ask(texts("word " * 500)).tables if "worst" in t.title]
    assert all(len(str(row[-1])) == MAX_TEXT + 1 and str(row[-1]).endswith("…") for row in long.rows)


def test_errors_that_gather_on_unknown_words_are_said_to() -> None:
    found = ask(texts())
    (slices,) = [t for t in found.tables if t.title.startswith("Slices")]
    assert ("share of unknown words", "1") in {row[:2] for row in slices.rows}


def test_properties_are_those_of_the_rows_and_named_where_there_are_several_columns() -> None:
    data = texts().need("data")
    found, raw = properties(data), data.part("test")["text"].to_list()
    assert found["number of characters"].tolist() == [len(t) for t in raw]
    assert found["number of words"].tolist() == [len(t.split()) for t in raw]
    assert found["share of unknown words"].tolist() == [1.0, 0.0] * 100
    of_images = pictures(more=True).need("data")
    x = of_images.block("test").x["image"].double()
    named = properties(of_images)
    assert list(named) == ["brightness in 'image'", "contrast in 'image'"]
    assert named["brightness in 'image'"] == pytest.approx(x.mean((1, 2, 3)).numpy())


def test_a_property_is_cut_into_slices_like_a_number() -> None:
    data = pictures().need("data")
    values = np.arange(200.0)
    losses = (values >= 160).astype(float)
    (found, *_) = worst_slices(data.block("test").x, data.spec, losses, more={"height": values})
    assert found.column == "height" and found.cells.endswith("to 199") and found.loss > 0.95


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_a_value_that_many_rows_have_is_a_slice_by_itself(share: float) -> None:
    data = pictures().need("data")
    values = np.where(np.arange(2000) < 2000 * share, 0.0, np.arange(2000.0) % 7 + 1)
    plain = {"image": torch.zeros(2000, 1, 8, 8)}
    zeros = worst_slices(plain, data.spec, (values == 0) + 0.0, more={"v": values})
    others = worst_slices(plain, data.spec, (values > 0) + 0.0, more={"v": values})
    assert [s.cells for s in zeros] == (["0"] if share > 0.2 else ["0 to 1"])
    assert sum(len(s.rows) for s in others) == round((1 - share) * 2000) if share > 0.2 else others


def test_a_foreign_network_with_a_tokeniser_of_its_own_has_its_errors_told() -> None:
    said = ["good film" if i % 2 else "bad film" for i in range(80)]

    def tokenise(given: list[str]) -> Tensor:
        return torch.tensor([["good" in text, "bad" in text] for text in given]).float()

    net = nn.Linear(2, 2, bias=False)
    net.weight.data = torch.tensor([[0.0, 5.0], [5.0, 0.0]])
    y = np.array([i % 2 for i in range(80)])
    y[:10] = 1 - y[:10]
    found = ask(load_subject(net, said, y, loss="cross-entropy", encode=tokenise))
    assert found.measured["share_wrong"] == pytest.approx(10 / 80)
    (worst,) = [t for t in found.tables if "worst" in t.title]
    assert worst.rows[0][-1] in said and worst.columns[-1] == "text"
