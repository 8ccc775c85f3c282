"""The trained thing: it predicts from raw rows, saves and loads without pickle, wraps anybody's module, and trusts no file."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from conftest import make_data
from netwright.adapt.module import as_inputs
from netwright.core.errors import DataError, SetupError, UsageError
from netwright.core.spec import InputSpec, TargetSpec, VectorField
from netwright.data.data import Data
from netwright.losses.loss import adapt
from netwright.losses.standard import CrossEntropy
from netwright.model import Model, Subject, fit
from netwright.recipes.recipe import Recipe
from netwright.train.hooks import Clock
from netwright.train.settings import Training
from netwright.train.state import History

SMALL = {"width": 8, "depth": 1, "number_dim": 4, "category_dim": 2}


def trained(data: Data, **settings: Any) -> Model:
    loss, metric = ("squared-error", "rmse") if data.target.is_number else ("cross-entropy", "log-loss")
    training = Training(**{"epochs": 6, "batch_size": 16, "learning_rate": 0.02, "average": 0.9, **settings})
    return fit(
        Recipe(name="r", template="residual-mlp", options=SMALL, loss=loss, training=training),
        data,
        seed=0,
        metric=metric,
    )[0]


@pytest.fixture(scope="module")
def binary_model() -> Model:
    return trained(make_data("binary"))


@pytest.fixture(scope="module")
def number_model() -> Model:
    return trained(make_data("number"))


# --- predicting -------------------------------------------------------------------------------------------------------


def test_a_model_learns_what_can_be_learned(binary_model: Model, number_model: Model) -> None:
    binary, number = make_data("binary"), make_data("number")
    right = binary_model.predict(binary.part("test")) == binary.part("test")["y"].to_numpy()
    assert right.mean() > 0.8
    errors = number_model.predict(number.part("test")) - number.y("test")
    assert errors.std() < 0.5 * number.y("test").std()


def test_labels_probabilities_and_the_table_agree(binary_model: Model) -> None:
    frame = make_data("binary").part("test")
    p, labels, table = binary_model.predict_proba(frame), binary_model.predict(frame), binary_model.predict_table(frame)
    assert p.shape == (80, 2) and p.dtype == np.float64 and np.allclose(p.sum(1), 1, atol=1e-12)
    assert [binary_model.target.classes[i] for i in p.argmax(1)] == labels.tolist() == table["prediction"].to_list()
    assert table.columns == ["row", "prediction", "p_no", "p_yes"] and table["row"].to_list() == list(range(80))
    assert (table.select("p_no", "p_yes").to_numpy() == p).all()


def test_a_temperature_flattens_and_keeps_the_order(binary_model: Model) -> None:
    frame = make_data("binary").part("test")
    hot = Model(**{**vars(binary_model), "temperature": 3.0})
    p, q = binary_model.predict_proba(frame), hot.predict_proba(frame)
    assert (p.argmax(1) == q.argmax(1)).all() and (q.max(1) <= p.max(1)).all() and (q.max(1) < p.max(1)).any()
    np.testing.assert_allclose(np.log(q[:, 1] / q[:, 0]), np.log(p[:, 1] / p[:, 0]) / 3, rtol=1e-6)


def test_a_margin_gives_intervals_and_a_number_has_no_probabilities(number_model: Model) -> None:
    frame = make_data("number").part("test")
    assert number_model.predict_table(frame).columns == ["row", "prediction"]
    table = Model(**{**vars(number_model), "margin": 7.0}).predict_table(frame)
    assert ((table["upper"] - table["lower"] - 14).abs() < 1e-9).all()
    assert (table["prediction"].to_numpy() == number_model.predict(frame)).all()
    with pytest.raises(UsageError, match="'z' is a number and has no probabilities"):
        number_model.predict_proba(frame)


def test_predictions_do_not_need_the_target_nor_the_order_of_columns(binary_model: Model) -> None:
    frame = make_data("binary").part("test")
    shuffled = frame.drop("y").select(reversed(frame.drop("y").columns))
    assert (binary_model.predict_proba(shuffled) == binary_model.predict_proba(frame)).all()
    assert binary_model.predict_proba(frame.clear()).shape == (0, 2)


# --- fitting ----------------------------------------------------------------------------------------------------------


def test_the_model_is_the_best_epoch_as_it_was_measured() -> None:
    data = make_data("binary")
    recipe = Recipe(
        name="r",
        template="residual-mlp",
        options=SMALL,
        loss="cross-entropy",
        training=Training(epochs=8, batch_size=16, learning_rate=0.2, average=0.5),
    )
    model, state = fit(recipe, data, seed=0, metric="log-loss")
    measured = model.history.column("valid_log-loss")
    p = model.predict_encoded(data.block("valid").x)
    now = -np.log(p[np.arange(len(p)), data.y("valid")]).mean()
    assert now == pytest.approx(min(measured), rel=1e-5) and min(measured) < measured[-1]
    assert model.fingerprint == data.fingerprint and len(measured) == state.epoch == 8


def test_a_training_stopped_within_its_first_epoch_hands_out_the_average() -> None:
    recipe = Recipe(name="r", template="linear", loss="cross-entropy", training=Training(average=0.9, batch_size=16))
    model, state = fit(recipe, make_data("binary"), seed=0, metric="log-loss", hooks=[Clock(math.inf, steps=5)])
    assert state.history.rows == [] and state.stop
    average = state.group("average")
    assert all(torch.equal(p, average[k]) for k, p in model.module.named_parameters())


def test_fitting_is_the_same_again_and_differs_by_seed(number_model: Model) -> None:
    data = make_data("number")
    again = trained(data)
    assert all(torch.equal(v, again.module.state_dict()[k]) for k, v in number_model.module.state_dict().items())


# --- folders ----------------------------------------------------------------------------------------------------------


def test_a_saved_model_predicts_the_same(binary_model: Model, tmp_path: Path) -> None:
    frame = make_data("binary").part("test")
    model = Model(**{**vars(binary_model), "temperature": 1.7, "margin": 0.1})
    model.save(tmp_path / "model")
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == ["model.json", "weights.safetensors"]
    for folder in (tmp_path / "model", tmp_path):  # a run folder will do
        again = Model.load(folder)
        assert (again.predict_proba(frame) == model.predict_proba(frame)).all() and not again.module.training
        assert (again.temperature, again.margin, again.fingerprint) == (1.7, 0.1, model.fingerprint)
        assert again.history.rows == model.history.rows and again.recipe == model.recipe


def test_a_history_with_nan_is_saved_as_plain_json(binary_model: Model, tmp_path: Path) -> None:
    history = History([{"epoch": 1, "valid_roc-auc": math.nan, "train_loss": math.inf}])
    Model(**{**vars(binary_model), "history": history}).save(tmp_path)
    json.loads((tmp_path / "model.json").read_text(), parse_constant=pytest.fail)
    again = Model.load(tmp_path).history
    assert math.isnan(again.column("valid_roc-auc")[0]) and again.column("train_loss") == [math.inf]


@pytest.fixture
def folder(binary_model: Model, tmp_path: Path) -> Path:
    binary_model.save(tmp_path / "model")
    return tmp_path / "model"


def edit(folder: Path, **changes: Any) -> None:
    card = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**card, **changes}))


@pytest.mark.parametrize("how", ["truncated", "one bit", "longer", "empty"])
def test_weights_that_are_not_those_saved_are_refused(folder: Path, how: str) -> None:
    path = folder / "weights.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 1 if how == "one bit" else 0
    path.write_bytes({"truncated": raw[:-100], "one bit": raw, "longer": raw + b"x", "empty": b""}[how])
    with pytest.raises(DataError, match="its checksum differs"):
        Model.load(folder)


def test_weights_that_do_not_fit_are_refused_even_with_the_right_checksum(folder: Path, binary_model: Model) -> None:
    import hashlib

    state = load_file(folder / "weights.safetensors")
    for wrong in ({k: v[:1] for k, v in state.items() if v.dim()}, {**state, "extra": torch.zeros(1)}):
        save_file(wrong, folder / "weights.safetensors")
        digest = hashlib.blake2b((folder / "weights.safetensors").read_bytes(), digest_size=32).hexdigest()
        edit(folder, weights_blake2b=digest)
        with pytest.raises(DataError, match=r"is damaged.*copy it again or train again"):
            Model.load(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "not a model of format 1"),
        ({"format": "1"}, "not a model of format 1"),
        ({"spec": {"fields": "x"}}, "is damaged"),
        ({"spec": None}, "is damaged"),
        ({"loss": {"name": "os:system"}}, "is damaged"),
        ({"temperature": "hot"}, "is damaged"),
        ({"margin": [1]}, "is damaged"),
        ({"history": 3}, "is damaged"),
        (
            {"recipe": {"name": "r", "template": "residual-mlp", "loss": "cross-entropy", "options": {"width": -1}}},
            "is damaged",
        ),
        ({"recipe": {"name": "r", "template": "residual-mlp", "loss": "cross-entropy", "extra": 1}}, "is damaged"),
    ],
)
def test_a_card_that_is_wrong_is_a_data_error(folder: Path, changes: dict[str, Any], message: str) -> None:
    edit(folder, **changes)
    with pytest.raises(DataError, match=message):
        Model.load(folder)


@pytest.mark.parametrize(
    "name",
    ["os:system", "subprocess.run", "../../evil", "netwright.recipes.templates:linear", "antigravity:x", "/tmp/x"],
)
def test_no_name_of_a_file_is_ever_imported(folder: Path, name: str) -> None:
    """Names go through the registry: a path is one more unknown name, wherever it stands."""
    card = json.loads((folder / "model.json").read_text())
    before = set(sys.modules)
    for key in ("template", "loss", "objective"):
        edit(folder, recipe={**card["recipe"], key: name})
        try:
            assert Model.load(folder).objective
        except (DataError, UsageError) as error:
            assert name in str(error)
        else:
            assert key == "loss"  # the loss is stored whole, its name in the recipe is not looked at here
    assert set(sys.modules) == before and "antigravity" not in sys.modules


@pytest.mark.parametrize(
    "options", [{"width": 10**12}, {"width": 3_000}, {"depth": 10**6}, {"number_dim": 10**11}, {"category_dim": 900}]
)
def test_a_recipe_that_asks_for_more_than_its_weights_is_refused_before_memory_is(
    folder: Path, options: dict[str, int]
) -> None:
    card = json.loads((folder / "model.json").read_text())
    edit(folder, recipe={**card["recipe"], "options": {**SMALL, **options}})
    with pytest.raises(DataError, match=r"asks for more than the [\d,]+ bytes of its weights"):
        Model.load(folder)
    assert nn.Linear(500, 500).weight.shape == (500, 500)  # the guard is gone again


def test_what_is_no_model_says_what_it_should_be(tmp_path: Path, folder: Path) -> None:
    pickle = tmp_path / "model.pkl"
    pickle.write_bytes(b"\x80\x04N.")
    with pytest.raises(DataError, match=r"is a file; a model is a folder .*pickles are never opened"):
        Model.load(pickle)
    with pytest.raises(DataError, match="there is no file"):
        Model.load(tmp_path / "nowhere")
    (folder / "weights.safetensors").unlink()
    with pytest.raises(DataError, match="the model is not whole"):
        Model.load(folder)
    (folder / "model.json").write_text("[1]")
    with pytest.raises(DataError, match="not a model of format"):
        Model.load(folder)


def test_a_folder_that_cannot_be_made_leaves_nothing(binary_model: Model, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(SetupError, match="choose another place"):
        binary_model.save(tmp_path / "file" / "model")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


# --- wrapping ---------------------------------------------------------------------------------------------------------

X, LABELS = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 4


def test_a_wrapped_module_predicts_as_it_does(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 4))
    model = Model.wrap(net, loss="cross-entropy", x=X, y=LABELS, low=-3.0)
    np.testing.assert_allclose(model.predict_encoded({"x": X}), net(X).double().softmax(1).detach(), rtol=1e-6)
    field = model.spec.fields[0]
    assert isinstance(field, VectorField) and (field.shape, field.low, field.high) == ((3,), -3.0, None)
    assert field.scale == pytest.approx(float(X.std())) and model.target.classes == ("0", "1", "2", "3")
    model.save(tmp_path)
    with pytest.raises(UsageError, match=r"pass it: nw.load\(folder, module=MyNet\(\)\)"):
        Model.load(tmp_path)


def test_a_saved_wrapped_module_comes_back_in_a_fresh_one_of_the_user(tmp_path: Path) -> None:
    model = Model.wrap(nn.Linear(3, 4), loss="cross-entropy", x=X, y=LABELS)
    model.save(tmp_path)
    again = Model.load(tmp_path, module=nn.Linear(3, 4))
    assert (again.predict_encoded({"x": X}) == model.predict_encoded({"x": X})).all()


def test_several_inputs_come_as_a_mapping() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map = nn.Linear(5, 1)

        def forward(self, x: dict[str, Tensor]) -> Tensor:
            y: Tensor = self.map(torch.cat([x["left"], x["right"].float()], 1))
            return y

    x = {"left": X.numpy(), "right": torch.arange(40).reshape(20, 2)}
    model = Model.wrap(Two(), loss="squared-error", x=x, y=X[:, 0].numpy())
    assert model.spec.names == ["left", "right"] and model.target.is_number
    assert [getattr(f, "dtype", "") for f in model.spec.fields] == ["float", "int"]
    assert model.predict_encoded(as_inputs(x)).shape == (20,)


class Tuple(nn.Module):
    """Gives more than a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, str]:
        return self.map(x), "extra"


def test_outputs_that_are_no_tensor_need_call() -> None:
    with pytest.raises(UsageError, match=r"returned a tuple, not a tensor; .*call=lambda module, x: module\(x\)\[0\]"):
        Model.wrap(Tuple(), loss="cross-entropy", x=X, y=LABELS)
    model = Model.wrap(Tuple(), loss="cross-entropy", x=X, y=LABELS, call=lambda module, x: module(x)[0])
    assert model.predict_encoded({"x": X}).shape == (20, 4)


def test_outputs_without_a_row_each_are_refused() -> None:
    with pytest.raises(UsageError, match=r"outputs of shape \(\); the first dimension must count rows"):
        Model.wrap(nn.Linear(3, 4), loss="cross-entropy", x=X, y=LABELS, call=lambda module, x: module(x).mean())


def test_a_function_with_an_unknown_link_prices_but_does_not_predict() -> None:
    model = Model.wrap(nn.Linear(3, 4), loss=F.cross_entropy, x=X, y=LABELS)
    outputs = model.outputs({"x": X})
    torch.testing.assert_close(model.loss.values(outputs, LABELS), F.cross_entropy(outputs, LABELS, reduction="none"))
    with pytest.raises(UsageError, match="what an output means is not known"):
        model.predict_encoded({"x": X})
    with pytest.raises(UsageError, match="user's function cannot be stored; name one of: cross-entropy"):
        model.save("/nowhere")
    softmax = Model.wrap(nn.Linear(3, 4), loss=F.cross_entropy, link="softmax", x=X, y=LABELS)
    assert softmax.predict_encoded({"x": X}).sum() == pytest.approx(20)


@pytest.mark.parametrize(
    ("loss", "link", "n_out", "y", "task"),
    [
        (nn.MSELoss(), "unknown", 1, X[:, 0].numpy(), "number"),
        (nn.MSELoss(), "identity", 1, np.arange(20), "number"),
        (adapt(F.mse_loss, "identity"), "unknown", 1, X[:, 0], "number"),
        (CrossEntropy(smoothing=0.1), "unknown", 2, LABELS % 2, "binary"),
        (F.cross_entropy, "softmax", 9, LABELS, "classes"),
        (lambda o, y: F.binary_cross_entropy_with_logits(o[:, 0], y.float()), "sigmoid", 1, LABELS % 2, "binary"),
    ],
)
def test_the_task_follows_from_loss_link_and_target(loss: Any, link: str, n_out: int, y: Any, task: str) -> None:
    model = Model.wrap(nn.Linear(3, n_out), loss=loss, link=link, x=X, y=y)
    assert model.target.task == task
    assert len(model.target.classes) == (0 if task == "number" else max(n_out, 2))
    assert sum(model.target.priors) == pytest.approx(0 if task == "number" else 1)


@pytest.mark.parametrize(
    ("y", "more", "message"),
    [
        (LABELS - 1, {}, r"class numbers -1 to 2, expected 0 to 3 for 4 outputs"),
        (LABELS + 1, {}, r"class numbers 1 to 4, expected 0 to 3"),
        (LABELS, {"classes": ["a", "b"]}, r"for 4 outputs and 2 names of classes"),
        (X[:, 0], {}, r"must hold class numbers 0, 1, 2, .*for a regression use loss='squared-error'"),
    ],
)
def test_class_numbers_that_do_not_fit_the_outputs_are_refused(y: Any, more: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Model.wrap(nn.Linear(3, 4), loss="cross-entropy", x=X, y=y, **more)
    with pytest.raises(UsageError, match="there is no loss 'cross-entorpy'; did you mean 'cross-entropy'"):
        Model.wrap(nn.Linear(3, 4), loss="cross-entorpy", x=X, y=LABELS)


def test_a_wrapped_regression_keeps_its_unit() -> None:
    y = 1000 + 50 * X[:, 0].numpy()
    model = Model.wrap(nn.Linear(3, 1), loss="squared-error", x=X, y=y)
    assert model.target.center == pytest.approx(y.mean()) and model.target.scale == pytest.approx(y.std())
    np.testing.assert_allclose(model.predict_encoded({"x": X}), model.outputs({"x": X})[:, 0], rtol=1e-6)


# --- subjects ---------------------------------------------------------------------------------------------------------


def weights_of(net: nn.Module) -> dict[str, Tensor]:
    return {k: v.detach().clone() for k, v in net.state_dict().items()}


def test_a_subject_says_what_it_lacks() -> None:
    for part in ("model", "recipe", "data", "predictions"):
        with pytest.raises(UsageError, match=f"needs the {part} of its subject"):
            Subject().need(part)


def test_a_fresh_network_is_untrained_repeatable_and_leaves_the_model_alone(binary_model: Model) -> None:
    data, before = make_data("binary"), weights_of(binary_model.module)
    for subject in (Subject(model=binary_model), Subject(recipe=binary_model.recipe, data=data)):
        one, again, other = subject.fresh(0), subject.fresh(0), subject.fresh(1)
        x = data.block("test").x
        assert torch.equal(one.eval()(x), again.eval()(x)) and not torch.equal(one(x), other.eval()(x))
        assert not torch.equal(one(x), binary_model.module(x))
    assert all(torch.equal(v, before[k]) for k, v in weights_of(binary_model.module).items())
    assert Subject(model=binary_model).loss == CrossEntropy()
    assert Subject(recipe=binary_model.recipe, data=data).loss == CrossEntropy()


def test_a_foreign_module_is_drawn_again_in_every_part_even_without_a_way_to_reset() -> None:
    class Own(nn.Module):
        """A plain parameter, attention (which resets under another name), a norm, and a frozen part."""

        def __init__(self) -> None:
            super().__init__()
            self.plain = nn.Parameter(torch.full((3, 4), 5.0) + torch.randn(3, 4))
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
            self.norm = nn.BatchNorm1d(4)
            self.frozen = nn.Parameter(torch.linspace(1, 2, 4), requires_grad=False)

        def forward(self, x: Tensor) -> Tensor:
            h = (x @ self.plain).unsqueeze(1)
            y: Tensor = self.norm(self.attention(h, h, h)[0].squeeze(1)) * self.frozen
            return y

    net = Own()
    with torch.no_grad():
        for p in (net.norm.weight, net.attention.in_proj_weight):
            p.add_(1)
        net.norm.running_mean.add_(3)  # type: ignore[union-attr]
    model = Model.wrap(net, loss="cross-entropy", x=X, y=LABELS)
    before, global_state = weights_of(model.module), torch.get_rng_state()
    fresh = weights_of(Subject(model=model).fresh(0))
    assert torch.equal(global_state, torch.get_rng_state())
    same = {k.removeprefix("module.") for k, v in fresh.items() if torch.equal(v, before[k])}
    assert {"plain", "attention.in_proj_weight", "norm.weight", "norm.running_mean"}.isdisjoint(same)
    assert "frozen" in same and fresh["module.plain"].mean() == pytest.approx(5, abs=1.5)
    assert all(torch.equal(v, before[k]) for k, v in weights_of(model.module).items())


def test_a_fresh_network_needs_a_recipe_with_data_or_a_model() -> None:
    with pytest.raises(UsageError, match="needs the model"):
        Subject().fresh(0)


def test_data_from_tensors_reads_as_raw_rows() -> None:
    spec = InputSpec(kind="vector", fields=(VectorField(name="x", shape=(3,)),))
    target = TargetSpec(name="y", task="classes", classes=("0", "1", "2", "3"))
    data = Data.from_tensors({"x": X}, LABELS, spec, target)
    assert torch.equal(data.block("valid").x["x"], X) and (data.y("test") == LABELS.numpy()).all()
    assert isinstance(data.part("test"), pl.DataFrame)
