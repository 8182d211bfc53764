"""A study tells the ledger what it looks at, and starts from no points that were chosen on its test window."""

import dataclasses
import shutil
from pathlib import Path

import pandas as pd
import pytest

from ftray.analysis.looks import looks_elsewhere
from ftray.errors import RunFolderError
from ftray.runs import RunFolder
from ftray.runs.looks import Ledger
from ftray.runs.seen_bars import StudyBars
from ftray.study import StudySpec, parse_study
from ftray.study.run import run_study
from ftray.study.spec import open_run
from ftray.study.tree import expand_shorthand, relative_paths
from ftray.trial.windows import record_bars

from ..runs.seen import candles, ran, seen, study_bars
from .by_hand import Hand, six_point_study
from .played import play
from .tiny import TINY

SHARPE = "validation/sharpe"
TRADED = {SHARPE: 1.0, "validation/round_trips": 100}


def on_files(folder: Path, days: int = 100, name: str = "on-files", **search) -> StudySpec:
    """A study of one configuration on real files."""
    market = candles(days)
    folder.mkdir(exist_ok=True)
    for i, symbol in enumerate(market.symbols):
        columns = dict(zip(("open", "high", "low", "close", "volume"), market.values[:, i].T, strict=True))
        pd.DataFrame({"date": market.times, **columns}).to_csv(folder / f"{symbol}_USDT-1h.csv", index=False)
    trial = TINY["trial"] | {
        "market": {"kind": "files", "path": str(folder)},
        "encoder": {"kind": "mlp", "hidden": 64, "encoding_dim": 64},
        "ppo": TINY["trial"]["ppo"] | {"learning_rate": 1e-3},
    }
    return parse_study({"name": name, "trial": trial, "search": {"n_trials": 1} | search})


def test_the_bars_are_recorded_once_as_the_windows_of_the_trials_have_them(tmp_path: Path):
    spec = on_files(tmp_path / "candles")
    run = open_run(spec, tmp_path / "runs")
    for _ in range(2):
        record_bars(spec.corner_trials[0], run)
    bars = RunFolder.open(run.path).bars
    assert bars is not None and bars.test_window is not None and not bars.simulated
    assert [event["event"] for event in run.events()] == ["bars"]
    (start, stop), (closed, end) = bars.validation.windows[0], bars.test_window.windows[0]
    assert "2023-01-01" < start < stop < closed < end == "2023-04-11T00:00:00"
    assert set(bars.validation.closes) == {"BTC", "ETH"} and bars.validation.interval == "1h"


def test_a_simulator_is_recorded_as_one(tmp_path: Path):
    spec = six_point_study()
    run = open_run(spec, tmp_path / "runs")
    record_bars(spec.corner_trials[0], run)
    assert run.bars is not None and run.bars.simulated


def test_a_trial_has_looked_as_soon_as_it_has_reported(tmp_path: Path):
    hand = Hand(six_point_study(), tmp_path / "run")
    hand.run.append_event("bars", **dataclasses.asdict(study_bars(candles())))
    asked, job = hand.start()
    assert Ledger(tmp_path).read().looks == ()
    hand.report(asked, 128, {SHARPE: 0.5})
    (look,) = Ledger(tmp_path).read().looks
    assert (look.study, look.trial) == ("run", job)
    hand.finish(asked, {SHARPE: 1.0})
    assert Ledger(tmp_path).read().looks == (look,)


@pytest.mark.long
@pytest.mark.ray
def test_studies_run_one_after_the_other_know_each_other_and_a_resumed_one_counts_once(cluster, tmp_path: Path):
    how = {"say": lambda line: None, "trial_fn": play}
    first = on_files(tmp_path / "candles", name="first")
    run_study(first, tmp_path / "runs", **how)
    longer = on_files(tmp_path / "longer", 101, name="second", also_counts=[str(tmp_path / "elsewhere")])
    ran(tmp_path / "elsewhere" / "third", study_bars(candles()), 3)
    run = run_study(longer, tmp_path / "runs", **how)
    assert looks_elsewhere(run).n == 4
    run = run_study(
        dataclasses.replace(longer, search=dataclasses.replace(longer.search, n_trials=2)), tmp_path / "runs", **how
    )
    assert looks_elsewhere(run).n == 4 and looks_elsewhere(RunFolder.open(tmp_path / "runs" / "first")).n == 2


def test_what_also_counts_may_change_between_two_runs_of_a_study(tmp_path: Path):
    plain, counting = six_point_study(), six_point_study(also_counts=["/runs"])
    assert plain.identity == counting.identity and counting.search.also_counts == ("/runs",)


def test_relative_places_are_made_absolute_and_known_as_valid_on_this_machine_only():
    search = {"also_counts": ["runs", "s3://bucket/runs"], "warm_start": "runs/a"}
    here = Path("runs").absolute()
    assert expand_shorthand(search) == {"also_counts": [str(here), "s3://bucket/runs"], "warm_start": str(here / "a")}
    assert relative_paths({"search": search}) == {"search.also_counts.0": "runs", "search.warm_start": "runs/a"}


def started(folder: Path, bars: StudyBars, **search) -> Hand:
    """A study on these bars whose driver begins."""
    run = RunFolder.create(folder, six_point_study(**search).identity)
    run.append_event("bars", **dataclasses.asdict(bars))
    return Hand(six_point_study(**search), folder)


def test_a_warm_start_from_a_study_that_was_validated_on_the_test_window_is_refused(tmp_path: Path):
    market = candles()
    other = started(tmp_path / "other", StudyBars(seen(market, 0.7, 0.9), None, False))
    other.runs(1, lambda values: TRADED)
    with pytest.raises(RunFolderError) as error:
        started(tmp_path / "run", study_bars(market), warm_start=str(other.run.path))
    assert "chosen on validation windows 2023-03-12T00:00:00 to 2023-04-01T00:00:00" in str(error.value)
    assert "this study's test window is 2023-03-17T00:00:00 to 2023-04-11T00:00:00" in str(error.value)


def test_a_warm_start_from_a_study_whose_windows_nobody_knows_is_refused_where_there_is_a_test_window(tmp_path: Path):
    market, other = candles(), Hand(six_point_study(), tmp_path / "other")
    other.runs(1, lambda values: TRADED)
    shutil.rmtree(other.run.path / "data")
    with pytest.raises(RunFolderError, match="records no windows, and its prepared data are gone, so that"):
        started(tmp_path / "run", study_bars(market), warm_start=str(other.run.path))
    untested = StudyBars(seen(market), None, False)
    assert started(tmp_path / "untested", untested, warm_start=str(other.run.path)).start()


def test_a_warm_start_from_one_of_earlier_bars_is_not_and_remembers_what_its_points_were_chosen_on(tmp_path: Path):
    market = candles()
    first = started(tmp_path / "first", StudyBars(seen(market, 0.7, 0.9), None, False))
    first.runs(1, lambda values: TRADED)
    between = started(
        tmp_path / "between", StudyBars(seen(market, 0.2, 0.4), None, False), warm_start=str(first.run.path)
    )
    between.runs(1, lambda values: TRADED)
    with pytest.raises(RunFolderError, match="is in both"):
        started(tmp_path / "run", study_bars(market), warm_start=str(between.run.path))
    earlier = StudyBars(seen(market, 0.2, 0.4), seen(market, 0.45, 0.6), False)
    assert started(tmp_path / "earlier", earlier, warm_start=str(between.run.path)).start()
