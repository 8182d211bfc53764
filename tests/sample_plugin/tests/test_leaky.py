"""An indicator that looks ahead does not pass."""

import pytest
from acme_trading.leaky import NEXT_HIGH

from ftray.testing import check_indicator


def test_the_contract_catches_the_indicator_that_reads_one_bar_ahead():
    with pytest.raises(AssertionError, match="no value depends on a later bar") as caught:
        check_indicator(NEXT_HIGH)
    assert str(caught.value).startswith("1 of 11 promises are broken")
    assert "the indicator 'next_high'" in str(caught.value) and "it looks 1 or more bars ahead" in str(caught.value)
