"""Which way does the spot move? Convolution in space and time can tell; no single frame, and no mean of frames, can."""

from __future__ import annotations

import numpy as np

import netwright as nw
from netwright.core.finding import Figure, Finding, Series, Table
from netwright.core.seed import numpy_generator
from netwright.exhibits.program import main

WAYS = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}
FRAMES, SIDE = 6, 13


def films(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Films (n, frames, height, width) uint8 of a spot that runs over a torus of noise, and the way it runs."""
    rng = numpy_generator(seed, "films")
    names = np.array(list(WAYS))
    label = rng.integers(0, len(names), n)
    start, steps = rng.integers(0, SIDE, (n, 2)), np.array(list(WAYS.values()))
    grid = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij"))
    out = np.empty((n, FRAMES, SIDE, SIDE))
    for t in range(FRAMES):
        centre = (start + t * steps[label]) % SIDE
        away = np.abs(grid[None] - centre[:, :, None, None])
        away = np.minimum(away, SIDE - away)
        out[:, t] = 200 * np.exp(-(away**2).sum(1) / 3)
    return np.clip(out + rng.normal(0, 25, out.shape) + 30, 0, 255).astype(np.uint8), names[label]


def exhibit(*, tiny: bool = False, seed: int = 0) -> Finding:
    """Convolution in three dimensions on films of a moving spot."""
    n = 240 if tiny else 1200
    x, y = films(n + 400, seed)
    x_test, y_test, epochs = x[n:], y[n:], 5 if tiny else 25
    options = {"channels": "8,16"}
    space = nw.Classifier(
        template="conv", options=options, epochs=epochs, batch_size=16, learning_rate=1e-2, random_state=seed
    )
    time_too = nw.Classifier(
        template="conv", options=options, epochs=epochs, batch_size=16, learning_rate=1e-2, random_state=seed
    )
    space.fit(x[:n].mean(1).round().astype(np.uint8), y[:n])
    time_too.fit(x[:n, ..., None], y[:n])
    flat = float(space.score(x_test.mean(1).round().astype(np.uint8), y_test))
    deep = float(time_too.score(x_test[..., None], y_test))
    backwards = time_too.predict(x_test[:, ::-1, ..., None])
    turned = {"up": "down", "down": "up", "left": "right", "right": "left"}
    mirrored = float(np.mean(backwards == np.array([turned[name] for name in y_test])))
    return Finding(
        probe="moving-blobs",
        family="gallery",
        verdict="pass" if deep > flat + 0.2 else "fail",
        title=f"which of four ways a spot moves: {deep:.0%} right by convolution in space and time, {flat:.0%} over the mean frame",
        measured={
            "accuracy_3d": deep,
            "accuracy_mean_frame": flat,
            "turned_when_played_backwards": mirrored,
            "films": n,
        },
        expected="at least 20 points better than without time; half of the cases can be guessed from the direction of the trace",
        why=f"A window of 3 x 3 x 3 sees a spot in three frames at once, so it can be a detector of movement; the mean frame shows the "
        f"trace, and so the axis, but never the direction. Played backwards, {mirrored:.0%} of the films are taken for the opposite way.",
        tables=(
            Table(
                title="Accuracy on 400 films",
                columns=("network", "accuracy"),
                rows=(("3 x 3 x 3 windows over the film", deep), ("3 x 3 windows over the mean frame", flat)),
            ),
        ),
        figures=(
            _film(x_test[0], str(y_test[0])),
            Figure(
                title="Share of films whose way is found",
                kind="bar",
                series=(Series(x=("space and time", "mean frame", "guessing"), y=(deep, flat, 0.25)),),
                y_label="accuracy",
            ),
        ),
        reference="Ji et al. (2013), 3D convolutional neural networks for human action recognition; Tran et al. (2015)",
    )


def _film(film: np.ndarray, way: str) -> Figure:
    """A film as an animated heat map."""
    frames = tuple((Series(z=tuple(tuple(map(float, row)) for row in frame)),) for frame in film)
    return Figure(
        title=f"A film: the spot moves {way}",
        kind="heatmap",
        series=frames[0],
        frames=frames,
        steps=tuple(f"frame {k + 1}" for k in range(len(frames))),
        caption="What leaves on one side comes back on the other.",
    )


if __name__ == "__main__":
    main(exhibit)
