"""ftray: which encoder, pre-training and PPO settings make a trading policy that holds up out of sample.

The public names, each loaded when it is first asked for: `import ftray` costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

from ftray.version import __version__

if TYPE_CHECKING:
    from ftray.agent import PPOSpec
    from ftray.agent.module import FTPolicy
    from ftray.analysis.studies import open_study
    from ftray.errors import FtrayError
    from ftray.features import Dataset, FeatureSpec, build_dataset
    from ftray.market import FilesSpec, SimulatorSpec, WindowsSpec, load_market
    from ftray.nets import FTSpec, MLPSpec, load_policy
    from ftray.plugins import load_plugins
    from ftray.pretraining import pretrain
    from ftray.runs import RunFolder
    from ftray.study import load_study
    from ftray.study.run import run_study
    from ftray.trading import MarketRules, TradingEnv, TradingSpec, VectorTradingEnv, backtest
    from ftray.trial import TrialSpec
    from ftray.trial.run import run_trial

__all__ = [
    "Dataset",
    "FTPolicy",
    "FTSpec",
    "FeatureSpec",
    "FilesSpec",
    "FtrayError",
    "MLPSpec",
    "MarketRules",
    "PPOSpec",
    "RunFolder",
    "SimulatorSpec",
    "TradingEnv",
    "TradingSpec",
    "TrialSpec",
    "VectorTradingEnv",
    "WindowsSpec",
    "__version__",
    "backtest",
    "build_dataset",
    "load_market",
    "load_plugins",
    "load_policy",
    "load_study",
    "open_study",
    "pretrain",
    "run_study",
    "run_trial",
]

_HOMES = {
    "Dataset": "ftray.features",
    "FTPolicy": "ftray.agent.module",
    "FTSpec": "ftray.nets",
    "FeatureSpec": "ftray.features",
    "FilesSpec": "ftray.market",
    "FtrayError": "ftray.errors",
    "MLPSpec": "ftray.nets",
    "MarketRules": "ftray.trading",
    "PPOSpec": "ftray.agent",
    "RunFolder": "ftray.runs",
    "SimulatorSpec": "ftray.market",
    "TradingEnv": "ftray.trading",
    "TradingSpec": "ftray.trading",
    "TrialSpec": "ftray.trial",
    "VectorTradingEnv": "ftray.trading",
    "WindowsSpec": "ftray.market",
    "backtest": "ftray.trading",
    "build_dataset": "ftray.features",
    "load_market": "ftray.market",
    "load_plugins": "ftray.plugins",
    "load_policy": "ftray.nets",
    "load_study": "ftray.study",
    "open_study": "ftray.analysis.studies",
    "pretrain": "ftray.pretraining",
    "run_study": "ftray.study.run",
    "run_trial": "ftray.trial.run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ftray' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
