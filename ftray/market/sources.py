"""The family of markets: one table, one line per kind."""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any

from ftray.families import Family
from ftray.market.candles import Candles
from ftray.market.files import FilesSpec, list_symbols, read_candles
from ftray.market.simulator import SimulatorSpec, simulate, simulated_symbols


@dataclasses.dataclass(frozen=True)
class Market:
    """One kind of market: how it is described, loaded, and asked for its symbols without loading it.

    spec_class: the class of its specs, whose `kind` names it.
    """

    spec_class: Any
    load: Callable[[Any], Candles]
    symbols: Callable[[Any], tuple[str, ...]]


MARKETS: Family[Market] = Family(
    "market",
    Market(FilesSpec, read_candles, list_symbols),
    Market(SimulatorSpec, simulate, simulated_symbols),
)

MarketSpec = Annotated[FilesSpec | SimulatorSpec, MARKETS]


def load_market(spec: MarketSpec) -> Candles:
    """The candles that a market spec describes.

    Raises: DataError when files are missing, broken or do not overlap.
    """
    return MARKETS[spec.kind].load(spec)


def market_symbols(spec: MarketSpec) -> tuple[str, ...]:
    """The symbols that `load_market` would return, in order, without reading or simulating a candle.

    Raises: DataError when the folder holds no such files.
    """
    return MARKETS[spec.kind].symbols(spec)
