"""Markets: candles of several assets on one time axis, and the windows they are split into.

Takes: a market spec (candle files, or the built-in simulator). Gives: `Candles`, with legal prices and known holes in
time, and chronological train, validation and test windows with a purge gap between them.
"""

from ftray.market.candles import COLUMNS, Candles, Segment
from ftray.market.files import FilesSpec, list_symbols, read_candles
from ftray.market.intervals import parse_interval
from ftray.market.simulator import SimulatorSpec, simulate, simulated_symbols
from ftray.market.sources import MARKETS, Market, MarketSpec, load_market, market_symbols
from ftray.market.windows import Window, Windows, WindowsSpec, split

__all__ = [
    "COLUMNS",
    "MARKETS",
    "Candles",
    "FilesSpec",
    "Market",
    "MarketSpec",
    "Segment",
    "SimulatorSpec",
    "Window",
    "Windows",
    "WindowsSpec",
    "list_symbols",
    "load_market",
    "market_symbols",
    "parse_interval",
    "read_candles",
    "simulate",
    "simulated_symbols",
    "split",
]
