"""Plots of a study compute what they say, and can be read without colour."""

import datetime
import re
import sys

import numpy as np
import pytest

from ftray import plots, stats
from ftray.analysis import comparison
from ftray.analysis.studies import open_study
from ftray.analysis.study import Study
from ftray.errors import MissingDependencyError, NoResultError, QueryError, SpecError
from ftray.plots import optuna as optuna_plots
from ftray.plots.theme import SERIES, series
from ftray.plots.trials import runs_data
from ftray.runs import RunFolder
from ftray.tables.bars import BarRecord, write_bars, write_benchmarks
from tests.analysis.test_study import OLD
from tests.boards.made import made_study

SHARPE, DRAWDOWN, TRADES = "validation/sharpe", "validation/max_drawdown", "validation/n_trades"
SEARCHED = {
    "encoder": {"choice": [{"kind": "ft"}, {"kind": "mlp"}]},
    "ppo": {"learning_rate": {"log": [1e-7, 1.0]}},
}
N = 1_200
TIMES = np.datetime64("2024-01-01") + np.arange(N) * np.timedelta64(1, "h")


@pytest.fixture(scope="module")
def old() -> Study:
    return open_study(OLD)


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    """Six trials of two seeds with bars in two regimes, one of them on a GPU; the later, the better."""
    run = RunFolder.create(tmp_path_factory.mktemp("runs") / "study", {"name": "study", "trial": SEARCHED})
    write_benchmarks(run.path, 0, {"equal_weight": bar_record(99)})
    for number in range(6):
        name, encoder = f"trial-{number:04}", ("ft", "mlp")[number % 2]
        values = {"trial/encoder/kind": encoder, "trial/ppo/learning_rate": 10.0 ** -(number + 1)}
        run.add_trial(name, number, "trial", values, {"encoder": {"kind": encoder}})
        run.trial_started(name)
        done = []
        for seed in (0, 1):
            write_bars(run.trial_folder(name).folder, 0, seed, bar_record(10 * number + seed))
            sharpe = number + 0.1 * seed
            done.append({"fold": 0, "seed": seed, "env_steps": 100, SHARPE: sharpe})
            mean = {SHARPE: float(np.mean([one[SHARPE] for one in done])), DRAWDOWN: 0.1 + number / 100}
            memory = {"vram/planned_gib": 1.8, "vram/used_gib": 1.5 + seed / 10} if number == 0 else {}
            row = {"fold": 0, "seed": seed, "env_steps": 100 * (seed + 1), "run_done": True, "runs": list(done)}
            shape = {"years": 1.0, "n_bars": 8_760.0, "skewness": 0.0, "kurtosis": 3.0}
            shape = {f"validation/{measure}": value for measure, value in shape.items()}
            run.trial_folder(name).report({**row, **mean, **memory, **shape, "cost/cpu_seconds": 3600.0})
        run.trial_ended(name, "PRUNED" if number == 3 else "COMPLETE")
    return open_study(run.path)


def bar_record(seed: int) -> BarRecord:
    returns = np.random.default_rng(seed).normal(0.0001, 0.01, N)
    flat, labels = np.full(N, 0.5), np.where(np.arange(N) < 2 * N // 3, 0, 2)
    fills = {name: [] for name in ("time", "symbol", "cause", "notional", "units", "price", "fee", "slippage")}
    return BarRecord(
        times=TIMES,
        returns=returns,
        equity=np.cumprod(1 + returns),
        exposure=flat,
        turnover=flat / 10,
        fees=flat / 1_000,
        slippage=flat / 2_000,
        regimes=labels,
        symbols=("BTC",),
        weights=flat[:, None],
        fills=fills,
    )


def test_a_metric_that_runs_do_not_end_with_is_shown_as_it_was_reported(study):
    cost = plots.curves_data(study, "encoder", "cost/cpu_seconds")
    assert set(cost["mean"]) == {3600.0}


def test_of_very_many_trials_an_even_sample_is_compared(study, monkeypatch):
    monkeypatch.setattr(comparison, "MAX_COMPARED", 3)
    assert comparison.compared([f"{i}" for i in range(9)]) == ["0", "4", "8"]
    asked, frame = [], study.frame
    monkeypatch.setattr(study, "frame", lambda *what, **equal: asked.append(equal["trial"]) or frame(*what, **equal))
    chance = study.overfitting()
    assert asked == [["trial-0000", "trial-0002", "trial-0005"]] and chance is not None and 0 <= chance <= 1


def test_a_runs_own_metrics_are_those_that_it_ended_with(old):
    own = runs_data(old, SHARPE)
    last = own.groupby(["trial", "fold", "seed"]).last()
    folds = old.frame("folds").set_index(["trial", "fold", "seed"])
    assert len(last) == 12
    for key, row in last.iterrows():
        assert row[SHARPE] == pytest.approx(folds.loc[key, SHARPE], abs=1e-9)
        assert row["run_steps"] == folds.loc[key, "env_steps"]


def test_learning_curves_are_interquartile_means_over_runs_with_bands(old):
    data = plots.curves_data(old, "encoder")
    assert data.groupby("group")["n_runs"].max().to_dict() == {"ft": 8, "mlp": 4}
    assert data["low"].isna().all() and data["high"].isna().all()  # of at most two trials a group
    own = runs_data(old, SHARPE)
    last = own[(own["trial"] == "trial-0002") & (own["evaluation"] == 2)][SHARPE].to_numpy()
    assert data[data["group"] == "mlp"]["mean"].iloc[-1] == pytest.approx(stats.interquartile_mean(last[:, None]))
    by_trial = plots.curves_data(old, "trial", top=1)
    assert set(by_trial["group"]) == {old.best().trial}
    drawn = plots.plot_curves(data).data
    assert [len(trace.x) for trace in drawn] == [0, 2, 0, 2]  # the lines without a band are drawn all the same


def test_equity_is_the_mean_over_seeds_and_its_band_holds_each(study):
    data = plots.equity_data(study, "trial-0005")
    bars = study.returns("trial-0005")
    seeds = [bars[bars["seed"] == seed]["return"].to_numpy() for seed in (0, 1)]
    assert data["equity"]["trial-0005"] == pytest.approx([1, *np.cumprod(1 + np.mean(seeds, axis=0))])
    assert data["low"][-1] == pytest.approx(min(np.prod(1 + one) for one in seeds))
    assert list(data["equity"]) == ["trial-0005", "equal_weight"]
    assert data["times"].tolist() == [bars["time"].min() - datetime.timedelta(hours=1), *sorted(set(bars["time"]))]
    figure = plots.plot_equity(data)
    assert max(figure.data[-1].y) <= 0  # the drawdown
    with pytest.raises(NoResultError, match="no returns per bar"):
        plots.equity_data(open_study(OLD), "trial-0000")


def test_the_equity_of_several_trials_is_on_one_axis_with_each_as_it_is_alone(tmp_path):
    study = open_study(made_study(tmp_path / "study", 4, 1, n_bars=12).path)
    data = plots.equities_data(study, ["trial-0001", "trial-0000"])
    assert list(data["equity"]) == ["trial-0001", "trial-0000", "equal_weight"]
    for name in ("trial-0000", "trial-0001"):
        assert data["equity"][name] == pytest.approx(plots.equity_data(study, name)["equity"][name])
    assert plots.plot_equity(data).layout.title.text.startswith("Equity of trial-0001, trial-0000")
    with pytest.raises(NoResultError, match="none of trial-0000, trial-0001 has returns per bar"):
        plots.equities_data(open_study(OLD), ["trial-0000", "trial-0001"])


def test_a_regime_has_a_sharpe_ratio_where_it_has_enough_bars(study):
    data = plots.regimes_data(study, "trial-0005").set_index(["portfolio", "regime"])
    assert data.loc[("trial-0005", "bear"), "n_bars"] == 2 * N // 3
    bars = study.returns("trial-0005").groupby("time")["return"].mean().to_numpy()[: 2 * N // 3]
    assert data.loc[("trial-0005", "bear"), "sharpe"] == pytest.approx(stats.sharpe(bars, 365 * 24))
    assert np.isnan(data.loc[("trial-0005", "bull"), "sharpe"])  # 400 bars say nothing
    shown = plots.plot_regimes(data.reset_index())
    assert "-" in shown.data[-1].cells["values"][-1]


def test_the_search_shows_the_best_so_far_and_the_luck_line(study):
    data = plots.search_data(study)
    assert data["best"].tolist() == pytest.approx([0.05, 1.05, 2.05, 2.05, 4.05, 5.05])  # the pruned one does not count
    assert data["luck_line"].tolist() == pytest.approx([stats.luck_line(n, 1.0) for n in range(1, 7)], rel=1e-2)
    assert data["luck_line"].iloc[-1] == study.best().luck_line
    hollow = [
        symbol for trace in plots.plot_search(data).data[:2] for symbol in trace.marker.symbol if "open" in symbol
    ]
    assert len(hollow) == 1


def test_slices_and_parallel_coordinates_have_every_search_parameter_under_its_short_name(study, old):
    slices = plots.plot_slice(study)
    assert [axis.title.text for axis in slices.select_xaxes()] == ["encoder/kind", "ppo/learning_rate"]
    assert [axis.type for axis in slices.select_xaxes()] == ["category", "log"]
    assert len(slices.data[1].x) == 5 and slices.layout.yaxis.title.text == "Sharpe"
    (alone,) = plots.plot_slice(study, DRAWDOWN, ["trial/ppo/learning_rate"]).select_xaxes()
    assert alone.title.text == "ppo/learning_rate"
    lines = plots.plot_parallel_coordinate(old)
    assert lines.layout.xaxis.ticktext == ("Sharpe", "encoder/kind", "encoder/pretrained", "ppo/learning_rate")


def test_a_logarithmic_axis_of_a_decade_labels_a_few_round_numbers(tmp_path):
    made = plots.plot_slice(open_study(made_study(tmp_path / "study", 12, 1).path))
    (axis,) = made.select_xaxes({"type": "log"})
    assert axis.ticktext is None  # two decades
    space = {"ppo": {"learning_rate": {"log": [1e-5, 1e-3]}, "gamma": {"float": [0, 1]}}}
    run = RunFolder.create(tmp_path / "narrow", {"name": "narrow", "trial": space})
    for number, rate in enumerate((1.3e-4, 7e-4)):
        values = {"trial/ppo/learning_rate": rate, "trial/ppo/gamma": 0.5}
        run.add_trial(name := f"trial-{number:04}", number, "trial", values, {"encoder": {"kind": "mlp"}})
        run.trial_started(name)
        run.trial_folder(name).report({"env_steps": 100, "fold": 0, "seed": 0, SHARPE: 1.0})
        run.trial_ended(name, "COMPLETE")
    (axis,) = plots.plot_slice(open_study(run.path)).select_xaxes({"type": "log"})
    assert axis.ticktext == ("0.0001", "0.0002", "0.0005", "0.001", "0.002", "0.005")


def test_many_slices_stand_in_rows(old, monkeypatch):
    monkeypatch.setattr(optuna_plots, "COLUMNS", 2)
    made = plots.plot_slice(old)
    left = [axis.domain[0] for axis in made.select_xaxes()]
    top = [axis.domain[1] for axis in made.select_yaxes()]
    assert left[0] == left[2] < left[1] and top[0] == top[1] > top[2]


def test_the_front_is_what_no_other_trial_beats(study):
    made = plots.plot_pareto_front(study)
    assert len(made.data[-1].x) == 5  # each is better in one and worse in the other
    assert made.layout.xaxis.title.text == "max drawdown (less is better)"
    assert len(plots.plot_pareto_front(study, ["cost/cpu_seconds", SHARPE]).data[-1].x) == 1  # all cost the same


def test_pairs_ranks_distribution_and_times_of_trials_are_optunas_in_ftrays_style(study):
    figures = [plots.plot_contour(study), plots.plot_rank(study), plots.plot_edf(study), plots.plot_timeline(study)]
    for made in (*figures, plots.plot_slice(study), plots.plot_parallel_coordinate(study)):
        assert made.layout.font.family == "Helvetica, Arial, sans-serif" and "<sup>" in made.layout.title.text
    assert {bars.name: len(bars.y) for bars in figures[-1].data} == {"COMPLETE": 5, "PRUNED": 1}


def test_axes_of_whole_numbers_have_no_others_in_optunas_plots_and_of_counts(tmp_path):
    space = {
        "ppo": {"epochs": {"int": [1, 4]}, "train_batch_size": {"int": [256, 1024, 256]}, "gamma": {"float": [0, 1]}}
    }
    run = RunFolder.create(tmp_path / "study", {"name": "study", "trial": space})
    for number in range(4):
        ppo = {"epochs": 1 + number % 3, "train_batch_size": 256 * (1 + number), "gamma": number / 4}
        values = {f"trial/ppo/{name}": value for name, value in ppo.items()}
        run.add_trial(name := f"trial-{number:04}", number, "trial", values, {"encoder": {"kind": "mlp"}})
        run.trial_started(name)
        run.trial_folder(name).report(
            {"env_steps": 100, "fold": 0, "seed": 0, SHARPE: number / 2, TRADES: number + 1.0}
        )
        run.trial_ended(name, "COMPLETE")
    study, whole = open_study(run.path), {"ppo/epochs": (",d", 1), "ppo/train_batch_size": (",d", None)}
    for made in (plots.plot_slice(study), plots.plot_contour(study), plots.plot_rank(study)):
        axes = [
            axis for axis in (*made.select_xaxes(), *made.select_yaxes()) if axis.title.text in (*whole, "ppo/gamma")
        ]
        assert {axis.title.text for axis in axes} == {*whole, "ppo/gamma"}
        for axis in axes:
            assert (axis.tickformat, axis.dtick) == whole.get(axis.title.text, (None, None))
    assert plots.plot_timeline(study).layout.yaxis.dtick == 1
    slices = plots.plot_slice(study).data
    assert {(one.marker.colorbar.dtick, one.marker.cmin, one.marker.cmax) for one in slices} == {(1, 0, 3)}
    counted = [plots.plot_slice(study, TRADES), plots.plot_search(plots.search_data(study, TRADES))]
    counted += [
        plots.plot_cost(plots.cost_data(study, TRADES)),
        plots.plot_curves(plots.curves_data(study, metric=TRADES)),
    ]
    assert {axis.dtick for made in counted for axis in made.select_yaxes()} == {1}
    assert plots.plot_edf(study, TRADES).layout.xaxis.dtick == 1


@pytest.mark.parametrize("wrong", [0, -1, True, 2.5, "6", None])
def test_curves_are_of_a_whole_number_of_groups(study, wrong):
    with pytest.raises(SpecError, match=rf"^top: must be (at least 1|an int), got {wrong!r}$"):
        plots.curves_data(study, top=wrong)


def test_a_study_without_a_complete_trial_has_no_plot_of_its_search_yet(tmp_path):
    run = RunFolder.create(tmp_path / "study", {"name": "study", "trial": {}})
    for draw in (
        lambda study: plots.plot_search(plots.search_data(study)),
        lambda study: plots.plot_cost(plots.cost_data(study)),
    ):
        with pytest.raises(NoResultError, match="no trial has reported 'validation/sharpe'"):
            draw(open_study(run.path))
    with pytest.raises(NoResultError, match="no complete trial with validation/sharpe yet"):
        plots.plot_slice(open_study(run.path))


def test_importance_of_one_complete_trial_is_not_plotted(tmp_path):
    run = made_study(tmp_path / "study", 2, 1)
    with pytest.raises(NoResultError, match="at least 10 complete trials"):
        plots.plot_param_importances(open_study(run.path))


def test_groups_are_plotted_with_their_intervals_and_how_often_they_win(study):
    compared = study.compare("encoder")
    figure = plots.plot_comparison(compared)
    assert [trace.y[0] for trace in figure.data] == list(compared.index[::-1])
    assert compared["low"].isna().all() and figure.data[-1].error_x.array is None  # three trials a side
    many = compared.assign(low=compared["mean"] - 1.0, high=compared["mean"] + 1.0, improvement_low=0.2)
    many.attrs = compared.attrs
    figure = plots.plot_comparison(many)
    assert figure.data[-1].error_x.array[0] == pytest.approx(1.0)
    assert any("%" in note.text for note in figure.layout.annotations)


def test_memory_and_cost(study, old):
    memory = plots.vram_data(study)
    assert memory[["trial", "planned", "used"]].values.tolist() == [["trial-0000", 1.8, 1.6]]
    assert plots.vram_data(old).empty and "no trial" in plots.plot_vram(plots.vram_data(old)).layout.annotations[0].text
    cost = plots.cost_data(study)
    assert cost["cpu_hours"].tolist() == [1.0] * 6 and cost["value"].tolist()[-1] == pytest.approx(5.05)
    assert plots.plot_cost(cost).layout.xaxis.title.text == "CPU core hours"


def test_importance_is_plotted_with_its_intervals(tmp_path):
    run = RunFolder.create(tmp_path / "study", {"name": "study", "trial": SEARCHED})
    rng = np.random.default_rng(0)
    for number in range(60):
        rate, kind = float(10 ** rng.uniform(-5, -3)), str(rng.choice(["ft", "mlp"]))
        values = {"trial/encoder/kind": kind, "trial/ppo/learning_rate": rate}
        run.add_trial(f"trial-{number:04}", number, "trial", values, {"encoder": {"kind": kind}})
        run.trial_started(f"trial-{number:04}")
        run.trial_ended(f"trial-{number:04}", "COMPLETE", {SHARPE: -abs(np.log10(rate) + 4.0)})
    found = open_study(run.path).importance()
    (bars,) = plots.plot_param_importances(open_study(run.path)).data
    best = found.iloc[0]
    assert bars.y[-1] == found.index[0].removeprefix("trial/") == "ppo/learning_rate"
    assert bars.x[-1] == best["importance"] and bars.error_x.array[-1] == pytest.approx(best["high"] - bars.x[-1])
    assert bars.text[-1] == f"{best['importance']:.1f} ({best['low']:.1f} to {best['high']:.1f})"


def test_a_card_is_plotted(old):
    card = old.encoder_card(old.encoders["encoder"][0][:12])
    assert plots.plot_history(card["history"]).data and plots.plot_reconstruction(card, "cells").data
    with pytest.raises(QueryError, match="no finished encoder begins with 'zz'"):
        old.encoder_card("zz")


def test_series_differ_by_colour_by_dash_and_by_symbol():
    for part in ("color", "symbol"):
        assert len({getattr(one, part) for one in SERIES}) == len(SERIES)
    assert len({one.dash for one in SERIES}) >= 6
    looks = series(["mlp", "ft", "lstm", "cnn"])
    assert len(set(looks.values())) == 4 and looks == series(["ft", "cnn", "mlp", "lstm"]) | looks
    assert series(["ft"])["ft"] == looks["ft"]


@pytest.mark.parametrize("name", [name for name in plots.__all__ if name.startswith("plot_")])
def test_every_plot_has_a_line_of_documentation(name):
    assert re.match(r"[A-Z].+", getattr(plots, name).__doc__)


def test_without_plotly_the_error_names_the_line_that_installs_it(old, monkeypatch):
    data = plots.cost_data(old)
    monkeypatch.setitem(sys.modules, "plotly", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'ftray\[plots\]'"):
        plots.plot_cost(data)


def test_times_have_no_zone_and_are_utc(study):
    started = study.trials["started_at"].max().to_pydatetime()
    now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    assert datetime.timedelta(0) <= now - started < datetime.timedelta(hours=1)
