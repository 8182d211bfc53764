"""Trading: accounts, the one step they take, environments to learn in, backtests.

Takes: a `Dataset`, a window of it, a `TradingSpec`. Gives: gymnasium environments and `Backtest`s, in which every trade
is made by one step function. Money is float64.
"""

from ftray.trading.account import Account, Fills, Step, rebalance, step, target_weights
from ftray.trading.backtest import Backtest, backtest, buy_and_hold, equal_weight
from ftray.trading.env import TradingEnv, VectorTradingEnv
from ftray.trading.prices import PriceTape, StepPrices
from ftray.trading.rewards import REWARDS, Reward
from ftray.trading.spec import TradingSpec

__all__ = [
    "REWARDS",
    "Account",
    "Backtest",
    "Fills",
    "PriceTape",
    "Reward",
    "Step",
    "StepPrices",
    "TradingEnv",
    "TradingSpec",
    "VectorTradingEnv",
    "backtest",
    "buy_and_hold",
    "equal_weight",
    "rebalance",
    "step",
    "target_weights",
]
