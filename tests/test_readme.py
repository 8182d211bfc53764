"""The README's snippets are short, run as they stand, and do what is said of them."""

import math
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

README = Path(__file__).parents[1] / "README.md"
SNIPPETS = dict(re.findall(r"<!-- snippet: (.+?) -->\n```python\n(.+?)```", README.read_text(), re.DOTALL))


@pytest.fixture
def run(cluster, tmp_path, monkeypatch) -> Callable[[str], dict[str, Any]]:
    """Runs a snippet in an empty folder; what it leaves behind."""
    monkeypatch.chdir(tmp_path)

    def run(name: str) -> dict[str, Any]:
        names: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(SNIPPETS[name], f"README.md, {name}", "exec"), names)
        return names

    return run


def test_the_readme_has_four_snippets_of_under_twenty_lines():
    assert set(SNIPPETS) == {"your own PPOConfig", "one trial", "a plain Optuna objective", "ask your results"}
    for name, code in SNIPPETS.items():
        assert len(code.splitlines()) < 20, name


def test_results_are_asked_in_a_few_lines(tmp_path, monkeypatch, capsys):
    shutil.copytree(Path(__file__).parent / "runs" / "format_1", tmp_path / "runs" / "demo")
    monkeypatch.chdir(tmp_path)
    exec(compile(SNIPPETS["ask your results"], "README.md, ask your results", "exec"), {})
    out = capsys.readouterr().out
    assert "trial-0003" in out and "luck line" in out and "improvement" in out
    assert (tmp_path / "encoders.html").stat().st_size > 10_000


@pytest.mark.ray
def test_the_encoder_learns_in_a_ppo_config_of_ones_own(run):
    left = run("your own PPOConfig")
    result, learner = left["result"], left["result"]["learners"]["default_policy"]
    assert result["num_env_steps_sampled_lifetime"] == 256
    assert math.isfinite(learner["total_loss"]) and learner["mean_kl_loss"] > 0.0  # the policy moved
    assert math.isfinite(result["env_runners"]["episode_return_mean"])
    left["algorithm"].stop()


@pytest.mark.ray
def test_a_trial_is_a_function_that_leaves_a_policy_behind(run, capsys):
    left = run("one trial")
    assert left["figures"]["env_steps"] == 512 and math.isfinite(left["figures"]["validation/sharpe"])
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines() if line] == ["256", "512"]
    policy = left["policy"]
    action = policy(np.zeros(policy.layout.size, np.float32))
    assert policy.layout.size == 5_888 and action.shape == (7,)
    assert (Path("runs/one/policy") / "policy.onnx").is_file()


@pytest.mark.ray
def test_an_optuna_objective_needs_no_ray_tune(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)  # four policies without the extra: an export takes 7 s
    left = run("a plain Optuna objective")
    study = left["study"]
    assert math.isfinite(study.best_value) and study.best_params["hidden"] % 64 == 0
    assert [sorted(trial.intermediate_values)[0] for trial in study.trials] == [256] * 3
    assert len(list(Path("runs/data").iterdir())) == 1  # prepared once for all
    strict = optuna.create_study(pruner=optuna.pruners.ThresholdPruner(lower=1e9))
    strict.optimize(left["objective"], n_trials=1)
    assert [(trial.state, list(trial.intermediate_values)) for trial in strict.trials] == [(TrialState.PRUNED, [256])]
