"""Markets: candles of several assets on one time axis, and the windows they are split into.

Takes: a market spec (candle files, or the built-in simulator). Gives: `Candles`, with legal prices and known gaps in
time, and train, validation and test windows with purge gaps between them: a single split, or folds.
"""

from ftray.market.candles import COLUMNS, Candles, Segment
from ftray.market.files import FilesSpec, list_symbols, read_candles
from ftray.market.folds import FOLDS, CombinatorialSpec, Fold, Folds, FoldsSpec, WalkForwardSpec, fold, n_folds
from ftray.market.intervals import parse_interval
from ftray.market.moments import Moment, moment, moment_text, parse_moment
from ftray.market.quality import Quality, busy_bars, honest_values, quality_of, spiked_bars, still_bars
from ftray.market.simulator import SimulatorSpec, expected_returns, simulate, simulated_symbols
from ftray.market.sources import MARKETS, Market, MarketSpec, load_market, market_symbols
from ftray.market.survey import CandleFile, LeftOut, Survey, survey_candles
from ftray.market.windows import Pieces, Reach, Window, Windows, WindowsSpec, pieces, purge_gap, split

__all__ = [
    "COLUMNS",
    "FOLDS",
    "MARKETS",
    "CandleFile",
    "Candles",
    "CombinatorialSpec",
    "FilesSpec",
    "Fold",
    "Folds",
    "FoldsSpec",
    "LeftOut",
    "Market",
    "MarketSpec",
    "Moment",
    "Pieces",
    "Quality",
    "Reach",
    "Segment",
    "SimulatorSpec",
    "Survey",
    "WalkForwardSpec",
    "Window",
    "Windows",
    "WindowsSpec",
    "busy_bars",
    "expected_returns",
    "fold",
    "honest_values",
    "list_symbols",
    "load_market",
    "market_symbols",
    "moment",
    "moment_text",
    "n_folds",
    "parse_interval",
    "parse_moment",
    "pieces",
    "purge_gap",
    "quality_of",
    "read_candles",
    "simulate",
    "simulated_symbols",
    "spiked_bars",
    "split",
    "still_bars",
    "survey_candles",
]
