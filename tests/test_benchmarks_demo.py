"""The demo's benchmark: what its claims mean, and that a stopped run goes on."""

import contextlib
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import demo

from ftray.runs import RunFolder
from ftray.study import load_study

pytestmark = pytest.mark.long  # users do not install the benchmarks, and they seldom change


RANKED = {"best": "trial-0000", "active_sharpe": 9.0, "luck_line": 3.0, "deflated": 0.97, "gate_opens": False}


def row(market, seed, clears=False):
    return {"market": market, "seed": seed, "clears": clears} | RANKED


def test_the_studies_are_those_of_the_readme_on_other_draws():
    shown = (Path(__file__).parents[1] / "README.md").read_text()
    noise = " ".join(f"--set {change}" for change in demo.MARKETS[demo.NOISE])
    assert f"ftray tune demo --set name=noise {noise}\n" in shown
    markets = {name: load_study("demo", changes).corner_trials[0].market for name, changes in demo.MARKETS.items()}
    assert markets[demo.DEMO].pattern != "none" and markets[demo.DEMO].leak == 0.0
    assert (markets[demo.NOISE].pattern, markets[demo.NOISE].drift, markets[demo.NOISE].leak) == ("none", 0.0, 0.0)
    assert markets[demo.DEMO].seed < demo.FIRST_SEED


def test_four_of_five_must_clear_on_the_demos_market_and_none_of_59_on_noise_bounds_them_by_5_percent():
    found = [row("demo", seed, clears=seed != 1) for seed in range(5)] + [row("noise", seed) for seed in range(59)]
    learned, noise = demo.claims_of(found)
    assert (learned["studies"], learned["clear"], learned["holds"]) == (5, 4, True)
    assert learned["bound"] == pytest.approx(0.343, abs=1e-3)  # Clopper and Pearson's, of 4 in 5
    assert noise["holds"] and 0.049 < noise["bound"] < 0.05
    few, lucky = demo.claims_of([row("demo", seed, clears=seed < 3) for seed in range(5)] + [row("noise", 1, True)])
    assert not few["holds"] and not lucky["holds"] and lucky["bound"] == 1.0


def test_a_study_none_of_whose_trials_has_a_rank_found_nothing(tmp_path):
    study = load_study("demo", demo.MARKETS[demo.NOISE])
    run = RunFolder.create(tmp_path / "noise", study.identity)
    run.add_trial("trial-0000", 0, "trial", {}, {"windows": {"kind": "single"}})
    run.trial_started("trial-0000")
    run.trial_ended("trial-0000", "COMPLETE", {"validation/active_sharpe": 99.0, "validation/round_trips": 1.0})
    found = demo.verdict_of(run)
    assert found["best"] is None and not found["clears"] and not found["gate_opens"] and found["hardly_trade"] == 1


def test_a_run_that_was_stopped_goes_on_and_other_settings_are_refused(tmp_path, monkeypatch):
    asked = []

    def study_of(market, seed, more, root):
        if len(asked) == 3:
            asked.append(None)
            raise KeyboardInterrupt
        asked.append((market, seed))
        return None, 1.0

    monkeypatch.setattr(demo, "study_of", study_of)
    monkeypatch.setattr(demo, "shared_ray", contextlib.nullcontext)
    monkeypatch.setattr(demo, "verdict_of", lambda run: RANKED | {"clears": False})
    command = ["--seeds", "2", "--noise", "3", "--json", str(tmp_path / "demo.json")]
    with pytest.raises(KeyboardInterrupt):
        demo.main(command)
    demo.main(command)
    assert len(asked) == len(set(asked)) == 6
    assert len(json.loads((tmp_path / "demo.json").read_text())["rows"]) == 5
    with pytest.raises(SystemExit, match="rows of other settings"):
        demo.main([*command, "--quick"])


@pytest.mark.ray
def test_a_quick_run_has_a_study_of_each_market(tmp_path):
    demo.main(["--quick", "--json", str(tmp_path / "demo.json")])
    held = json.loads((tmp_path / "demo.json").read_text())
    assert [(one["market"], one["seed"]) for one in held["rows"]] == [("demo", 101), ("noise", 101)]
    assert [one["studies"] for one in held["claims"]] == [1, 1]
