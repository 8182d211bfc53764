"""The transfer benchmark: differences are paired over draws, and a stopped run goes on."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import transfer

pytestmark = pytest.mark.long  # users do not install the benchmarks, and they seldom change


def row(draw, forecasts=3.0, scratch=1.0, market="motif"):
    growth = {transfer.SCRATCH: scratch, transfer.FORECASTS: forecasts, transfer.CLS: 1.0, transfer.SHUFFLED: 0.0}
    return {"market": market, "draw": draw, "informed": 9.0, "growth": growth, "curves": {}}


def test_differences_are_paired_over_draws_with_an_interval_per_market_and_over_all():
    rows = [row(1, scratch=1.0), row(2, scratch=4.0), row(1, market="momentum")]
    found = {(one["market"], one["difference"]): one for one in transfer.differences_of(rows)}
    one = found["motif", "forecasts - scratch"]
    assert (one["mean"], one["low"], one["high"], one["draws"], one["above_0"]) == (0.5, -1.0, 2.0, 2, 1)
    assert found["all", "forecasts - scratch"]["mean"] == 1.0
    assert found["momentum", "forecasts - [CLS]"]["low"] == 2.0


def test_a_run_that_was_stopped_goes_on(tmp_path, monkeypatch):
    asked = []

    def rows(_, draws):
        for draw in draws:
            asked.append((draw.market, draw.draw))
            yield row(draw.draw, market=draw.market)
            if len(asked) == 3:
                raise KeyboardInterrupt

    monkeypatch.setattr(transfer, "in_processes", rows)
    command = ["--draws", "2", "--json", str(tmp_path / "transfer.json")]
    with pytest.raises(KeyboardInterrupt):
        transfer.main(command)
    transfer.main(command)
    assert len(asked) == len(set(asked)) == 6
    assert len(json.loads((tmp_path / "transfer.json").read_text())["rows"]) == 6
    with pytest.raises(SystemExit, match="rows of other settings"):
        transfer.main([*command, "--steps", "9"])
