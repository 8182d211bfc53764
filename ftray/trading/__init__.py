"""Trading: accounts, the one bar that they advance by, environments to learn in, backtests.

Takes: a `Dataset`, a window of it; `MarketRules` for backtests and benchmarks, a `TradingSpec` for environments. Gives:
gymnasium environments and `Backtest`s, whose accounts all advance by one function. Money is float64.
"""

from ftray.trading.account import outside_no_trade, rebalance, target_weights
from ftray.trading.advance import advance
from ftray.trading.backtest import backtest, benchmarks, buy_and_hold, cannot_trade, cash, equal_weight
from ftray.trading.books import Account, Fills, Step, StepPrices
from ftray.trading.env import VectorTradingEnv
from ftray.trading.outcome import Backtest
from ftray.trading.prices import PriceTape
from ftray.trading.rewards import REWARDS, Reward
from ftray.trading.rules import MarketRules
from ftray.trading.single_env import TradingEnv
from ftray.trading.spec import TradingSpec

__all__ = [
    "REWARDS",
    "Account",
    "Backtest",
    "Fills",
    "MarketRules",
    "PriceTape",
    "Reward",
    "Step",
    "StepPrices",
    "TradingEnv",
    "TradingSpec",
    "VectorTradingEnv",
    "advance",
    "backtest",
    "benchmarks",
    "buy_and_hold",
    "cannot_trade",
    "cash",
    "equal_weight",
    "outside_no_trade",
    "rebalance",
    "target_weights",
]
