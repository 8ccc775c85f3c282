"""Multi-head self-attention at work: who looks where, when a sequence is mirrored and when a marked symbol is copied.

At every place the network must say a symbol: that of the mirrored place, or that of the one place which is marked. One block of
self-attention can do it, and its scores show how.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from netwright.core.finding import Figure, Finding, Series, Table
from netwright.core.seed import derive, generator
from netwright.exhibits.program import main
from netwright.nn.transformer import EncoderBlock, Positions

SYMBOLS, LENGTH, WIDTH, HEADS, BATCH = 8, 10, 32, 2, 32
SHOWN = (0, 25, 50, 100, 200)
"""Steps after which the scores are kept for the frames."""


class Tagger(nn.Module):
    """Symbols and marks -> a symbol at every place: embeddings, positions, one encoder block, a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.symbols, self.marks = nn.Embedding(SYMBOLS, WIDTH), nn.Embedding(2, WIDTH)
        self.positions = Positions(WIDTH)
        nn.init.ones_(self.positions.scale)
        self.block = EncoderBlock(WIDTH, HEADS, 2 * WIDTH)
        self.head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, SYMBOLS))

    def vectors(self, symbols: Tensor, marks: Tensor) -> Tensor:
        """What goes into the block, (N, T, WIDTH)."""
        vectors: Tensor = self.positions(self.symbols(symbols) + self.marks(marks))
        return vectors

    def weights(self, symbols: Tensor, marks: Tensor) -> Tensor:
        """Scores (N, heads, T, T)."""
        return self.block.attention.weights(self.block.asked(self.vectors(symbols, marks)))

    def forward(self, symbols: Tensor, marks: Tensor) -> Tensor:
        """Logits (N, T, SYMBOLS)."""
        logits: Tensor = self.head(self.block(self.vectors(symbols, marks)))
        return logits


def rows(task: str, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Symbols (N, T), marks (N, T) and the symbols that are wanted (N, T)."""
    symbols = torch.randint(SYMBOLS, (n, LENGTH), generator=rng)
    place = torch.randint(LENGTH, (n, 1), generator=rng)
    marks = (torch.arange(LENGTH) == place).long()
    wanted = symbols.flip(1) if task == "mirror" else symbols.gather(1, place).expand(-1, LENGTH)
    return symbols, marks, wanted


@dataclass
class Learned:
    """A task that was learned: accuracy on fresh rows, one of them, its scores (heads, T, T), and those on the way."""

    task: str
    accuracy: float
    symbols: Tensor
    marks: Tensor
    weights: Tensor
    on_the_way: dict[int, Tensor] = field(default_factory=dict)


def learn(task: str, steps: int, seed: int) -> Learned:
    """Train on fresh rows."""
    rng = generator(seed, "rows", task)
    fresh, mark, _ = rows(task, 1, generator(seed, "shown", task))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "weights", task))
        net = Tagger()
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3, fused=True)
    kept: dict[int, Tensor] = {}
    for step in range(steps):
        if step in SHOWN:
            kept[step] = net.weights(fresh, mark)[0].detach()
        symbols, marks, wanted = rows(task, BATCH, rng)
        loss = nn.functional.cross_entropy(net(symbols, marks).flatten(0, 1), wanted.flatten())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        symbols, marks, wanted = rows(task, 500, generator(seed, "test", task))
        accuracy = float((net(symbols, marks).argmax(2) == wanted).float().mean())
        kept[steps] = net.weights(fresh, mark)[0]
    return Learned(task, accuracy, fresh[0], mark[0], kept[steps], kept)


def maps(learned: Learned, weights: Tensor) -> tuple[Series, ...]:
    """One heat map a head: row i says how much place i takes of each place."""
    names = [
        f"{k + 1}: {chr(97 + int(s))}{'*' if m else ''}"
        for k, (s, m) in enumerate(zip(learned.symbols, learned.marks, strict=True))
    ]
    shown = tuple(names)
    return tuple(
        Series(
            name=f"head {h + 1}", x=shown, y=shown, z=tuple(tuple(round(v, 3) for v in row) for row in head.tolist())
        )
        for h, head in enumerate(weights)
    )


def figure(learned: Learned, title: str, caption: str, *, animated: bool) -> Figure:
    """The heat maps of a task at the end; where asked, with those on the way there as frames."""
    way = sorted(learned.on_the_way) if animated else []
    return Figure(
        title=title,
        kind="heatmap",
        series=maps(learned, learned.weights),
        frames=tuple(maps(learned, learned.on_the_way[step]) for step in way),
        steps=tuple(f"after {step} steps" for step in way),
        x_label="place that is looked at",
        y_label="place that looks",
        caption=caption,
    )


def exhibit(*, tiny: bool = False, seed: int = 0) -> Finding:
    """What the heads of self-attention look at."""
    steps = 400 if tiny else 2000
    mirror, marked = learn("mirror", steps, seed), learn("copy", steps, seed)
    mirrored = float(mirror.weights.flip(2).diagonal(dim1=1, dim2=2).mean(1).amax())
    on_mark = float(marked.weights[:, :, int(marked.marks.argmax())].mean(1).amax())
    sums = max(float((one.weights.sum(2) - 1).abs().max()) for one in (mirror, marked))
    return Finding(
        probe="self-attention",
        family="gallery",
        verdict="pass" if min(mirror.accuracy, marked.accuracy) > 0.99 and sums < 1e-5 else "fail",
        title=f"mirrored {mirror.accuracy:.1%} of symbols, copied {marked.accuracy:.1%}; a place gives {mirrored:.0%} of its attention "
        f"to its mirror image in one task, {on_mark:.0%} to the mark in the other (mean, of the sharper head)",
        measured={
            "accuracy_mirror": mirror.accuracy,
            "accuracy_copy": marked.accuracy,
            "attention_on_mirrored_place": mirrored,
            "attention_on_mark": on_mark,
            "largest_distance_of_a_sum_from_1": sums,
        },
        expected="above 99 % of symbols in both tasks; every row of scores sums to 1",
        why="Each row of a map is one place, and its colours are the shares that it takes of all places. To mirror a sequence places "
        "must be told apart by position, and the scores lie on the other diagonal, whatever the symbols are. To copy the marked "
        "symbol (*) all places look at one column, which moves with the mark. Step through the frames: the scores begin even, and "
        "sharpen as the task is learned.",
        figures=(
            figure(mirror, "Mirror the sequence: scores of each head", "Rows sum to 1.", animated=True),
            figure(marked, "Copy the symbol that is marked *: scores of each head", "Rows sum to 1.", animated=False),
        ),
        tables=(
            Table(
                title="Accuracy on 500 fresh sequences, symbol by symbol",
                columns=("task", "accuracy", "by chance"),
                rows=(("mirror", mirror.accuracy, 1 / SYMBOLS), ("copy the marked", marked.accuracy, 1 / SYMBOLS)),
            ),
        ),
        reference="Vaswani et al. (2017)",
    )


if __name__ == "__main__":
    main(exhibit)
