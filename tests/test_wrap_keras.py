"""A Keras model on the torch backend is anybody's module too: wrapped, it predicts, has slopes, and can be made fresh."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(importlib.util.find_spec("keras") is None, reason="keras is not installed")

SCRIPT = """
import os
os.environ["KERAS_BACKEND"] = "torch"  # Keras reads it once, at its import: hence a process of its own
import sys, tempfile
import keras, numpy as np, torch
import netwright as nw
from netwright.core.errors import UsageError
from netwright.model import Subject

torch.set_num_threads(1)
keras.utils.set_random_seed(0)

def make():
    return keras.Sequential([
        keras.layers.Input((4,)),
        keras.layers.Dense(8, activation="relu"),
        keras.layers.BatchNormalization(),
        keras.layers.Dropout(0.5),
        keras.layers.Dense(3),
    ])

net = make()
x = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")
y = (x[:, 0] > 0).astype("int64") + (x[:, 1] > 0.5)
net.compile(optimizer="adam", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
net.fit(x, y, epochs=3, verbose=0)

model = nw.Model.wrap(net, loss="cross-entropy", x=x, y=y)
inputs = {"x": torch.tensor(x)}

def check(name, ok):
    print(name, bool(ok))

wanted = keras.ops.softmax(net(x)).detach().numpy()
check("predicts as Keras does", np.allclose(model.predict_encoded(inputs), wanted, atol=1e-6))
check("three classes", model.target.classes == ("0", "1", "2"))
check("same again in evaluation", (model.outputs(inputs) == model.outputs(inputs)).all())

leaf = torch.tensor(x, requires_grad=True)
(slope,) = torch.autograd.grad(model.module({"x": leaf}).square().sum(), leaf)
check("slopes reach the inputs", slope.isfinite().all() and (slope != 0).any(1).all())

def learning(module):
    "What learns; a copy's have other names."
    return [p.detach().clone() for p in module.parameters() if p.requires_grad]

before = {k: v.clone() for k, v in model.module.state_dict().items()}
fresh = Subject(model=model).fresh(0)
again = Subject(model=model).fresh(0)
check("a copy is another network", fresh.module is not net)
check("fresh differs", not torch.equal(fresh(inputs), model.module(inputs)))
check("fresh is repeatable", torch.equal(fresh(inputs), again(inputs)))
check("six tensors learn", len(learning(fresh)) == len(learning(model.module)) == 6)
check("all that learns is drawn again", not any(torch.equal(p, q) for p in learning(fresh) for q in learning(model.module)))
check("the model is left alone", all(torch.equal(v, before[k]) for k, v in model.module.state_dict().items()))

loss = model.loss.values(fresh(inputs), torch.tensor(y)).mean()
loss.backward()
check("all that learns gets a gradient", all(p.grad is not None for p in fresh.parameters() if p.requires_grad))

with tempfile.TemporaryDirectory() as folder:
    model.save(folder)
    keras.backend.clear_session()  # or names would count on
    loaded = nw.load(folder, module=make())
    check("weights come back in a module made anew", np.allclose(loaded.predict_encoded(inputs), wanted, atol=1e-6))

two = keras.Model(net.inputs, [net.outputs[0], net.outputs[0]])
try:
    nw.Model.wrap(two, loss="cross-entropy", x=x, y=y)
except UsageError as error:
    check("two outputs need call", "call=lambda" in str(error))
"""


@pytest.mark.slow
def test_a_keras_model_can_be_wrapped_priced_differentiated_copied_and_saved() -> None:
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(SCRIPT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    results = dict(line.rsplit(" ", 1) for line in done.stdout.strip().splitlines())
    assert len(results) == 13
    assert [name for name, ok in results.items() if ok != "True"] == []
