"""Networks of the gallery against the same networks written directly in torch: a step forwards and backwards of each, in turn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmarks.results import Result, Row, spread
from netwright.nn.attention import AttentionPooling
from netwright.nn.charcnn import ALPHABET, POOLED, WINDOWS, CharConvs, dense, frames
from netwright.nn.convnet import ResidualConvNet
from netwright.nn.convstack import ConvStack
from netwright.nn.lenet import LeNet5
from netwright.nn.mlp import MLP
from netwright.nn.recurrent import Recurrent
from netwright.nn.series import InceptionSeriesNet, ResidualSeriesNet
from netwright.nn.sets import DeepSet
from netwright.nn.text import TokenConv
from netwright.nn.transformer import TransformerTrunk
from netwright.nn.trees import ChildSumTreeLSTM

MOST = 1.05
"""Of torch's time; the rest is the noise of a shared machine."""


@dataclass(frozen=True)
class Pair:
    """A network of ours, the same one in torch's own layers, and what both are given."""

    ours: nn.Module
    theirs: nn.Module
    inputs: tuple[Tensor, ...]


def _both(pair: Pair, turn: int) -> tuple[float, float]:
    """Milliseconds of ours and of theirs; who goes first changes from turn to turn."""
    if turn % 2:
        theirs = _step(pair.theirs, pair.inputs)
        return _step(pair.ours, pair.inputs), theirs
    return _step(pair.ours, pair.inputs), _step(pair.theirs, pair.inputs)


def _step(net: nn.Module, inputs: Sequence[Tensor]) -> float:
    """Milliseconds of one pass forwards and backwards."""
    began = time.perf_counter()
    out = net(*inputs)
    (out[0] if isinstance(out, tuple) else out).square().mean().backward()
    seconds = time.perf_counter() - began
    net.zero_grad(set_to_none=True)
    return 1e3 * seconds


# --- the same networks in torch's own layers --------------------------------------------------------------------------


class _Block(nn.Module):
    """A residual block as in the paper, in one or two dimensions."""

    def __init__(
        self, conv: type[nn.Module], norm: type[nn.Module], sizes: Sequence[int], windows: Sequence[int]
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for a, b, window in zip(sizes, sizes[1:], windows, strict=False):
            layers += [conv(a, b, window, padding=window // 2, bias=False), norm(b), nn.ReLU()]  # type: ignore[call-arg]
        self.branch = nn.Sequential(*layers[:-1])
        same = sizes[0] == sizes[-1] and len(windows) == 2
        short = nn.Sequential(conv(sizes[0], sizes[-1], 1, bias=False), norm(sizes[-1]))  # type: ignore[call-arg]
        self.short = nn.Identity() if same else short

    def forward(self, x: Tensor) -> Tensor:
        """The same positions."""
        y: Tensor = (self.short(x) + self.branch(x)).relu()
        return y


class _Pooled(nn.Module):
    """A body, and the mean over positions, with the maximum where asked."""

    def __init__(self, body: nn.Module, both: bool) -> None:
        super().__init__()
        self.body, self.both = body, both

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Vectors."""
        maps = self.body(x if lengths is None else x.transpose(1, 2)).flatten(2)
        return torch.cat([maps.mean(2), maps.amax(2)], 1) if self.both else maps.mean(2)


def _residual_convs(width: int) -> nn.Module:
    """Of 28 x 28 images: three stages, each a convolution, a pooling and a residual block."""
    layers: list[nn.Module] = []
    for a, b in ((1, width), (width, 2 * width), (2 * width, 4 * width)):
        layers += [nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2)]
        layers += [_Block(nn.Conv2d, nn.BatchNorm2d, (b, b, b), (3, 3))]
    return _Pooled(nn.Sequential(*layers), both=True)


def _residual_series(width: int) -> nn.Module:
    sizes = ((1, width), (width, 2 * width), (2 * width, 2 * width))
    blocks = [_Block(nn.Conv1d, nn.BatchNorm1d, (a, b, b, b), (7, 5, 3)) for a, b in sizes]
    return _Pooled(nn.Sequential(*blocks), both=False)


class _Set(nn.Module):
    """A perceptron on each element, sum, mean and maximum over those that are there, a linear map."""

    def __init__(self, n_in: int, width: int) -> None:
        super().__init__()
        self.element = nn.Sequential(nn.Linear(n_in, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.whole = nn.Sequential(nn.Linear(3 * width, width), nn.ReLU())

    def forward(self, vectors: Tensor, lengths: Tensor) -> Tensor:
        """Vectors (N, width)."""
        there = (torch.arange(vectors.shape[1]) < lengths[:, None]).unsqueeze(2)
        x = self.element(vectors) * there
        y: Tensor = self.whole(torch.cat([x.sum(1), x.sum(1) / lengths[:, None], x.amax(1)], 1))
        return y


class _TreeLSTM(nn.Module):
    """The child-sum tree LSTM node by node, as its recursion is written."""

    def __init__(self, n_in: int, width: int) -> None:
        super().__init__()
        self.inputs, self.of_child = nn.Linear(n_in, 4 * width), nn.Linear(width, 4 * width, bias=False)
        self.width = width

    def forward(self, vectors: Tensor, parents: Tensor, there: Tensor) -> Tensor:
        """States of the roots (N, width)."""
        return torch.stack([self._node(vectors[k], parents[k].tolist(), 0)[0] for k in range(len(vectors))])

    def _node(self, x: Tensor, parents: list[int], j: int) -> tuple[Tensor, Tensor]:
        below = [self._node(x, parents, k) for k, parent in enumerate(parents) if parent == j]
        own, own_forget = self.inputs(x[j]).split([3 * self.width, self.width])
        kept = torch.zeros(self.width)
        for h, c in below:
            said, forget = self.of_child(h).split([3 * self.width, self.width])
            own, kept = own + said, kept + torch.sigmoid(own_forget + forget) * c
        i, o, u = own.chunk(3)
        c = torch.sigmoid(i) * torch.tanh(u) + kept
        return torch.sigmoid(o) * torch.tanh(c), c


class _Plain(nn.Module):
    """A transformer of torch's own layers: a linear map, an encoder, the mean over what is there."""

    def __init__(self, n_in: int, width: int, heads: int, depth: int) -> None:
        super().__init__()
        self.inward = nn.Linear(n_in, width)
        layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, depth, nn.LayerNorm(width), enable_nested_tensor=False)

    def forward(self, vectors: Tensor, lengths: Tensor) -> Tensor:
        """Vectors (N, width)."""
        there = torch.arange(vectors.shape[1]) < lengths.unsqueeze(1)
        x = self.encoder(self.inward(vectors), src_key_padding_mask=~there) * there.unsqueeze(2)
        mean: Tensor = x.sum(1) / lengths.unsqueeze(1)
        return mean


class _Letters(nn.Module):
    """Numbers of letters (N, T) -> one-hot letters (N, 70, T)."""

    def forward(self, numbers: Tensor) -> Tensor:
        """The letters."""
        return nn.functional.one_hot(numbers, 70).transpose(1, 2).float()


class _Packed(nn.Module):
    """A recurrent layer over sequences of unequal lengths as torch's documentation has it: packed, and padded again."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, vectors: Tensor, lengths: Tensor) -> Tensor:
        """Outputs (N, T, width)."""
        packed = pack_padded_sequence(vectors, lengths, batch_first=True, enforce_sorted=False)
        outputs: Tensor = pad_packed_sequence(self.layer(packed)[0], batch_first=True, total_length=vectors.shape[1])[0]
        return outputs


class _InceptionModule(nn.Module):
    """Three windows and a maximum side by side."""

    def __init__(self, n_in: int, width: int) -> None:
        super().__init__()
        self.mixed = nn.Conv1d(n_in, width, 1, bias=False) if n_in > 1 else nn.Identity()
        n = width if n_in > 1 else 1
        self.convs = nn.ModuleList(nn.Conv1d(n, width, w, padding=w // 2, bias=False) for w in (39, 19, 9))
        self.peak = nn.Sequential(nn.MaxPool1d(3, 1, 1), nn.Conv1d(n_in, width, 1, bias=False))
        self.norm = nn.BatchNorm1d(4 * width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 4 width, T)."""
        mixed = self.mixed(x)
        y: Tensor = self.norm(torch.cat([*(conv(mixed) for conv in self.convs), self.peak(x)], 1)).relu()
        return y


class _Inceptions(nn.Module):
    """Three modules with one short cut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        n = 4 * width
        self.body = nn.Sequential(*[_InceptionModule(a, width) for a in (1, n, n)])
        self.short = nn.Sequential(nn.Conv1d(1, n, 1, bias=False), nn.BatchNorm1d(n))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 4 width, T)."""
        y: Tensor = (self.short(x) + self.body(x)).relu()
        return y


class _AttentionPool(nn.Module):
    """The weighted mean with additive affinities to a learned query, what is padded masked."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(dim))
        self.of_query, self.of_key = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.worth = nn.Linear(dim, 1, bias=False)

    def forward(self, vectors: Tensor, lengths: Tensor) -> Tensor:
        """Vectors (N, dim)."""
        affinity = self.worth((self.of_query(self.query) + self.of_key(vectors)).tanh()).squeeze(2)
        there = torch.arange(vectors.shape[1]) < lengths[:, None]
        scores = affinity.masked_fill(~there, -torch.inf).softmax(1)
        return (scores.unsqueeze(1) @ vectors).squeeze(1)


class _TextConvs(nn.Module):
    """Convolutions over embeddings of tokens, the maximum over the text."""

    def __init__(self, n_ids: int, dim: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(n_ids, dim, padding_idx=0)
        self.convs = nn.ModuleList(nn.Conv1d(dim, width, k, padding=k // 2) for k in (1, 3, 5))

    def forward(self, ids: Tensor) -> Tensor:
        """Features (N, 3 width)."""
        vectors = self.table(ids).transpose(1, 2)
        return torch.cat([conv(vectors).relu().amax(2) for conv in self.convs], 1)


def _residual_voxels(widths: Sequence[int]) -> nn.Module:
    """Of volumes: stages of convolution, pooling and residual block."""
    layers: list[nn.Module] = []
    for a, b in zip((1, *widths), widths, strict=False):
        layers += [nn.Conv3d(a, b, 3, padding=1, bias=False), nn.BatchNorm3d(b), nn.ReLU(), nn.MaxPool3d(2)]
        layers += [_Block(nn.Conv3d, nn.BatchNorm3d, (b, b, b), (3, 3))]
    return _Pooled(nn.Sequential(*layers), both=True)


def _plain_char_cnn(width: int, hidden: int, length: int) -> nn.Module:
    """The network on characters as torch's own layers on numbers of letters (N, length)."""
    layers: list[nn.Module] = [_Letters()]
    for k, window in enumerate(WINDOWS):
        layers += [nn.Conv1d(width if k else 70, width, window), nn.ReLU()]
        layers += [nn.MaxPool1d(3)] if k in POOLED else []
    n = width * frames(length)[-1]
    head = [nn.Linear(n, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 4)]
    return nn.Sequential(*layers, nn.Flatten(), *head)


def pairs() -> dict[str, Pair]:
    """All of them, small enough for a processor."""
    torch.manual_seed(0)
    lengths = torch.randint(8, 65, (64,))
    lengths[0] = 64
    vectors, images, frames_of = torch.randn(64, 64, 32), torch.randn(128, 1, 28, 28), torch.full((64,), 128)
    series, rows, ids = torch.randn(64, 128, 1), torch.randn(32, 108), torch.randint(2, 68, (32, 300))
    chars = "".join(sorted(set(ALPHABET)))
    trees, parents = torch.randn(16, 15, 32), torch.tensor([[-1, *(k // 2 for k in range(14))]] * 16)
    narrow = nn.Sequential(
        CharConvs(chars, length=300, width=64), dense(64 * frames(300)[-1], 4, hidden=128, dropout=0.0)
    )
    lenet = [nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)]
    lenet += [nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)]
    mlp = [nn.Linear(108, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2)]
    sets = DeepSet(32, width=64, usual=64)
    two_ways = nn.GRU(32, 64, batch_first=True, bidirectional=True)
    volumes, words = torch.randn(16, 1, 16, 16, 16), torch.randint(1, 5_000, (64, 40))
    return {
        "perceptron 108-32-32-2, 32 rows": Pair(MLP(108, 2, [32, 32]), nn.Sequential(*mlp), (rows,)),
        "LeNet-5, 128 images": Pair(LeNet5(1, 10), nn.Sequential(*lenet), (images,)),
        "residual convolutions of width 16, 128 images": Pair(
            ResidualConvNet(1, 28, 28, width=16), _residual_convs(16), (images,)
        ),
        "residual convolutions of width 16 over 64 series of 128 steps": Pair(
            ResidualSeriesNet(1, 128, width=16), _residual_series(16), (series, frames_of)
        ),
        "GRU of width 64, 64 rows of 64 vectors": Pair(Recurrent(32, 64), nn.GRU(32, 64, batch_first=True), (vectors,)),
        "LSTM of width 64 and two levels, 64 rows of 64 vectors": Pair(
            Recurrent(32, 64, cell="lstm", depth=2), nn.LSTM(32, 64, 2, batch_first=True), (vectors,)
        ),
        "Elman network of width 64, 64 rows of 64 vectors": Pair(
            Recurrent(32, 64, cell="elman"), nn.RNN(32, 64, batch_first=True), (vectors,)
        ),
        "GRU of width 64 in two directions, 64 rows of up to 64 vectors": Pair(
            Recurrent(32, 64, directions=2), _Packed(two_ways), (vectors, lengths)
        ),
        "inception modules of width 8 over 64 series of 128 steps": Pair(
            InceptionSeriesNet(1, 128, width=8, depth=3), _Pooled(_Inceptions(8), both=False), (series, frames_of)
        ),
        "residual convolutions of widths 8 and 16, 16 volumes of 16 x 16 x 16": Pair(
            ConvStack(1, (16, 16, 16), (8, 16), residual=True), _residual_voxels((8, 16)), (volumes,)
        ),
        "attention pooling over 64 sets of up to 64 vectors": Pair(
            AttentionPooling(32), _AttentionPool(32), (vectors, lengths)
        ),
        "convolutions of width 100 over 64 texts of 40 words": Pair(
            TokenConv(5_000, 128, width=100), _TextConvs(5_000, 128, 100), (words,)
        ),
        "perceptrons over 64 sets of up to 64 vectors": Pair(sets, _Set(32, 64), (vectors, lengths)),
        "child-sum tree LSTM of width 32, 16 trees of 15 nodes": Pair(
            ChildSumTreeLSTM(32, 32), _TreeLSTM(32, 32), (trees, parents, torch.ones(16, 15, dtype=torch.bool))
        ),
        "transformer of width 64 and two blocks, 64 rows of up to 64 vectors": Pair(
            TransformerTrunk(32, width=64, heads=4, depth=2, pool="mean", positions=False),
            _Plain(32, 64, 4, 2),
            (vectors, lengths),
        ),
        "network on characters of width 64, 32 texts of 300": Pair(narrow, _plain_char_cnn(64, 128, 300), (ids,)),
    }


def nets_speed(repeats: int = 15) -> Result:
    """Each pair in turn."""
    out: list[Row] = []
    for name, pair in pairs().items():
        times = [_both(pair, turn) for turn in range(repeats + 3)][3:]
        ratios = [a / b for a, b in times]
        ratio = statistics.median(ratios)
        took = f"{spread([a for a, _ in times], 'ms')}, torch {spread([b for _, b in times], 'ms')}"
        out.append(Row(f"{name}: ours / torch", spread(ratios, "of its time"), f"<= {MOST}", ratio <= MOST))
        out.append(Row(f"{name}: ours", took))
    return Result(
        "nets_speed",
        "Networks of the gallery against torch's own layers",
        out,
        f"One step forwards and backwards, in turn, who goes first changing, {repeats} times, {torch.get_num_threads()} thread(s); the "
        "ratio is the median of those within a turn. Torch's transformer is `nn.TransformerEncoder`; its GRU over unequal lengths reads "
        "packed sequences; its tree LSTM is the recursion as it is written, node by node; its convolutions are pooled where most people "
        "pool them, behind norm and activation. Both networks on characters make one-hot letters of numbers; ours turns the texts round, "
        "too.",
    )


BENCHMARKS: dict[str, Callable[[], Result]] = {"nets_speed": nets_speed}
