"""What people would pick instead of our engine, written as most of them write it. Each trains for a number of epochs and gives its
training accuracy; the caller takes the time.

skorch, torchattacks and foolbox are looked for in `build/peers` (`make peers` puts them there); Keras comes with the tools for
development.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

PEERS = Path(__file__).resolve().parent.parent / "build" / "peers"
if PEERS.is_dir() and str(PEERS) not in sys.path:
    sys.path.append(str(PEERS))  # last, so that it hides nothing of the environment
os.environ.setdefault("KERAS_BACKEND", "torch")


# --- networks ----------------------------------------------------------------------------------------------------------


def mlp(n_in: int = 108, hidden: int = 32, n_out: int = 2) -> nn.Sequential:
    """n_in - hidden - hidden - n_out."""
    return nn.Sequential(
        nn.Linear(n_in, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, n_out)
    )


def small_cnn() -> nn.Sequential:
    """conv 32, conv 64, batch norm, fc 128, for 28 x 28 grey images."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 49, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


class GRUNet(nn.Module):
    """GRU of 128 over the steps, a linear map of its last state."""

    def __init__(self, n_in: int = 8, width: int = 128, n_out: int = 2) -> None:
        super().__init__()
        self.gru, self.head = nn.GRU(n_in, width, batch_first=True), nn.Linear(width, n_out)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, n_in) -> (N, n_out)."""
        outputs: Tensor = self.head(self.gru(x)[0][:, -1])
        return outputs


class TransformerNet(nn.Module):
    """Two encoder layers of d = 128 over 64 tokens, a linear map of their mean."""

    def __init__(self, n_tokens: int = 100, width: int = 128, length: int = 64, n_out: int = 2) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(n_tokens, width), nn.Parameter(torch.zeros(length, width))
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, n_out)

    def forward(self, ids: Tensor) -> Tensor:
        """(N, T) ids -> (N, n_out)."""
        outputs: Tensor = self.head(self.encoder(self.embed(ids) + self.place).mean(1))
        return outputs


# --- problems ----------------------------------------------------------------------------------------------------------


def table(n: int = 32_000, n_in: int = 108) -> tuple[np.ndarray, np.ndarray]:
    """Rows of noise whose class a random network decides, with a tenth of the labels wrong: x (n, n_in) float32, y (n,)."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, n_in)).astype(np.float32)
    hidden = np.tanh(x @ rng.normal(size=(n_in, 16)) / 4)
    y = (hidden @ rng.normal(size=16) > 0) ^ (rng.random(n) < 0.1)
    return x, y.astype(np.int64)


def series(n: int, steps: int = 50, n_in: int = 8) -> tuple[Tensor, Tensor]:
    """Noise with a slow drift up or down, which is the class."""
    rng = torch.Generator().manual_seed(0)
    y = torch.randint(0, 2, (n,), generator=rng)
    drift = torch.linspace(0, 1, steps)[None, :, None] * (2.0 * y - 1)[:, None, None]
    return torch.randn(n, steps, n_in, generator=rng) + drift, y


def tokens(n: int, length: int = 64, n_tokens: int = 100) -> tuple[Tensor, Tensor]:
    """Random tokens; the class is whether token 1 comes more often than token 2."""
    rng = torch.Generator().manual_seed(0)
    ids = torch.randint(0, n_tokens, (n, length), generator=rng)
    return ids, ((ids == 1).sum(1) > (ids == 2).sum(1)).long()


# --- peers -------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def accuracy(net: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> float:
    """Share of the first 2,048 rows that a network has right: what is timed is training, not answering."""
    parts = [net(piece).argmax(1) for piece in torch.split(x[:2048], 1024)]
    return float((torch.cat(parts) == y[:2048]).double().mean())


def torch_loop(net: nn.Module, x: Tensor, y: Tensor, *, epochs: int, batch_size: int, rate: float = 1e-3) -> float:
    """The loop of the tutorials: TensorDataset, DataLoader, Adam."""
    loader = DataLoader(TensorDataset(x, y), batch_size=batch_size, shuffle=True)
    optimizer, criterion = torch.optim.Adam(net.parameters(), lr=rate), nn.CrossEntropyLoss()
    net.train()
    for _ in range(epochs):
        for xb, yb in loader:
            optimizer.zero_grad()
            loss = criterion(net(xb), yb)
            loss.backward()
            optimizer.step()
    return accuracy(net.eval(), x, y)


def skorch_loop(x: np.ndarray, y: np.ndarray, *, epochs: int, batch_size: int) -> float:
    """skorch's NeuralNetClassifier without a validation split and without printing."""
    from skorch import NeuralNetClassifier

    net = NeuralNetClassifier(
        mlp(),
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=1e-3,
        max_epochs=epochs,
        batch_size=batch_size,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    ).fit(x, y)
    return float((net.predict(x) == y).mean())


def keras_loop(x: np.ndarray, y: np.ndarray, *, epochs: int, batch_size: int) -> float:
    """Keras on the torch backend."""
    import keras

    layers = [keras.layers.Dense(n, activation="relu") for n in (32, 32)]
    net = keras.Sequential([keras.layers.Input((x.shape[1],)), *layers, keras.layers.Dense(2)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    net.compile(optimizer=keras.optimizers.Adam(1e-3), loss=loss)
    net.fit(x, y, epochs=epochs, batch_size=batch_size, verbose=0)
    return float((net.predict(x, batch_size=4096, verbose=0).argmax(1) == y).mean())


def sklearn_mlp(x: np.ndarray, y: np.ndarray, *, epochs: int, batch_size: int, seed: int = 0) -> float:
    """scikit-learn's MLPClassifier for a fixed number of epochs."""
    model = sklearn_estimator(epochs, batch_size, seed)
    with quiet():
        model.fit(x, y)
    return float(model.score(x, y))


def sklearn_estimator(epochs: int, batch_size: int, seed: int = 0) -> Any:
    """The unfitted MLPClassifier of two hidden layers of 32, Adam, no stopping before the last epoch, no penalty."""
    from sklearn.neural_network import MLPClassifier

    return MLPClassifier(
        (32, 32),
        alpha=0.0,
        batch_size=batch_size,
        max_iter=epochs,
        tol=0.0,
        n_iter_no_change=epochs + 1,
        random_state=seed,
    )


def quiet() -> Any:
    """Without the warning that an epoch limit was reached, which is what was asked for."""
    return warnings.catch_warnings(action="ignore")


def batches(n: int, size: int) -> Iterator[slice]:
    """Slices of `size` rows."""
    return (slice(i, i + size) for i in range(0, n, size))


def torchattacks_pgd(net: nn.Module, x: Tensor, y: Tensor, *, eps: float, steps: int, batch_size: int = 250) -> float:
    """Robust accuracy under torchattacks' PGD, L-infinity, inputs in [0, 1]."""
    import torchattacks

    attack = torchattacks.PGD(net, eps=eps, alpha=2.5 * eps / steps, steps=steps, random_start=True)
    right = [net(attack(x[s], y[s])).argmax(1) == y[s] for s in batches(len(x), batch_size)]
    return float(torch.cat(right).double().mean())


def foolbox_pgd(net: nn.Module, x: Tensor, y: Tensor, *, eps: float, steps: int, batch_size: int = 250) -> float:
    """Robust accuracy under Foolbox' LinfPGD, inputs in [0, 1]."""
    import foolbox

    model = foolbox.PyTorchModel(net, bounds=(0, 1))
    attack = foolbox.attacks.LinfPGD(abs_stepsize=2.5 * eps / steps, steps=steps, random_start=True)
    won = [attack(model, x[s], y[s], epsilons=eps)[2] for s in batches(len(x), batch_size)]
    return float(1 - torch.cat(won).double().mean())
