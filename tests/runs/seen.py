"""Studies on markets that agree wherever they overlap, recorded as a driver does, without training."""

import dataclasses

import numpy as np

from ftray.market import Candles, Window
from ftray.runs import RunFolder
from ftray.runs.seen_bars import SeenBars, StudyBars
from ftray.storage import Location

HOUR = np.timedelta64(3600, "s").astype("timedelta64[ns]")


def candles(
    days: int = 100, symbols: str = "BTC ETH", start: str = "2023-01-01", seed: int = 0, every: int = 1
) -> Candles:
    """A random walk per asset that depends on its name and the seed alone, so that markets of any length and choice of
    assets agree. every: hours of a bar."""
    hours = np.datetime64("2023-01-01", "ns") + np.arange(24 * 400) * HOUR
    walks = []
    for symbol in symbols.split():
        rng = np.random.default_rng([seed, *symbol.encode()])
        walks.append(100 * np.exp(np.cumsum(rng.normal(0, 0.01, len(hours)))))
    first = int((np.datetime64(start, "ns") - hours[0]) / HOUR)
    close = np.stack(walks, axis=1)[first : first + 24 * days][every - 1 :: every]
    values = np.repeat(close[:, :, None], 5, axis=2)
    return Candles(tuple(symbols.split()), hours[first : first + 24 * days : every], values, every * HOUR)


def seen(market: Candles, start: float = 0.5, stop: float = 1.0) -> SeenBars:
    """The bars between two fractions of a market."""
    return SeenBars.of(market, [Window(round(start * len(market)), round(stop * len(market)))])


def study_bars(market: Candles, simulated: bool = False) -> StudyBars:
    return StudyBars(seen(market, 0.5, 0.75), seen(market, 0.75, 1.0), simulated)


def ran(folder: Location, bars: StudyBars | None, n_trials: int = 1) -> RunFolder:
    """A study of finished trials, as a driver records it."""
    run = RunFolder.create(folder, {"name": "a study", "trial": {}, "candles": "0123456789abcdef"})
    if bars is not None:
        run.append_event("bars", **dataclasses.asdict(bars))
    for number in range(n_trials):
        trial = f"trial-{number:04d}"
        run.add_trial(trial, number, "trial", {}, {"market": {"kind": "files"}})
        run.trial_started(trial)
        run.trial_ended(trial, "COMPLETE", {"validation/sharpe": 1.0})
    return run
