"""The layout of observations: everything that slices one takes its slices from here.

An observation is `[cash (1), holdings (A), features (F × A × L)]`, all float32: cash and holdings as fractions of
equity, features as indicator × asset × bar with the oldest bar first. A series is one (indicator, asset) pair; the
feature table's columns are the series in the same order.

Legend: A assets, F indicators, L lookback, S = F × A series.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ftray.spec import fingerprint


@dataclasses.dataclass(frozen=True)
class ObservationLayout:
    """Where everything is in an observation.

    >>> layout = ObservationLayout(symbols=("BTC", "ETH"), indicators=("close", "rsi", "macd"), lookback=4)
    >>> layout.size, layout.n_series, layout.n_features
    (27, 6, 24)
    >>> layout.series_name(3), layout.feature_name(0)
    ('rsi[ETH]', 'close[BTC, t-3]')
    """

    symbols: tuple[str, ...]
    indicators: tuple[str, ...]
    lookback: int

    @property
    def n_assets(self) -> int:
        return len(self.symbols)

    @property
    def n_indicators(self) -> int:
        return len(self.indicators)

    @property
    def n_series(self) -> int:
        return self.n_indicators * self.n_assets

    @property
    def n_account(self) -> int:
        """Cash and one holding per asset."""
        return 1 + self.n_assets

    @property
    def n_features(self) -> int:
        return self.n_series * self.lookback

    @property
    def size(self) -> int:
        return self.n_account + self.n_features

    @property
    def cash(self) -> slice:
        return slice(0, 1)

    @property
    def holdings(self) -> slice:
        return slice(1, self.n_account)

    @property
    def account(self) -> slice:
        return slice(0, self.n_account)

    @property
    def features(self) -> slice:
        return slice(self.n_account, self.size)

    @property
    def compact_size(self) -> int:
        """The compact form: bar index, then the account."""
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
        """The index of a series among the table's columns."""
        return self.indicators.index(indicator) * self.n_assets + self.symbols.index(symbol)

    def series_name(self, series: int) -> str:
        indicator, asset = divmod(series, self.n_assets)
        return f"{self.indicators[indicator]}[{self.symbols[asset]}]"

    def patch_name(self, series: int, start: int, stop: int) -> str:
        """The name of the bars [start, stop) of a window of one series, for people: `close[BTC, t-59..t-48]`."""
        first, last = (f"t-{self.lookback - 1 - bar}" for bar in (start, stop - 1))
        return f"{self.series_name(series)[:-1]}, {first if first == last else f'{first}..{last}'}]"

    def feature_name(self, feature: int) -> str:
        """The name of the i-th of the `n_features` features, for people: `close[BTC, t-3]`."""
        series, bar = divmod(feature, self.lookback)
        return self.patch_name(series, bar, bar + 1)

    @property
    def account_names(self) -> tuple[str, ...]:
        return ("cash", *(f"holding[{symbol}]" for symbol in self.symbols))

    def to_mapping(self) -> dict[str, Any]:
        return {"symbols": list(self.symbols), "indicators": list(self.indicators), "lookback": self.lookback}

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> "ObservationLayout":
        return cls(tuple(mapping["symbols"]), tuple(mapping["indicators"]), int(mapping["lookback"]))

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.to_mapping())
