"""A policy is judged on candles that came later, with its own scaler, and every look is recorded."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import ftray
from ftray.analysis.test_window import reads_of
from ftray.cli import main
from ftray.errors import DataError, RefusedError, RunFolderError
from ftray.features import FeatureSpec, Scaler, build_dataset, build_table
from ftray.market import COLUMNS, Candles, FilesSpec, SimulatorSpec, Window, WindowsSpec, simulate
from ftray.nets import MLPSpec, Policy, PolicyNetwork, build_encoder, policy_head
from ftray.runs import RunFolder
from ftray.runs.looks import Ledger, LookKind
from ftray.spec import parse
from ftray.trading import backtest, benchmarks
from ftray.trial import TrialSpec
from ftray.trial.judge import export_policy, judge, judge_folder
from ftray.trial.progress import Training

CANDLES = simulate(SimulatorSpec(n_assets=3, n_bars=1_500, seed=5)).of(("AVAX", "AAVE"))
KNOWN = 1_200
FEATURES = FeatureSpec(lookback=8, indicators=("close", "volume"))
ENCODER = MLPSpec(hidden=64, encoding_dim=64)
LATER = "2020-02-20"
"""Bar 1,200 opens at midnight of this day: the first that is new."""


def write(folder: Path, candles: Candles) -> Path:
    """Candles as files, one per asset, in place of older ones."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, symbol in enumerate(candles.symbols):
        frame = pd.DataFrame(candles.values[:, i], columns=list(COLUMNS))
        frame.insert(0, "date", pd.DatetimeIndex(candles.times, tz="UTC"))
        frame.to_feather(folder / f"{symbol}_USDT-1h.feather")
    return folder


def part(start: int, stop: int, candles: Candles = CANDLES) -> Candles:
    return dataclasses.replace(
        candles, times=candles.times[start:stop], values=candles.values[start:stop], regimes=None
    )


def at(bar: int) -> str:
    return str(CANDLES.times[bar].astype("datetime64[s]"))


@dataclasses.dataclass(frozen=True)
class Made:
    """A run of one trial that ended, whose policy was not trained: it trades by random weights."""

    run: RunFolder
    own: Path
    later: Path

    @property
    def policy(self) -> Policy:
        return ftray.load_policy(self.run.trial_folder("trial-0000").folder / "policy")

    def events(self) -> list[dict]:
        return [event for event in self.run.events() if event["event"] == "later_candles_read"]


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    """The run, its candles, and those with 300 more bars."""
    root = tmp_path_factory.mktemp("later")
    write(root / "own", part(0, KNOWN))
    write(root / "later", part(0, 1_500))
    spec = TrialSpec(
        market=FilesSpec(path=str(root / "own")),
        windows=WindowsSpec(holding=6),
        features=FEATURES,
        encoder=ENCODER,
        onnx=False,
    )
    dataset = build_dataset(spec.market, spec.windows, spec.features)
    torch.manual_seed(0)
    head = policy_head(ENCODER.encoding_dim, 2)
    torch.nn.init.normal_(head[-1].weight)
    network = PolicyNetwork(build_encoder(ENCODER, dataset.layout), head)
    run = RunFolder.create(root / "runs" / "one", {"name": "one"})
    run.add_trial("trial-0000", 0, "trial", {}, spec)
    run.trial_started("trial-0000")
    policy = run.trial_folder("trial-0000").folder / "policy"
    export_policy(network, spec, dataset, policy, Training(0, 0))  # type: ignore[arg-type]  # has what it takes
    run.trial_ended("trial-0000", "COMPLETE", {"validation/sharpe": 1.0})
    return root


@pytest.fixture
def made(original, tmp_path) -> Made:
    """A copy of it, in another place: the policy's trial still names the original candles."""
    shutil.copytree(original, tmp_path / "copy")
    folder = tmp_path / "copy" / "runs" / "one" / "trials" / "trial-0000" / "policy"
    text = (folder / "policy.json").read_text().replace(str(original), str(tmp_path / "copy"))
    (folder / "policy.json").write_text(text)
    return Made(
        RunFolder.open(tmp_path / "copy" / "runs" / "one"), tmp_path / "copy" / "own", tmp_path / "copy" / "later"
    )


def halved(candles: Candles) -> Candles:
    """The same prices as bars of 30 minutes."""
    times = candles.times[0] + (candles.times - candles.times[0]) // 2
    return dataclasses.replace(candles, times=times, interval=candles.interval // 2)


def change_facts(made: Made, change) -> None:
    path = made.policy.folder / "policy.json"
    facts = json.loads(path.read_text())
    change(facts)
    path.write_text(json.dumps(facts))


def test_a_policy_says_when_the_bars_were_that_it_has_seen(made):
    facts = made.policy.facts
    spec = TrialSpec(market=FilesSpec(path=str(made.own)), windows=WindowsSpec(holding=6), features=FEATURES)
    dataset = build_dataset(spec.market, spec.windows, spec.features)
    windows = dataset.windows
    assert facts["windows"] == {
        "pretraining": [],
        "train": [dataset.times(window) for window in windows.train],
        "validation": [dataset.times(window) for window in windows.validation],
        "test": [dataset.times(windows.test)],
    }
    limits = {"first": at(0), "last": at(KNOWN - 1)}
    assert facts["candles"] == {
        "fingerprint": dataset.candles.fingerprint,
        "interval": "1h",
        "n_bars": KNOWN,
        **limits,
    }


@pytest.mark.parametrize("window", ["validation", "train"])
def test_appended_bars_change_no_result_on_its_own_windows(made, window):
    _, before = judge_folder(made.run.location, None, window)
    write(made.own, CANDLES)
    shutil.copy(made.own / "AAVE_USDT-1h.feather", made.own / "BTC_USDT-1h.feather")  # nor does another asset
    _, after = judge_folder(made.run.location, None, window)
    assert before.keys() == after.keys() >= {"policy", "equal_weight", "hold_AAVE", "hold_AVAX"}
    for name, one in before.items():
        assert np.array_equal(one.equity, after[name].equity) and np.array_equal(one.notional, after[name].notional)


def test_known_bars_that_changed_are_refused_with_what_changed(made):
    values = CANDLES.values.copy()
    values[700, 0] *= 1.0 + 1e-12
    write(made.own, dataclasses.replace(CANDLES, values=values))
    with pytest.raises(DataError, match="must stay as they were: their prices or volumes have changed"):
        judge_folder(made.run.location, None, "validation")
    write(made.own, part(24, 1_500))
    with pytest.raises(
        DataError, match=rf"1200 bars from 2020-01-01 00:00:00 to {at(KNOWN - 1).replace('T', ' ')}, and"
    ):
        judge_folder(made.run.location, None, "validation")


def test_later_bars_are_judged_with_the_policys_own_scaler_and_rules(made, monkeypatch):
    policy = made.policy
    table = build_table(part(0, 1_500).of(policy.layout.symbols), FEATURES, (), scaler=policy.scaler)
    monkeypatch.setattr(Scaler, "fit", None)  # nothing is fitted
    found = ftray.backtest_policy(policy, made.later, say=print)

    assert found["policy"].bars[0] == KNOWN and found["policy"].bars[-1] == 1_498
    assert np.count_nonzero(found["policy"].notional) > 50  # it trades
    dataset = ftray.Dataset(part(0, 1_500).of(policy.layout.symbols), table, no_windows(), "by hand")

    def act(bars, accounts):
        return policy(table.observation(bars, accounts))

    bars, rules = Window(KNOWN - FEATURES.lookback + 1, 1_500), ftray.MarketRules()
    by_hand = {"policy": backtest(act, dataset, bars, rules), **benchmarks(dataset, bars, rules)}
    assert found.keys() == by_hand.keys()
    for name, one in by_hand.items():
        assert np.array_equal(one.equity, found[name].equity)


def no_windows():
    from ftray.market import Windows

    return Windows((), (), Window(1_500, 1_500))


def test_dates_choose_among_later_bars(made):
    found = ftray.backtest_policy(made.policy, made.later, from_="2020-02-22", to="2020-02-24T06:00")
    assert CANDLES.times[found["policy"].bars[[0, -1]]].astype("datetime64[h]").astype(str).tolist() == [
        "2020-02-22T00",
        "2020-02-24T04",
    ]


def test_assets_may_be_in_another_order_and_among_others_but_not_missing(made):
    policy, later = made.policy, part(0, 1_500)
    expected = ftray.backtest_policy(policy, later)
    wide = dataclasses.replace(later, symbols=("AVAX", "BTC", "AAVE"), values=later.values[:, [0, 0, 1]])
    found = ftray.backtest_policy(policy, wide)
    assert found.keys() == expected.keys()
    assert np.array_equal(found["policy"].equity, expected["policy"].equity)
    with pytest.raises(DataError, match="candles of AAVE are missing; there are those of AVAX"):
        ftray.backtest_policy(policy, later.of(["AVAX"]))
    with pytest.raises(DataError, match="decides on bars of 1h, and these candles are of 30m"):
        ftray.backtest_policy(policy, halved(later))


@pytest.mark.parametrize(
    ("first", "last", "message"),
    [
        (100, 200, "100 it was trained on"),
        (
            780,
            1_500,
            r"Of the 720 .* \d+ it was chosen on; 180 are in the closed test window, which `ftray promote` alone",
        ),
        (1_199, 1_500, "Of the 301 .*, 1 are in the closed test window"),
        (1_010, 1_015, "5 open before the last one that it has seen"),
    ],
)
def test_bars_that_it_has_seen_are_refused_unless_forced(made, first, last, message):
    limits = {"from_": at(first), "to": at(last) if last < 1_500 else None}
    with pytest.raises(RefusedError, match=message):
        ftray.backtest_policy(made.policy, made.later, **limits)
    assert made.events() == [] and Ledger(made.run.path.parent).read().looks == ()
    found = ftray.backtest_policy(made.policy, made.later, force=True, **limits)
    assert found["policy"].bars[0] >= first
    (event,) = made.events()
    assert event["forced"] and event["figures"]["policy"]["n_bars"] == len(found["policy"])


def test_bars_that_its_encoder_was_pretrained_on_are_seen(made):
    change_facts(made, lambda facts: facts["windows"].update(pretraining=[[at(1_250), at(1_300)]]))
    found = ftray.backtest_policy(made.policy, made.later)
    assert found["policy"].bars[0] == 1_301
    with pytest.raises(RefusedError, match="51 its encoder was pre-trained on"):
        ftray.backtest_policy(made.policy, made.later, from_=LATER)


def test_every_look_is_recorded_and_the_second_one_says_that_it_is_one(made):
    said = []
    ftray.backtest_policy(made.policy, made.later, to=at(1_400), say=said.append)
    assert said == []
    first = made.events()[0]
    assert (first["trial"], first["policy"], first["forced"]) == ("trial-0000", "trials/trial-0000/policy", [])
    assert set(first["figures"]) >= {"policy", "equal_weight", "hold_AAVE"}
    (look,) = Ledger(made.run.path.parent).read().looks
    assert (look.kind, look.run, look.trial, look.at) == (LookKind.LATER, made.run.id, "trial-0000", first["at"])
    assert look.bars.windows == ((f"{LATER}T00:00:00", at(1_400)),)

    ftray.backtest_policy(made.policy, made.later, from_=at(1_400), say=said.append)
    assert said == []  # other bars
    ftray.backtest_policy(made.policy, made.later, say=said.append)
    assert "looked at 2 times before" in said[0] and "one, trial-0000: judged on 2020-02-20T00:00:00 to" in said[1]
    assert len(made.events()) == len(Ledger(made.run.path.parent).read().looks) == 3


def test_a_forced_read_of_test_bars_counts_as_one_of_the_test_window(made):
    ftray.backtest_policy(made.policy, made.later, from_=at(1_100), force=True)
    (read,) = reads_of(made.run.events())
    assert read.trial == "trial-0000" and "ftray backtest --force on 2020-02-15T20:00:00 to" in read.forced[0]


def test_a_policy_of_no_run_keeps_its_looks_next_to_its_folder(made, tmp_path):
    shutil.copytree(made.policy.folder, tmp_path / "deployed" / "policy")
    policy, said = ftray.load_policy(tmp_path / "deployed" / "policy"), []
    for _ in range(2):
        ftray.backtest_policy(policy, made.later, say=said.append)
    assert len(Ledger(tmp_path / "deployed").read().looks) == 2 and "looked at once before" in said[0]
    with pytest.raises(RefusedError, match="this one lies nowhere: save it"):
        ftray.backtest_policy(Policy(policy.network, policy.scaler, policy.facts), made.later)


def test_simulated_candles_are_in_no_ledger(made):
    ftray.backtest_policy(made.policy, SimulatorSpec(n_assets=2, n_bars=1_500))
    assert len(made.events()) == 1 and Ledger(made.run.path.parent).read().looks == ()


def test_while_another_process_drives_the_study_no_look_is_made(made):
    with made.run.driven(), pytest.raises(RunFolderError, match="is being run by another process"):
        ftray.backtest_policy(made.policy, made.later)


def test_candles_without_later_bars_are_refused_with_what_they_hold(made):
    with pytest.raises(
        DataError, match=r"there are 0 after 2020-02-19 23:00:00, the last that it has seen: .* to 2020-02-19"
    ):
        ftray.backtest_policy(made.policy, made.own)
    with pytest.raises(DataError, match="there are 0 from 2020-02-20 on before 2020-02-20: the candles have"):
        ftray.backtest_policy(made.policy, made.later, from_=LATER, to=LATER)


def test_without_bars_before_the_first_ones_cannot_be_decided_on(made):
    said = []
    found = ftray.backtest_policy(made.policy, part(KNOWN, 1_500), say=said.append)
    wait = FEATURES.warm_up + FEATURES.lookback - 1
    assert found["policy"].bars[0] == wait
    assert f"{wait} bars before it have no unbroken run of {wait + 1} bars behind them" in said[0]


def forget(facts):
    """A policy folder as ftray 0.2 wrote it."""
    del facts["candles"], facts["windows"]


def test_a_policy_of_an_earlier_version_is_judged_while_its_candles_are_there(made):
    change_facts(made, forget)
    found = ftray.backtest_policy(made.policy, made.later)
    assert found["policy"].bars[0] == KNOWN
    assert judge_folder(made.run.location, None, "validation")[1]["policy"].performance()["n_bars"] > 0
    write(made.own, CANDLES)  # appended: its windows would be other ones
    reason = "nobody knows which ones it has seen: an earlier version wrote no times into its folder .*changed since"
    with pytest.raises(RefusedError, match=reason):
        ftray.backtest_policy(made.policy, made.later, from_=LATER)
    forced = ftray.backtest_policy(made.policy, made.later, from_=LATER, force=True)
    assert np.array_equal(forced["policy"].equity, found["policy"].equity)
    assert "nobody knows" in made.events()[-1]["forced"][0]


def test_bars_of_another_length_are_refused_where_an_earlier_version_recorded_it_in_the_trial_alone(made):
    change_facts(made, forget)
    write(made.own, CANDLES)  # nobody knows which bars it has seen
    with pytest.raises(DataError, match="decides on bars of 1h, and these candles are of 30m"):
        ftray.backtest_policy(made.policy, halved(part(0, 1_500)), force=True)


def test_where_no_version_recorded_the_length_of_bars_a_look_says_so(made):
    change_facts(made, lambda facts: (forget(facts), facts["trial"]["market"].pop("interval")))
    write(made.own, CANDLES)
    said = []
    ftray.backtest_policy(made.policy, made.later, from_=LATER, force=True, say=said.append)
    assert "did not record on bars of which length this policy decides; these are of 1h" in said[0]
    change_facts(made, lambda facts: facts["trial"]["market"].update(interval="1h"))
    said.clear()
    ftray.backtest_policy(made.policy, made.later, from_=LATER, force=True, say=said.append)
    assert said and not any("which length" in line for line in said)


@pytest.mark.parametrize("change", [lambda facts: None, forget], ids=["this version", "an earlier version"])
def test_a_dataset_of_bars_of_another_length_is_refused(made, change):
    change_facts(made, change)
    policy = made.policy
    spec = parse(TrialSpec, policy.facts["trial"])
    dataset = build_dataset(spec.market, spec.windows, spec.features)
    assert judge(policy, spec, dataset)["policy"].performance()["n_bars"] > 0
    other = dataclasses.replace(dataset, candles=halved(dataset.candles))
    with pytest.raises(DataError, match="decides on bars of 1h, and these candles are of 30m"):
        judge(policy, spec, other)


def test_the_command_judges_a_run_on_later_candles(made, capsys):
    assert main(["backtest", str(made.run.path), "--market", str(made.later), "--to", "2020-03-01"]) == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("policy", "equal_weight", "exposure_matched", "hold_AAVE", "Sharpe"))
    assert "on later candles, 2020-02-20" in printed
    folder = made.policy.folder.parent / "backtest-later"
    assert len(pd.read_parquet(folder / "equity.parquet")) == 239 and (folder / "performance.json").is_file()
    assert main(["backtest", str(made.policy.folder), "--market", str(made.later)]) == 0
    assert "looked at once before" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--from", "2020-02-20"], "--market PATH must name the candles that --from is about, and is missing"),
        (["--market", "later", "--window", "train"], "name one of the two"),
        (["--market", "nowhere"], "nowhere: no such folder"),
    ],
)
def test_options_that_do_not_go_together_are_refused(made, capsys, monkeypatch, options, message):
    monkeypatch.chdir(made.later.parent)
    assert main(["backtest", str(made.run.path), *options]) == 1
    assert message in capsys.readouterr().err
