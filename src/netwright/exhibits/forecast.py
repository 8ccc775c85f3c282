"""A forecast one season ahead, against the last value and the value a season before.

The series has a trend, a season whose shape is not a plain wave, and weather that lasts for some steps. The naive forecasts know the
season or the weather; the network can learn to use both.
"""

from __future__ import annotations

import numpy as np

from netwright.core.finding import Finding
from netwright.core.seed import numpy_generator
from netwright.exhibits.program import main
from netwright.sequences.compare import compare_forecasts
from netwright.sequences.forecaster import Forecaster

SEASON = AHEAD = 12


def exhibit(*, tiny: bool = False, seed: int = 0) -> Finding:
    """A network's forecasts against the naive ones."""
    n, epochs = (1500, 15) if tiny else (3000, 40)
    model = Forecaster(horizon=AHEAD, window=36, season=SEASON, width=16, epochs=epochs, random_state=seed % 2**31)
    found = compare_forecasts(model, series(n, seed), test=0.3, seed=seed)
    return found.model_copy(
        update={
            "probe": "forecast",
            "family": "gallery",
            "why": "The dashed line is what came. The naive forecast repeats the last value, the seasonal one the last season. The "
            "network starts from the seasonal one and has learned to add what the last values say about the level, which "
            "helps most one step ahead and fades with the distance, as the second figure shows.",
        }
    )


def series(n: int, seed: int) -> np.ndarray:
    """Trend, season and weather: (n,)."""
    rng, t = numpy_generator(seed, "weather"), np.arange(n)
    season = 4 * np.exp(np.cos(2 * np.pi * t / SEASON)) / np.e + 1.5 * (t % SEASON == 8)
    weather = np.zeros(n)
    for k in range(1, n):
        weather[k] = 0.9 * weather[k - 1] + 0.6 * rng.normal()
    values: np.ndarray = 20 + 0.01 * t + season + weather
    return values


if __name__ == "__main__":
    main(exhibit)
