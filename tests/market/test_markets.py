"""Every market keeps the contract of its family."""

import numpy as np
import pytest

from ftray.market import MARKETS, FilesSpec, SimulatorSpec
from ftray.testing import MarketContract
from tests.market.conftest import legal_frame


class TestEveryMarket(MarketContract):
    @pytest.fixture(autouse=True, params=MARKETS)
    def member(self, request, write):
        folder = write(legal_frame(20), "ETH_USDT-1h.feather")
        write(legal_frame(20, price=7.0).drop(index=[4, 5]).reset_index(drop=True), "BTC_USDT-1h.feather")
        examples = {
            "files": FilesSpec(path=folder),
            "simulator": SimulatorSpec(n_assets=9, n_bars=2_000, interval="5m", n_outages=3, seed=1),
        }
        self.market, self.spec = MARKETS[request.param], examples[request.param]

    def test_holes_in_time_end_segments(self):
        candles = self.load()
        n_holes = np.count_nonzero(np.diff(candles.times) > candles.interval)
        assert len(candles.segments) == n_holes + 1 > 1

    def test_candles_are_read_only(self):
        with pytest.raises(ValueError, match="read-only"):
            self.load().values[0] = 1.0
