"""The layout of observations: everything that slices one takes its slices from here.

An observation is `[cash (1), holdings (A), features (F × A × L)]`, all float32: cash and holdings as fractions of
equity, features as indicator × asset × bar with the oldest bar first. A series is one (indicator, asset) pair; the
feature table's columns are the series in the same order.

Legend: A assets, F indicators, L lookback, S = F × A series.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ftray.errors import DataError
from ftray.numeric import real_numbers
from ftray.spec import fingerprint

ROUNDING = 1e-3
"""What the fractions of an account may be off: float32, and prices that moved since they were asked for."""


def check_accounts(account: ArrayLike, *shape: int) -> np.ndarray:
    """Accounts as an array, if they are cash and holdings as fractions of equity, as a policy observes them.

    Every account that comes in is checked here. shape: (1 + A,) of one account, (B, 1 + A) of several.

    Raises: DataError for another shape, which would be broadcast, and with the first account that is none.
    """
    found = real_numbers(account, "an account")
    if found.shape != shape:
        raise DataError(
            f"an account is cash and {shape[-1] - 1} holdings: the shape must be {shape}, got {found.shape}"
        )
    rows = np.atleast_2d(found)
    with np.errstate(over="ignore", invalid="ignore"):
        right = (rows >= -ROUNDING).all(axis=1) & (np.abs(rows.sum(axis=1) - 1.0) <= ROUNDING)
    if not right.all():
        raise DataError(
            "an account is cash and each holding as fractions of equity, none below 0, with the sum 1; got "
            f"{[float(f'{part:.6g}') for part in rows[~right][0]]}: divide money by the equity"
        )
    return found


@dataclasses.dataclass(frozen=True)
class ObservationLayout:
    """Where everything is in an observation: `[cash (1), holdings (A), features (F × A × L)]`, all float32.

    Cash and holdings are fractions of equity. Features are indicator × asset × bar, the oldest bar first. A series is
    one (indicator, asset) pair. The compact form, `[bar index, cash, holdings]`, is what processes send each other.

    symbols: the A assets, in the order of every asset axis.
    indicators: the F indicators, in order.
    lookback: L, the bars of an observation.

    >>> import ftray
    >>> layout = ftray.ObservationLayout(symbols=("BTC", "ETH"), indicators=("close", "rsi", "macd"), lookback=4)
    >>> layout.size, layout.n_series, layout.n_features
    (27, 6, 24)
    >>> layout.series_name(3), layout.feature_name(0)
    ('rsi[ETH]', 'close[BTC, t-3]')
    >>> layout.holdings, layout.features
    (slice(1, 3, None), slice(3, 27, None))
    """

    symbols: tuple[str, ...]
    indicators: tuple[str, ...]
    lookback: int

    @property
    def n_assets(self) -> int:
        """A."""
        return len(self.symbols)

    @property
    def n_indicators(self) -> int:
        """F."""
        return len(self.indicators)

    @property
    def n_series(self) -> int:
        """S = F × A."""
        return self.n_indicators * self.n_assets

    @property
    def n_account(self) -> int:
        """Cash and one holding per asset: 1 + A."""
        return 1 + self.n_assets

    @property
    def n_features(self) -> int:
        """S × L."""
        return self.n_series * self.lookback

    @property
    def size(self) -> int:
        """Floats of an observation: 1 + A + S × L."""
        return self.n_account + self.n_features

    @property
    def cash(self) -> slice:
        """Where cash is in an observation."""
        return slice(0, 1)

    @property
    def holdings(self) -> slice:
        """Where the holdings are in an observation."""
        return slice(1, self.n_account)

    @property
    def account(self) -> slice:
        """Where cash and holdings are in an observation."""
        return slice(0, self.n_account)

    @property
    def features(self) -> slice:
        """Where the features are in an observation."""
        return slice(self.n_account, self.size)

    @property
    def compact_size(self) -> int:
        """Floats of the compact form: 2 + A."""
        return 1 + self.n_account

    @property
    def compact_bar(self) -> int:
        """Where the bar index is in the compact form."""
        return 0

    @property
    def compact_account(self) -> slice:
        """Where the account is in the compact form."""
        return slice(1, self.compact_size)

    def series(self, indicator: str, symbol: str) -> int:
        """The index of a series among the S columns of a feature table.

        Raises: ValueError for an indicator or symbol that the layout does not have.
        """
        return self.indicators.index(indicator) * self.n_assets + self.symbols.index(symbol)

    def series_name(self, series: int) -> str:
        """The name of the series with that index, for people: `rsi[ETH]`."""
        indicator, asset = divmod(series, self.n_assets)
        return f"{self.indicators[indicator]}[{self.symbols[asset]}]"

    def patch_name(self, series: int, start: int, stop: int) -> str:
        """The name of a run of bars in a window of one series, for people: `close[BTC, t-59..t-48]`.

        start, stop: bars of the window, counted from its oldest; `stop` is not part of the run.
        """
        first, last = (f"t-{self.lookback - 1 - bar}" for bar in (start, stop - 1))
        return f"{self.series_name(series)[:-1]}, {first if first == last else f'{first}..{last}'}]"

    def feature_name(self, feature: int) -> str:
        """The name of the feature with that index among the `n_features`, for people: `close[BTC, t-3]`."""
        series, bar = divmod(feature, self.lookback)
        return self.patch_name(series, bar, bar + 1)

    @property
    def account_names(self) -> tuple[str, ...]:
        """The names of cash and holdings, for people: `cash`, `holding[BTC]`, and so on."""
        return ("cash", *(f"holding[{symbol}]" for symbol in self.symbols))

    def to_mapping(self) -> dict[str, Any]:
        """The plain mapping that `from_mapping` reads."""
        return {"symbols": list(self.symbols), "indicators": list(self.indicators), "lookback": self.lookback}

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> "ObservationLayout":
        """The layout of a mapping with symbols, indicators and lookback, as `policy.json` has it."""
        return cls(tuple(mapping["symbols"]), tuple(mapping["indicators"]), int(mapping["lookback"]))

    @property
    def fingerprint(self) -> str:
        """Equal layouts, equal name: 64 hex digits."""
        return fingerprint(self.to_mapping())
