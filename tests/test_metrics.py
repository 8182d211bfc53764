"""The table of metrics: what code reports is in it, and what is said of a metric anywhere is said by it."""

import json
from pathlib import Path

import pytest

from ftray import stats
from ftray.errors import MetricError
from ftray.metrics import (
    METRICS,
    PLACES,
    ROUND_TRIPS,
    SHARPE,
    check_reported,
    find_metric,
    format_metric,
    metric,
    metric_direction,
    metric_title,
    searchable,
    validation,
)
from ftray.units import UNITS

RECORDED = Path(__file__).parent / "runs" / "format_1"


def reports() -> list[dict]:
    """What the trials and pre-training jobs of a real study reported."""
    lines = [line for file in sorted(RECORDED.glob("trials/*/events.jsonl")) for line in file.read_text().splitlines()]
    return [event["metrics"] for event in map(json.loads, lines) if event["event"] == "report"]


def test_every_measure_of_a_backtest_is_a_metric():
    two = [0.01, -0.01]
    ones = [1.0, 1.0]
    measures = stats.performance(two, 365.0, turnover=ones, fees=[0.0, 0.0], exposure=ones, orders=ones)
    measures |= stats.active_performance(two, two, 365.0, exposure=ones, benchmark_exposure=ones)
    validated = {name for name, one in METRICS.items() if one.source == "validation" and one.always}
    assert {validation(name) for name in measures} == validated


def test_what_a_real_study_reported_is_in_the_table():
    found = reports()
    assert len(found) > 10
    for row in found:
        check_reported(row)
        for run in row.get("runs", []):
            check_reported(run)
    names = {name for row in found for name in row} - set(PLACES)
    pretraining = {name for name, one in METRICS.items() if one.source == "pretraining"}
    newer = {ROUND_TRIPS, *(name for name, one in METRICS.items() if one.nullable)}  # than the version that ran it
    newer |= {"train_return_loss", "validation_return_loss"}
    assert pretraining - newer <= names and set(searchable("trial")) <= names | newer


def test_a_report_of_anything_else_is_refused_with_the_nearest_name():
    with pytest.raises(MetricError, match=r"'validation/sharp' cannot be reported.*did you mean 'validation/sharpe'"):
        check_reported(["env_steps", "validation/sharp"])
    with pytest.raises(MetricError, match=r"no metric is called 'rewards'; did you mean 'reward'\?"):
        metric("rewards")


def test_families_have_one_entry():
    assert metric("encoder/attention/asset/BTC") is METRICS["encoder/attention/asset/*"]
    assert metric_title("encoder/attention/asset/BTC") == "attention to BTC"
    assert metric_title("encoder/attention/asset/BTC/USDT") == "attention to BTC/USDT"
    assert find_metric("encoder/attention/BTC") is None and find_metric("validation/*") is None


def test_a_metric_without_a_better_way_says_so():
    assert metric_direction(SHARPE) == "maximize" and metric_direction(validation("fees")) == "minimize"
    with pytest.raises(MetricError, match=r"^entropy .* is neither better high nor low"):
        metric_direction("entropy")


def test_a_value_is_written_by_its_unit():
    values = {SHARPE: 1.234, validation("max_drawdown"): 0.1234, validation("break_even_fee"): 0.0012}
    values |= {"wall_seconds": 3_723.4, validation("n_bars"): 8_760.0, "validation_loss": 0.5, "reward": 12_345.6}
    shown = ["1.23", "12.3%", "0.12%", "1:02:03", "8,760", "0.5000", "1.23e+04"]
    assert [format_metric(name, value) for name, value in values.items()] == shown
    assert format_metric(SHARPE, None) == format_metric(SHARPE, float("nan")) == "-"
    newer = "of another version"
    assert format_metric(newer, 0.25) == "0.25" and metric_title(newer) == newer


def test_the_table_is_whole():
    for name, one in METRICS.items():
        assert one.unit in UNITS and one.title and one.computed_from and one.name == name
