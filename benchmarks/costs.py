"""A profile's own times, grouped by what they are for.

Takes: a call. Gives: seconds by group. A function that belongs to no group (numpy's, torch's operators, RLlib's driving
loop) is charged to those that called it, in proportion to the time they spent in it.
"""

import cProfile
import pstats
import re
from collections.abc import Callable
from typing import Any

GROUPS: tuple[tuple[str, str], ...] = (
    ("backward", r"run_backward|torch/autograd/|torch/_tensor\.py:backward"),
    ("optimiser", r"torch/optim/|clip_grad|torch/nn/utils/|rllib/core/learner/.*(gradients|apply)"),
    ("advantages", r"agent/advantages|advantage_estimation|rllib/evaluation/|value_predictions|compute_returns"),
    ("minibatches", r"agent/minibatches|minibatch_utils|policy/sample_batch|common/buffers"),
    ("environment", r"ftray/trading|ftray/features|benchmarks/rivals|gymnasium/"),
    ("metrics", r"rllib/utils/metrics|stable_baselines3/common/logger"),
    ("weight sync", r"sync_weights|get_state|set_state|load_state_dict|rllib/utils/checkpoints"),
    ("episodes", r"rllib/env/|infinite_lookback"),
    ("connectors", r"agent/connectors|rllib/connectors|rllib/utils/(spaces|numpy|torch_utils|framework)|/tree/"),
    ("loss", r"agent/loss|ppo_torch_learner|torch/distributions|rllib/(models|core/distribution)|common/distributions"),
    ("windows gathered", r"gather_windows"),
    ("forward", r"ftray/nets|agent/module|torch/nn/|rllib/core/(rl_module|models)|common/(policies|torch_layers)"),
)
"""What a `file:function` is for: the first that fits."""
REST = "the loop around it"


def costs_of(work: Callable[[], Any]) -> dict[str, float]:
    """Own seconds by group of one call, under cProfile: whatever runs long in many small functions looks slower."""
    profiler = cProfile.Profile()
    profiler.runcall(work)
    return grouped(pstats.Stats(profiler).stats)  # type: ignore[attr-defined]


def grouped(stats: dict[Any, Any]) -> dict[str, float]:
    """Seconds by group. stats: pstats' own, (file, line, function) → (_, _, own seconds, seconds, callers)."""
    costs: dict[str, float] = {}
    shares: dict[Any, dict[str, float]] = {}
    for function, (_, _, own, _, _) in stats.items():
        for group, share in _shares(function, stats, shares, ()).items():
            costs[group] = costs.get(group, 0.0) + own * share
    return costs


def _shares(function: Any, stats: dict[Any, Any], known: dict[Any, dict[str, float]], path: tuple[Any, ...]) -> Any:
    """The groups that a function works for, and how much of its time each of them gets."""
    if function in known:
        return known[function]
    file, _, name = function
    place = f"{file.replace(chr(92), '/')}:{name}"
    group = next((group for group, pattern in GROUPS if re.search(pattern, place)), None)
    if group:
        known[function] = {group: 1.0}
        return known[function]
    callers = {who: calls[3] for who, calls in stats[function][4].items() if who not in path and who != function}
    total, shares = sum(callers.values()), {}
    if total <= 0:
        return {REST: 1.0}
    for who, seconds in callers.items():
        for group, share in _shares(who, stats, known, (*path, function)).items():
            shares[group] = shares.get(group, 0.0) + share * seconds / total
    if not path:  # along a path, callers that lead back were left out
        known[function] = shares
    return shares
