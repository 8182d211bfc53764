"""A study file that is drafted for candles: it parses, its windows fit, and its comments say what was measured."""

import dataclasses
import itertools
import json
import math
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from ftray.capacity.nodes import Node
from ftray.cli import main
from ftray.errors import DataError, SpecError
from ftray.features import INDICATORS, FeatureSpec, Indicator, build_dataset
from ftray.market import COLUMNS, Candles, FilesSpec, Segment, SimulatorSpec, fold, load_market, simulate
from ftray.metrics import CPU_SECONDS
from ftray.nets import FTSpec, MLPSpec
from ftray.pretraining.samples import draw_samples
from ftray.runs import RunFolder
from ftray.shipped import SCHEMA
from ftray.spec import to_mapping
from ftray.stats import luck_line, sharpe_error
from ftray.study import StudySpec, load_study
from ftray.study.drafting import LEAST_TRIALS, MOST_TRIALS, PLANNED, Draft, draft_study, study_name
from ftray.study.fitting import LOOKBACKS, MIN_EVALUATED, MIN_TRAIN, fits, usable_runs
from ftray.study.speed import seconds_per_sample, speed_of
from ftray.trial import TrialSpec
from ftray.trial.vram import layout_of
from ftray.vram.gpus import model
from ftray.vram.table import Worker

LAPTOP = Node("this machine", 1, 4.0)


def fast(worker: Worker, device: str) -> float:
    """A machine on which the smallest study with folds takes minutes."""
    return 2e-5 if isinstance(worker.encoder, MLPSpec) else 4e-5


def write_candles(folder: Path, candles: Candles, interval: str, suffix: str = ".feather") -> Path:
    """Candles as files, one per asset."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, symbol in enumerate(candles.symbols):
        frame = pd.DataFrame(candles.values[:, i], columns=list(COLUMNS))
        frame.insert(0, "date", pd.DatetimeIndex(candles.times, tz="UTC"))
        path = folder / f"{symbol}_USDT-{interval}{suffix}"
        frame.to_csv(path, index=False) if suffix == ".csv" else frame.to_feather(path)
    return folder


def simulated(folder: Path, interval: str = "1h", n_bars: int = 3_000, n_assets: int = 2, n_outages: int = 0) -> Path:
    spec = SimulatorSpec(n_assets=n_assets, n_bars=n_bars, interval=interval, n_outages=n_outages)
    return write_candles(folder, simulate(spec), interval)


def drafted(candles: Path, file: Path, **options) -> Draft:
    """The draft of a file, written."""
    draft = draft_study(candles, file, **{"machine": LAPTOP, "clock": fast, "runs": file.parent / "runs"} | options)
    file.write_text(draft.text)
    return draft


@pytest.fixture(scope="module")
def hourly(tmp_path_factory) -> Draft:
    """Two years of three assets, with outages."""
    folder = tmp_path_factory.mktemp("hourly")
    return drafted(simulated(folder / "candles", n_bars=17_520, n_assets=3, n_outages=4), folder / "hourly.yaml")


@pytest.mark.parametrize(
    ("interval", "n_bars", "n_assets", "n_outages"),
    [
        ("1m", 9_000, 1, 0),
        ("5m", 6_000, 2, 3),
        ("15m", 1_100, 5, 0),
        ("1h", 4_000, 2, 1),
        ("4h", 2_200, 3, 0),
        ("1d", 1_500, 2, 0),
        ("1w", 1_044, 1, 0),
    ],
)
def test_whatever_is_drafted_parses_is_accepted_by_check_and_its_windows_can_be_used(
    tmp_path, capsys, interval, n_bars, n_assets, n_outages
):
    candles = simulated(tmp_path / "candles", interval, n_bars, n_assets, n_outages)
    draft = drafted(candles, tmp_path / "drafted.yaml")
    study = load_study(tmp_path / "drafted.yaml")
    assert study.identity == draft.study.identity
    Draft202012Validator(json.loads(SCHEMA.read_text())).validate(yaml.safe_load(draft.text))
    assert main(["check", str(tmp_path / "drafted.yaml")]) == 0 and "study drafted" in capsys.readouterr().out
    trial = next(trial for trial in study.corner_trials if trial.encoder_to_pretrain)
    assert len(layout_of(trial).symbols) == n_assets
    for i in range(trial.n_folds):
        dataset = build_dataset(trial.market, trial.windows, trial.features, i)
        sides = {"n_train": dataset.windows.train, "n_validation": dataset.windows.validation}
        for counted, window in sides.items():
            assert getattr(draft.plan.fit, counted)[i] == len(dataset.table.decision_bars(window))
        assert draft.plan.fit.n_test == len(dataset.table.decision_bars(dataset.windows.test)) >= MIN_EVALUATED
        assert min(map(len, draw_samples(dataset, FTSpec(), trial.pretraining))) > 0
    assert min(draft.plan.fit.n_train) >= MIN_TRAIN and min(draft.plan.fit.n_validation) >= MIN_EVALUATED


@given(runs=st.lists(st.integers(1, 9_000), min_size=1, max_size=6))
def test_windows_that_fit_have_enough_usable_bars_in_whatever_runs_the_candles_come(runs):
    edges = [0, *itertools.accumulate(runs)]
    segments = [Segment(*pair) for pair in itertools.pairwise(edges)]
    try:
        found = fits(segments)
    except DataError as error:
        assert f"all files share {sum(runs):,}" in str(error)
        return
    assert [fit.n_folds for fit in found] in ([4, 2, 1], [4, 1], [2, 1], [4], [2], [1])
    for fit in found:
        assert fold(sum(runs), fit.windows, fit.lookback) == fit.folds
        for one, n_train, n_validation in zip(fit.folds.folds, fit.n_train, fit.n_validation, strict=True):
            assert n_train == sum(usable_runs(segments, one.train, fit.lookback)) >= MIN_TRAIN
            assert n_validation == sum(usable_runs(segments, one.validation, fit.lookback)) >= MIN_EVALUATED


def test_the_lookback_is_shorter_where_candles_are_few_and_the_fewest_are_said():
    least = int(re.sub(",", "", _refusal([Segment(0, 300)]).partition("need ")[2].split()[0]))
    assert fits([Segment(0, least)])[0].lookback == min(LOOKBACKS)
    assert "all files share" in _refusal([Segment(0, least - 1)])
    assert [fit.lookback for fit in fits([Segment(0, 30_000)])] == [max(LOOKBACKS)] * 3


def market_of(study: StudySpec) -> FilesSpec:
    market = study.corner_trials[0].market
    assert isinstance(market, FilesSpec)
    return market


def _refusal(segments: list[Segment]) -> str:
    with pytest.raises(DataError) as caught:
        fits(segments)
    return str(caught.value)


def test_the_comments_agree_with_what_was_measured(hourly):
    candles = load_market(hourly.study.corner_trials[0].market)
    text, plan, times = " ".join(hourly.text.replace("#", " ").split()), hourly.plan, candles.times
    assert f"{len(candles):,} bars of 1h that 3 file(s) have in common" in text and "quoted in USDT" in text
    assert f"Gaps in time: {len(candles.segments) - 1};" in text and len(candles.segments) == 5
    spec = hourly.study.corner_trials[0]
    folds = fold(len(candles), spec.windows, spec.features.lookback)
    for i, one in enumerate(folds.folds):
        (train,), (validation,) = one.train, one.validation
        days = [str(times[bar])[:10] for w in (train, validation) for bar in (w.start, w.stop - 1)]
        assert "fold {}: train {} to {}, validation {} to {}:".format(i + 1, *days) in text
    assert f"test {str(times[folds.test.start])[:10]} to {str(times[-1])[:10]}" in text
    error = sharpe_error(0.0, sum(plan.fit.n_validation), candles.bars_per_year)
    assert f"annual Sharpe ratio near 0 is {error:.2f}" in text
    years = sum(plan.fit.n_validation) / candles.bars_per_year
    assert f"Sharpe ratio of {luck_line(plan.n_trials, years):.2f} on these" in text
    assert f"has {layout_of(spec).size:,} floats" in text
    assert f"{spec.ppo.env_steps / max(plan.fit.n_train):.1f} passes" in text


def test_every_section_has_a_comment_above_it(hourly):
    lines = hourly.text.splitlines()
    for key in ("  market:", "  windows:", "  features:", "  encoder:", "  trading:", "  ppo:"):
        (i,) = (i for i, line in enumerate(lines) if line.startswith(key))
        assert lines[i - 1].lstrip().startswith("#"), key
    assert "search:" in lines and lines[lines.index("search:") + 1].startswith("  # ")
    own = [line for line in lines if not re.search(r"--set|path:|\$schema=|^    - ", line)]
    assert max(map(len, own)) <= 120  # the others hold paths or points


def test_a_draft_searches_the_three_encoders_and_its_points_have_each(hourly):
    kinds = {(t.encoder.kind, getattr(t.encoder, "pretrained", "")) for t in hourly.study.corner_trials}
    assert kinds == {("mlp", ""), ("ft", "none"), ("ft", "auto")}
    pointed = {point["trial/encoder/kind"] for point in hourly.study.search.points[:LEAST_TRIALS]}
    assert pointed == set(hourly.study.space.params["trial/encoder/kind"].extremes())


def test_planned_trials_fit_into_the_hours_and_more_hours_allow_a_greater_study(tmp_path):
    candles = simulated(tmp_path / "candles", n_bars=8_000)
    drafts = [
        drafted(candles, tmp_path / "drafted.yaml", hours=hours, clock=lambda worker, device: 1e-3)
        for hours in (0.02, 1.0, 8.0, 100.0)
    ]
    for draft, hours in zip(drafts, (0.02, 1.0, 8.0, 100.0), strict=True):
        plan = draft.plan
        assert plan.estimate is not None and draft.study.search.budget.hours == hours
        assert plan.n_trials == draft.study.search.n_trials <= MOST_TRIALS
        assert plan.estimate.hours(plan.n_trials) <= PLANNED * hours or plan.n_trials == LEAST_TRIALS
    work = [draft.plan.fit.n_folds * draft.plan.env_steps * draft.plan.n_trials for draft in drafts]
    assert work == sorted(work) and work[0] < work[-1]
    assert "the budget ends the study before its last trial" in " ".join(drafts[0].text.replace("#", " ").split())
    assert "before its last trial" not in drafts[-1].text
    assert not drafts[0].plan.wide and drafts[-1].plan.wide and drafts[-1].plan.fit.n_folds == 4


def test_a_machine_with_a_gpu_and_one_with_one_core_get_what_they_hold(tmp_path):
    candles, asked = simulated(tmp_path / "candles"), set()

    def clock(worker: Worker, device: str) -> float:
        asked.add(device)
        return 1e-5

    gpu = drafted(candles, tmp_path / "gpu.yaml", machine=Node("this machine", 1, 16.0, 1, model("H100")), clock=clock)
    assert asked == {"cuda"} and "1 × H100, 8 trial(s) at a time" in " ".join(gpu.text.replace("#", " ").split())
    core = drafted(candles, tmp_path / "core.yaml", machine=Node("this machine", 1, 1.0), clock=clock)
    assert asked == {"cuda", "cpu"} and core.study.corner_trials[0].ppo.n_env_runners == 0
    assert {trial.pretraining.cpus for trial in core.study.corner_trials} == {1}


def test_the_pace_of_trials_that_have_ended_counts_before_a_timed_step(tmp_path):
    candles = simulated(tmp_path / "candles")
    first = drafted(candles, tmp_path / "first.yaml")
    spec = next(trial for trial in first.study.corner_trials if trial.encoder == MLPSpec(encoding_dim=256))
    spec = dataclasses.replace(spec, encoder=MLPSpec(encoding_dim=768))  # as a sampler may choose
    run = RunFolder.create(tmp_path / "runs" / "earlier", {"name": "earlier"})
    run.add_trial("trial-0000", 0, "trial", {}, to_mapping(spec))
    run.trial_started("trial-0000")
    run.trial_ended("trial-0000", "COMPLETE", {"env_steps": 1_000, CPU_SECONDS: 2.0 * 20.0})  # 2 CPUs for 20 s
    second = drafted(candles, tmp_path / "second.yaml")
    assert first.plan.estimate is not None and second.plan.estimate is not None
    assert first.plan.estimate.speeds["mlp 512"].n_measured == 0
    speed = second.plan.estimate.speeds["mlp 512"]
    assert speed.n_measured == 1 and speed.training == pytest.approx(0.02 * second.plan.env_steps)
    assert "1 trials that ended here before" in " ".join(second.text.replace("#", " ").split())


def test_a_step_of_each_encoder_is_timed_on_this_machine():
    small = TrialSpec(market=SimulatorSpec(n_assets=2), features=FeatureSpec(lookback=12))
    ft = FTSpec(d_token=32, n_blocks=1, n_heads=2, patch_length=12)
    for encoder in (MLPSpec(hidden=64), ft, FTSpec(d_token=32, n_heads=2, pretrained="auto", frozen=True)):
        seconds = seconds_per_sample(Worker(encoder, layout_of(small), n_bars=4_096), "cpu")
        assert 0 < seconds < 1 and math.isfinite(seconds)
    trial = TrialSpec(market=small.market, features=small.features, encoder=ft)
    slow, quick = (speed_of(trial, 3_000, LAPTOP, None, lambda worker, device, s=s: s) for s in (1e-3, 1e-4))
    assert slow.training > quick.training > 0 and slow.pretraining > quick.pretraining > 0


def test_names_that_yaml_reads_as_something_else_are_quoted(tmp_path):
    candles = simulate(SimulatorSpec(n_assets=3, n_bars=3_000))
    odd = Candles(("NO", "ON", "1E5"), candles.times, candles.values, candles.interval)
    folder = write_candles(tmp_path / "my: candles #1", odd, "1h")
    draft = drafted(folder, tmp_path / "drafted.yaml", name="yes")
    assert draft.study.name == "yes" and market_of(draft.study).path == str(folder)
    assert set(market_of(draft.study).symbols or ()) == {"NO", "ON", "1E5"}
    assert study_name(folder) == "my_candles_1"


def test_indicators_of_plug_ins_are_not_counted_as_a_drafted_study_has_none(tmp_path):
    candles = simulated(tmp_path / "candles", n_bars=1_500)
    texts = [drafted(candles, tmp_path / "drafted.yaml", clock=lambda worker, device: 1e-6).text]
    with INDICATORS.having(Indicator("mine", lambda ohlcv: ohlcv[:, 0], warm_up=0)):
        texts.append(drafted(candles, tmp_path / "drafted.yaml", clock=lambda worker, device: 1e-6).text)
    assert texts[0] == texts[1]


def test_too_few_bars_are_refused_with_what_each_file_has(tmp_path):
    folder = simulated(tmp_path / "candles", n_bars=500)
    with pytest.raises(DataError) as caught:
        drafted(folder, tmp_path / "drafted.yaml")
    for word in (
        str(folder),
        "the smallest windows need 1,0",
        "share 500",
        "AAVE_USDT-1h.feather: 500 bars, 2020-01-01",
    ):
        assert word in str(caught.value)
    for hours in (0.0, float("nan"), float("inf")):
        with pytest.raises(SpecError, match=r"^hours: must be a finite number above 0"):
            drafted(folder, tmp_path / "drafted.yaml", hours=hours)


def test_the_verb_writes_the_file_prints_what_it_found_and_replaces_nothing(tmp_path, monkeypatch, capsys):
    candles = simulated(tmp_path / "candles", n_bars=1_200)
    short = simulate(SimulatorSpec(n_assets=3, n_bars=1_200))
    new = Candles(("LTC", "NEW", "UNI"), short.times, short.values, short.interval)
    write_candles(candles, new, "1h")
    late = pd.read_feather(candles / "NEW_USDT-1h.feather").tail(300).reset_index(drop=True)
    late.to_feather(candles / "NEW_USDT-1h.feather")
    monkeypatch.chdir(tmp_path)
    assert main(["init", "candles", "--hours", "0.5"]) == 0
    out = capsys.readouterr().out
    for word in ("AAVE_USDT-1h.feather", "left out  NEW_USDT-1h.feather", "--symbols AAVE,AVAX,LTC,NEW,UNI"):
        assert word in out
    assert "wrote candles.yaml" in out and out.endswith("the same command continues it\n")
    text = (tmp_path / "candles.yaml").read_text()
    assert text.startswith(f"# yaml-language-server: $schema={SCHEMA}\n") and "Left out: NEW_USDT-1h.feather" in text
    assert load_study(tmp_path / "candles.yaml").name == "candles"
    assert yaml.safe_load(text)["trial"]["market"]["path"] == str(candles)  # valid in any working directory
    assert main(["init", "candles"]) == 1
    assert "candles.yaml exists, and is not replaced" in capsys.readouterr().err
    assert (tmp_path / "candles.yaml").read_text() == text
    assert main(["init", "candles", "--output", "other.yaml", "--name", "mine", "--symbols", "LTC,uni"]) == 0
    other = (tmp_path / "other.yaml").read_text()
    assert load_study(tmp_path / "other.yaml").name == "mine"
    assert yaml.safe_load(other)["trial"]["market"]["symbols"] == ["LTC", "UNI"]


def test_a_folder_that_cannot_work_leaves_no_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "candles").mkdir()
    (tmp_path / "candles" / "BTC_USDT-1h.csv").write_text("nothing")
    for folder in ("candles", "nowhere", "."):
        assert main(["init", folder]) == 1
        assert capsys.readouterr().err.startswith("ftray: ")
    assert [path.name for path in tmp_path.iterdir()] == ["candles"]


@pytest.mark.long
@pytest.mark.real_data
@pytest.mark.parametrize(
    ("folder", "interval", "n_bars"),
    [("binance_1h", "1h", 30_979), ("binance_5m", "5m", 16_992)],
)
def test_real_candles_get_a_file_that_check_accepts(tmp_path, capsys, monkeypatch, folder, interval, n_bars):
    candles = Path(__file__).parents[2].parent / "shared" / "data" / folder
    monkeypatch.chdir(tmp_path)
    assert main(["init", str(candles)]) == 0
    assert main(["check", f"{folder}.yaml"]) == 0
    out = capsys.readouterr().out
    assert f"{n_bars:,} bars" in out and "5,888 floats" in out
    market = market_of(load_study(tmp_path / f"{folder}.yaml"))
    assert market.interval == interval and market.symbols == ("AAVE", "AVAX", "BTC", "ETH", "LINK", "LTC", "UNI")


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.usefixtures("cluster", "without_probes")
def test_a_drafted_study_runs_to_its_leaderboard(tmp_path, capsys):
    candles = write_candles(tmp_path / "candles", simulate(SimulatorSpec(n_assets=2, n_bars=1_200)), "1h", ".csv")
    file, runs = tmp_path / "drafted.yaml", tmp_path / "runs"
    drafted(candles, file, hours=0.1, clock=lambda worker, device: 1e-3)
    small = (
        "search.n_trials=4",
        "search.budget.hours=10",
        "trial.ppo.env_steps=2048",
        "trial.pretraining.epochs=1",
        "trial.onnx=false",
        "search.min_round_trips=0",
    )
    assert main(["tune", str(file), "--runs", str(runs), *(word for one in small for word in ("--set", one))]) == 0
    out = capsys.readouterr().out
    assert "rank" in out and "4 trials: 4 COMPLETE" in out and "luck line" in out
    trials = [record for record in RunFolder.open(runs / "drafted").records() if record.number is not None]
    assert {record.spec["encoder"]["kind"] for record in trials} == {"mlp", "ft"}
    assert all(math.isfinite(record.metrics["validation/sharpe"]) for record in trials)
