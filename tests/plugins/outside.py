"""Plug-ins as an outsider writes them: a file next to a study file, with a member of each family."""

from pathlib import Path
from typing import Any

import yaml

from tests.study.tiny import TINY

MEMBERS = '''
"""One member of each family."""

from typing import Literal

import numpy as np
import optuna
import torch
from torch import nn

from ftray.features import INDICATORS, Indicator
from ftray.market import MARKETS, Candles, Market
from ftray.nets import ENCODERS, Encoder
from ftray.search.samplers import SAMPLERS, Sampler
from ftray.spec import Count, spec
from ftray.trading import REWARDS, Reward


def gap(ohlcv):
    before = np.concatenate([[np.nan], ohlcv[:-1, 3]])
    return np.log(ohlcv[:, 0] / before)


def simple_return(step, memory):
    return step.equity / step.equity_before - 1.0, memory


@spec
class WavesSpec:
    kind: Literal["waves"] = "waves"
    n_bars: Count = 600
    path: str = ""

    PATHS = ("path",)


def waves(market):
    rng = np.random.default_rng(0)
    close = 100 * np.exp(np.cumsum(0.01 * rng.standard_normal((market.n_bars, 2)), axis=0))
    open_ = np.concatenate([close[:1], close[:-1]])
    values = np.stack([open_, np.maximum(open_, close), np.minimum(open_, close), close, np.ones_like(close)], axis=-1)
    times = np.datetime64("2024-01-01", "ns") + np.arange(market.n_bars) * np.timedelta64(1, "h")
    return Candles(symbols=("ONE", "TWO"), times=times, values=values, interval=np.timedelta64(1, "h"))


@spec
class GruSpec:
    kind: Literal["gru"] = "gru"
    hidden: Count = 8
    encoding_dim: Count = 16


class Gru(Encoder):
    spec_class, shares_bars = GruSpec, True

    def __init__(self, spec, layout):
        super().__init__()
        self.spec, self.layout, self.d_market = spec, layout, spec.hidden
        self.tower = nn.GRU(layout.n_series, spec.hidden, batch_first=True)
        self.projection = nn.Linear(spec.hidden + layout.n_account, spec.encoding_dim)

    def market(self, windows):
        return self.tower(windows.transpose(1, 2))[0][:, -1]

    def fuse(self, market, account):
        return torch.relu(self.projection(torch.cat([market, account], dim=1)))


@spec
class HaltonSpec:
    kind: Literal["halton"] = "halton"


def halton(sampler, seed):
    return optuna.samplers.QMCSampler(qmc_type="halton", scramble=True, seed=seed, warn_independent_sampling=False)


INDICATORS.register(Indicator("gap", gap, warm_up=1))
REWARDS.register(Reward("simple_return", simple_return))
MARKETS.register(Market(WavesSpec, waves, lambda market: ("ONE", "TWO")))
ENCODERS.register(Gru)
SAMPLERS.register(Sampler(HaltonSpec, halton))
'''

INDICATOR = """
import numpy as np
from ftray.features import INDICATORS, Indicator

INDICATORS.register(Indicator("body", lambda ohlcv: np.log(ohlcv[:, 3] / ohlcv[:, 0]), warm_up=0))
"""

NOTES_ITS_IMPORT = """
from pathlib import Path
with (Path(__file__).parent / "imported").open("a") as file:
    file.write("once more ")
"""
"""In a plug-in, at its top: a file tells how often it was imported."""

TRIAL: dict[str, Any] = {
    "market": {"kind": "waves"},
    "windows": {"holding": 6},
    "features": {"lookback": 8, "indicators": ["close", "gap"]},
    "encoder": {
        "choice": [
            {"kind": "gru", "hidden": {"choice": [8, 12]}},
            {"kind": "mlp", "hidden": 64, "encoding_dim": 64},
        ]
    },
    "trading": {"episode_bars": 50, "reward": {"choice": ["simple_return", "log_growth"]}},
    "ppo": TINY["trial"]["ppo"],
    "onnx": False,
}


def write(folder: Path, name: str = "my_members", source: str = MEMBERS) -> Path:
    """A plug-in in a folder: a file, or a package's `__init__.py` where the name ends with a slash."""
    file = folder / (f"{name}__init__.py" if name.endswith("/") else f"{name}.py")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(source)
    return file


def study_file(folder: Path, *plugins: str, trial: dict[str, Any] = TRIAL, **search: Any) -> Path:
    """A study that uses a member of each family, and names these plug-ins."""
    search = {"n_trials": 2, "sampler": "halton", "max_concurrent": 1, "min_round_trips": 0} | search
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({"plugins": list(plugins), "trial": trial, "search": search}))
    return path
