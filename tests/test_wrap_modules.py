"""Networks written elsewhere, on images and texts: they receive what they would outside, and whatever can be asked of them is."""

from __future__ import annotations

import copy
import importlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

import netwright as nw
from netwright.adapt.module import Adapted, Pixels, as_inputs
from netwright.adapt.rows import looks_like_images
from netwright.core.errors import DataError, UsageError
from netwright.core.finding import Finding
from netwright.model import Model

# --- modules, as their authors wrote them -----------------------------------------------------------------------------


class Convolutional(nn.Module):
    """Images (N, 1, 10, 10) in [0, 1] -> 2 logits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.head = nn.Linear(6 * 25, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(F.max_pool2d(self.norm(self.conv(x)).relu(), 2).flatten(1))
        return y


class Recurrent(nn.Module):
    """Ids of characters (N, T) -> 2 logits."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(128, 8, padding_idx=0)
        self.gru = nn.GRU(8, 12, batch_first=True)
        self.head = nn.Linear(12, 2)

    def forward(self, ids: Tensor) -> Tensor:
        y: Tensor = self.head(self.gru(self.embed(ids))[0].amax(1))
        return y


class Transformer(nn.Module):
    """Ids of words and a mask (N, T) -> an object with .logits, as Hugging Face's classifiers give it."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(64, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(16, 2)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        hidden = self.encoder(self.embed(input_ids), src_key_padding_mask=attention_mask == 0)
        mask = attention_mask.unsqueeze(2)
        return SimpleNamespace(logits=self.head((hidden * mask).sum(1) / mask.sum(1).clamp(min=1)), hidden=None)


def logits(module: nn.Module, x: Any) -> Tensor:
    outputs: Tensor = module(**x).logits
    return outputs


def characters(texts: Sequence[str]) -> Tensor:
    """The owner's tokeniser of `Recurrent`."""
    ids = torch.zeros(len(texts), 40, dtype=torch.int64)
    for row, text in zip(ids, texts, strict=True):
        codes = [min(ord(c), 127) for c in text[:40]]
        row[: len(codes)] = torch.tensor(codes, dtype=torch.int64)
    return ids


WORDS = "the a film plot scene slow fast green chair story awful superb".split()  # noqa: SIM905


def words(texts: Sequence[str]) -> dict[str, Tensor]:
    """The owner's tokeniser of `Transformer`."""
    rows = [[1 + WORDS.index(w) if w in WORDS else 63 for w in text.lower().split()[:9]] or [63] for text in texts]
    ids = torch.tensor([row + [0] * (9 - len(row)) for row in rows])
    return {"input_ids": ids, "attention_mask": (ids != 0).long()}


def make_images(n: int = 96) -> tuple[Tensor, Tensor]:
    """A bright patch, above or below, decides."""
    rng = torch.Generator().manual_seed(0)
    x, y = 0.3 * torch.rand(n, 1, 10, 10, generator=rng), torch.randint(0, 2, (n,), generator=rng)
    for image, below in zip(x, y, strict=True):
        image[0, 1 + 5 * below : 4 + 5 * below, 3:7] += 0.6
    return x, y


def make_texts(n: int = 96) -> tuple[list[str], Tensor]:
    """The last word decides."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, n)
    return [" ".join([*rng.choice(WORDS[:-2], 3), WORDS[-2 + k]]) for k in y], torch.from_numpy(y)


def taught(net: nn.Module, x: Any, y: Tensor, call: Callable[[nn.Module, Any], Tensor], steps: int) -> nn.Module:
    """Trained by its author."""
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(call(net, x), y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return net.eval()


IMAGES, SIDES = make_images()
TEXTS, MOODS = make_texts()


def plainly(module: nn.Module, x: Any) -> Tensor:
    outputs: Tensor = module(x)
    return outputs


@pytest.fixture(scope="module")
def nets() -> dict[str, tuple[nn.Module, Any, Tensor, dict[str, Any]]]:
    """Module, rows, targets, and what else `wrap` must be told."""
    torch.manual_seed(0)
    conv = taught(Convolutional(), IMAGES, SIDES, plainly, 20)
    gru = taught(Recurrent(), characters(TEXTS), MOODS, plainly, 40)
    transformer = taught(Transformer(), words(TEXTS), MOODS, logits, 30)
    return {
        "convolutional": (conv, IMAGES, SIDES, {}),
        "recurrent": (gru, TEXTS, MOODS, {"encode": characters}),
        "transformer": (transformer, TEXTS, MOODS, {"encode": words, "call": logits}),
    }


# --- all that can be asked ----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["convolutional", "recurrent", "transformer"])
@pytest.mark.parametrize("ask", ["check", "attack", "explain"])
def test_every_probe_that_fits_gives_its_finding(nets: dict[str, Any], name: str, ask: str) -> None:
    net, x, y, more = nets[name]
    before = copy.deepcopy(net.state_dict())
    findings = getattr(nw, ask)(net, x[:48], y[:48], loss="cross-entropy", budget_seconds=4, **more)
    assert findings and all(isinstance(f, Finding) and f.title for f in findings)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


@pytest.mark.parametrize("name", ["convolutional", "recurrent", "transformer"])
def test_a_wrapped_module_predicts_from_raw_rows_as_it_does_outside(nets: dict[str, Any], name: str) -> None:
    net, x, y, more = nets[name]
    model = Model.wrap(net, loss="cross-entropy", x=x, y=y, classes=["no", "yes"], **more)
    given = more["encode"](x) if "encode" in more else x
    with torch.no_grad():
        outside = more.get("call", plainly)(net, given).double().softmax(1).numpy()
    np.testing.assert_allclose(model.predict_proba(x), outside, rtol=1e-5)
    assert model.spec.kind == ("image" if name == "convolutional" else "text")
    assert (model.predict(x) == np.array(["no", "yes"])[y]).mean() > 0.9
    frame = pl.DataFrame({model.spec.names[0]: x if isinstance(x, list) else x[:, 0].numpy()})
    np.testing.assert_allclose(model.predict_proba(frame), outside, rtol=1e-5)


@pytest.mark.parametrize("name", ["convolutional", "recurrent", "transformer"])
def test_a_saved_one_comes_back_in_a_fresh_module(nets: dict[str, Any], name: str, tmp_path: Path) -> None:
    net, x, y, more = nets[name]
    model = Model.wrap(net, loss="cross-entropy", x=x, y=y, **more)
    model.save(tmp_path)
    again = nw.load(tmp_path, module=type(net)(), **more)
    assert (again.predict_proba(x) == model.predict_proba(x)).all() and again.spec == model.spec
    with pytest.raises(
        UsageError, match=r"user's own; pass it: nw.load\(folder, module=MyNet\(\)|module=MyNet\(\), encode"
    ):
        nw.load(tmp_path)
    if "encode" in more:
        with pytest.raises(UsageError, match=r"pass it: nw.load\(folder, module=MyNet\(\), encode=tokenise\)"):
            nw.load(tmp_path, module=type(net)())


def test_a_loaded_model_is_asked_with_the_targets_beside_the_rows(nets: dict[str, Any], tmp_path: Path) -> None:
    for name in ("convolutional", "recurrent"):
        net, x, y, more = nets[name]
        Model.wrap(net, loss="cross-entropy", x=x, y=y, classes=["no", "yes"], **more).save(tmp_path / name)
        model = nw.load(tmp_path / name, module=net, **more)
        by_number = nw.check(model, x, y, names=["predictions-finite"])
        by_name = nw.check(model, x, np.array(["no", "yes"])[y], names=["predictions-finite"])
        assert by_number[0].verdict == by_name[0].verdict == "pass"
        with pytest.raises(UsageError, match="needs y beside x"):
            nw.check(model, x)
    with pytest.raises(UsageError, match="there are 96 rows but y has 3"):
        nw.check(model, x, y[:3])


def test_explain_is_a_function_even_where_its_package_was_imported() -> None:
    assert importlib.import_module("netwright.explain.entries").EXPLANATIONS
    with pytest.raises(UsageError, match="expected a folder, a Model"):
        nw.explain(3)


# --- images: layout, type, bounds ----------------------------------------------------------------------------------------


class Witness(nn.Module):
    """Remembers what it was called with; pays heed to the type, as `x - 128` would."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2))
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x)
        return self.scale * x.flatten(1).float().mean(1, keepdim=True)


GREY = (255 * IMAGES[:8]).round()
RGB = GREY.repeat(1, 3, 1, 1)


@pytest.mark.parametrize(
    "x",
    [
        GREY,
        GREY.to(torch.uint8),
        GREY.to(torch.uint8)[:, 0],
        RGB,
        RGB.permute(0, 2, 3, 1).contiguous(),
        RGB.permute(0, 2, 3, 1).to(torch.uint8),
    ],
)
def test_images_are_recognised_and_reach_the_module_as_they_were(x: Tensor) -> None:
    for rows in (x, x.numpy()):
        net = Witness()
        model = Model.wrap(net, loss="cross-entropy", x=rows, y=torch.arange(8) % 2)
        field = model.spec.images[0]
        assert model.spec.kind == "image" and field.shape == (3 if 3 in x.shape else 1, 10, 10)
        assert field.dtype == ("float" if x.is_floating_point() else "uint8") and (field.low, field.high) == (0, 255)
        inputs = model.encode(rows)
        assert inputs["image"].shape == (8, *field.shape)
        model.outputs(inputs)
        assert torch.equal(net.seen[-1], x) and net.seen[-1].dtype == x.dtype and net.seen[-1].is_contiguous()
        assert net.seen[0].shape == x[:2].shape


def test_whole_numbers_of_other_types_are_images_where_that_is_said() -> None:
    x, net = GREY.long(), Witness()
    assert Model.wrap(net, loss="cross-entropy", x=x, y=torch.arange(8) % 2).spec.kind == "vector"
    model = Model.wrap(net, loss="cross-entropy", x=x, y=torch.arange(8) % 2, kind="image")
    model.outputs(model.encode(x))
    assert net.seen[-1].dtype == torch.int64 and model.encode(x)["image"].dtype == torch.uint8
    with pytest.raises(DataError, match=r"from 0 to 2,\d+; expected 0 to 255: pass them as floats"):
        Model.wrap(net, loss="cross-entropy", x=10 * x, y=torch.arange(8) % 2, kind="image")


def test_fractions_that_an_attack_tries_reach_a_module_of_bytes_with_their_gradient() -> None:
    x = GREY.to(torch.uint8)[:, 0]
    model = Model.wrap(Witness(), loss="cross-entropy", x=x, y=torch.arange(8) % 2)
    leaf = (model.encode(x)["image"].float() + 0.25).requires_grad_()
    (slope,) = torch.autograd.grad(model.module({"image": leaf}).sum(), leaf)
    assert slope.shape == (8, 1, 10, 10) and (slope != 0).all()
    assert model.module.module.seen[-1].dtype == torch.float32  # type: ignore[union-attr]


def test_floats_reach_a_module_in_the_type_of_its_parameters() -> None:
    for kind in (torch.float64, torch.bfloat16):
        net = nn.Sequential(nn.Flatten(), nn.Linear(100, 2)).to(kind)
        model = Model.wrap(net, loss="cross-entropy", x=IMAGES.to(kind), y=SIDES)
        assert model.predict_proba(IMAGES).shape == (96, 2)
    double = Model.wrap(nn.Linear(3, 2).double(), loss="cross-entropy", x=np.zeros((4, 3)), y=np.arange(4) % 2)
    assert double.predict_proba(np.zeros((4, 3))).shape == (4, 2)


def test_lists_of_images_are_images() -> None:
    pictures = [Image.fromarray(image) for image in GREY[:, 0].to(torch.uint8).numpy()]
    for rows in (list(GREY), list(RGB.permute(0, 2, 3, 1).numpy()), pictures):
        assert Model.wrap(Witness(), loss="cross-entropy", x=rows, y=np.arange(8) % 2).spec.kind == "image"


@pytest.mark.parametrize(
    ("x", "told", "bounds", "rule"),
    [
        (IMAGES, {}, (0, 1), r"\(N, C, H, W\); pixels from 0 to 1 \(guessed: those given lie between"),
        (255 * IMAGES, {}, (0, 255), "guessed"),
        (2 * IMAGES - 1, {}, (-1, 1), "guessed"),
        (16 * IMAGES / IMAGES.max(), {}, (0, 16), "guessed"),
        (IMAGES, {"low": 0.0, "high": 2.0}, (0, 2), r"pixels from 0 to 2 \(as given\)"),
        (IMAGES, {"high": 2.0}, (0, 2), "guessed"),
        (GREY.to(torch.uint8), {}, (0, 255), r"whole bytes"),
    ],
)
def test_what_a_pixel_can_be_is_given_or_guessed_and_said(
    x: Tensor, told: dict[str, Any], bounds: tuple[int, int], rule: str
) -> None:
    model = Model.wrap(Witness(), loss="cross-entropy", x=x, y=torch.arange(len(x)) % 2, **told)
    field = model.spec.images[0]
    assert (field.low, field.high) == pytest.approx(bounds)
    assert field.center == pytest.approx([float(x.double().mean())], rel=1e-5)
    assert field.spread == pytest.approx([float(x.double().std(correction=0))], rel=1e-5)
    assert re.search(rule, field.rule)


def test_bounds_that_leave_no_room_and_pixels_that_are_none_are_refused() -> None:
    with pytest.raises(UsageError, match=r"low=2 to high=1 leave no room"):
        Model.wrap(Witness(), loss="cross-entropy", x=IMAGES, y=SIDES, low=2.0)
    with pytest.raises(DataError, match=r"no finite number; replace them, say with x.nan_to_num\(\)"):
        Model.wrap(Witness(), loss="cross-entropy", x=IMAGES / 0, y=SIDES, kind="image")
    with pytest.raises(UsageError, match=r'kind="image" needs one array .*not of shape \(96, 100\)'):
        Model.wrap(Witness(), loss="cross-entropy", x=IMAGES.flatten(1), y=SIDES, kind="image")
    with pytest.raises(UsageError, match=r"no kind 'imge'; did you mean 'image'"):
        Model.wrap(Witness(), loss="cross-entropy", x=IMAGES, y=SIDES, kind="imge")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("x", "is_image"),
    [
        (torch.zeros(4, 1, 8, 8), True),
        (torch.zeros(4, 8, 8, 3), True),
        (torch.zeros(4, 8, 8, dtype=torch.uint8), True),
        (torch.zeros(4, 8, 8), False),  # a sequence of vectors
        (torch.zeros(4, 1, 7, 8), False),
        (torch.zeros(4, 9, 8, 8), False),
        (torch.zeros(4, 3, 8, 8, dtype=torch.int64), False),
        (torch.full((4, 3, 8, 8), torch.nan), False),
        (torch.zeros(4, 64), False),
    ],
)
def test_only_what_looks_like_images_is_guessed_to_be_some(x: Tensor, is_image: bool) -> None:
    assert looks_like_images(x) is is_image
    kind = Model.wrap(Witness(), loss="cross-entropy", x=x, y=torch.arange(4) % 2).spec.kind
    assert kind == ("image" if is_image else "vector")
    said = Model.wrap(Witness(), loss="cross-entropy", x=x, y=torch.arange(4) % 2, kind="vector")
    assert said.spec.kind == "vector"


def test_layouts_are_taken_there_and_back() -> None:
    for pixels, shape in (
        (Pixels(layout="NHWC"), (2, 5, 6, 3)),
        (Pixels(layout="NHW"), (2, 5, 6)),
        (Pixels(), (2, 3, 5, 6)),
    ):
        x = torch.rand(shape)
        assert torch.equal(pixels.outwards(pixels.inwards(x)), x)


# --- texts ---------------------------------------------------------------------------------------------------------------


def test_a_text_model_has_words_for_those_who_edit_them(nets: dict[str, Any]) -> None:
    net, x, y, more = nets["recurrent"]
    model = Model.wrap(net, loss="cross-entropy", x=x, y=y, **more)
    assert "superb" in model.spec.texts[0].words and model.spec.texts[0].n_words == 4
    assert model.encode(["superb film"])["x"].shape == (1, 40)
    assert (model.predict_proba(["superb film"]) != model.predict_proba(["awful film"])).all()
    assert np.isfinite(model.predict_proba(["", "\0", "é" * 1000])).all()


@pytest.mark.parametrize(
    ("x", "more", "message"),
    [
        (TEXTS, {}, r"x holds texts; say how they become tensors: encode=lambda texts"),
        (
            characters(TEXTS),
            {"kind": "text"},
            r"x must be the texts themselves.*To wrap ids as they are, leave kind and encode out",
        ),
        (characters(TEXTS), {"encode": characters}, r"x must be the texts themselves"),
        (TEXTS, {"encode": characters, "kind": "image"}, r'kind is "image"; leave one of them out'),
        (TEXTS, {"encode": lambda texts: characters(texts)[:1]}, r"for 2 texts encode gave .*\(1, 40\).*a row a text"),
        (TEXTS, {"encode": lambda texts: [[1, 2], [3]]}, r"gave a list that is no tensor .*ids of one length"),
    ],
)
def test_texts_without_the_right_tokeniser_are_refused(x: Any, more: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Model.wrap(Recurrent(), loss="cross-entropy", x=x, y=MOODS, **more)


def test_ids_alone_stay_whole_numbers(nets: dict[str, Any]) -> None:
    net = nets["recurrent"][0]
    model = Model.wrap(net, loss="cross-entropy", x=characters(TEXTS), y=MOODS)
    assert model.spec.kind == "vector" and model.spec.fields[0].dtype == "int"  # type: ignore[union-attr]
    assert model.predict_proba(characters(TEXTS)).shape == (96, 2)


# --- several inputs, and outputs that are no tensor ---------------------------------------------------------------------


class TwoInputs(nn.Module):
    """Gives whatever `form` makes of its outputs."""

    def __init__(self, form: Callable[[Tensor], Any] = lambda y: y) -> None:
        super().__init__()
        self.map = nn.Linear(5, 2)
        self.form = form

    def forward(self, left: Tensor, right: Tensor) -> Any:
        return self.form(self.map(torch.cat([left, right.float()], 1)))


LEFT, RIGHT = torch.rand(12, 3), torch.arange(24).reshape(12, 2)
CLASSES = torch.arange(12) % 2


@pytest.mark.parametrize("x", [(LEFT, RIGHT), {"left": LEFT, "right": RIGHT}, {"right": RIGHT, "left": LEFT.numpy()}])
def test_two_inputs_come_as_the_arguments_they_are(x: Any) -> None:
    net = TwoInputs()
    model = Model.wrap(net, loss="cross-entropy", x=x, y=CLASSES)
    assert torch.equal(model.outputs(as_inputs(x)), net(LEFT, RIGHT).detach())
    assert model.predict_proba(x).shape == (12, 2)
    assert nw.check(model, x, CLASSES, names=["predictions-finite"])[0].verdict == "pass"
    called = Model.wrap(
        net,
        loss="cross-entropy",
        x=x,
        y=CLASSES,
        call=lambda module, x: module(*x) if isinstance(x, tuple) else module(x["left"], x["right"]),
    )
    assert (called.predict_proba(x) == model.predict_proba(x)).all()


class Output(dict[str, Any]):
    """A mapping whose entries are attributes too, as Hugging Face's outputs are."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


FORMS: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "tuple": (lambda y: (y, y.mean()), "[0]"),
    "tuple, state first": (lambda y: (y.mean(), y), "[1]"),
    "dict": (lambda y: {"loss": y.mean(), "scores": y}, "['scores']"),
    "dict with logits": (lambda y: {"hidden": y, "logits": y}, "['logits']"),
    "object": (lambda y: SimpleNamespace(out=y), ".out"),
    "object with logits": (lambda y: SimpleNamespace(hidden=y, logits=y), ".logits"),
    "hugging face": (lambda y: Output(loss=None, logits=y), ".logits"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("x", "stars"), [((LEFT, RIGHT), "*"), ({"left": LEFT, "right": RIGHT}, "**")])
def test_the_advice_for_outputs_that_are_no_tensor_can_be_followed_word_for_word(form: str, x: Any, stars: str) -> None:
    make, part = FORMS[form]
    net = TwoInputs(make)
    with pytest.raises(UsageError, match="not a tensor; say how to call it") as caught:
        Model.wrap(net, loss="cross-entropy", x=x, y=CLASSES)
    advice = str(caught.value).partition("call=")[2]
    assert advice == f"lambda module, x: module({stars}x){part}"
    model = Model.wrap(net, loss="cross-entropy", x=x, y=CLASSES, call=eval(advice))
    assert model.predict_proba(x).shape == (12, 2)


def test_a_call_that_gives_no_tensor_is_told_so() -> None:
    with pytest.raises(
        UsageError, match=r"call\(module, x\) returned a dict with 'a', not a tensor; .*the dict's \['a'\]"
    ):
        Model.wrap(
            TwoInputs(), loss="cross-entropy", x=(LEFT, RIGHT), y=CLASSES, call=lambda module, x: {"a": module(*x)}
        )


def test_images_beside_something_else_go_through_call() -> None:
    class Scan(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map = nn.Linear(101, 2)

        def forward(self, image: Tensor, age: Tensor) -> tuple[Tensor, None]:
            return self.map(torch.cat([image.flatten(1), age], 1)), None

    x = {"image": IMAGES, "age": torch.rand(96, 1)}
    findings = nw.check(
        Scan(), x, SIDES, loss="cross-entropy", call=lambda module, x: module(**x)[0], names=["gradients-flow"]
    )
    assert findings[0].verdict == "pass"


def test_a_regression_on_images_keeps_its_unit() -> None:
    net, y = nn.Sequential(nn.Flatten(), nn.Linear(100, 1)), IMAGES.mean((1, 2, 3)).numpy()
    model = Model.wrap(net, loss="squared-error", x=IMAGES, y=y)
    np.testing.assert_allclose(model.predict(IMAGES), net(IMAGES)[:, 0].detach(), rtol=1e-5)
    assert isinstance(model.module, Adapted) and model.target.is_number
