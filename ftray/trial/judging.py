"""Which fields of a trial its policy may choose, and which ones judge it.

A study compares trials, so all of them must be judged alike: on the same market and windows, under the same rules, with
the same seeds. A search chooses among the policy's fields alone.

Takes: trees of trials, `TrialSpec`s. Gives: the class of a field, and what judges a trial.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, Literal

from ftray.spec import to_mapping
from ftray.trial.spec import TrialSpec

FieldClass = Literal["policy", "judge"]

FIELDS: Mapping[str, FieldClass] = {
    "market": "judge",
    "windows": "judge",
    "features": "policy",
    "encoder": "policy",
    "pretraining": "policy",
    "trading.rules": "judge",
    "trading.reward": "policy",
    "trading.turnover_penalty": "policy",
    "trading.no_trade": "policy",
    "trading.episode_bars": "policy",
    "trading.accounts_per_bar": "policy",
    "ppo": "policy",
    "seed": "judge",
    "seeds": "judge",
    "select": "judge",
    "onnx": "policy",
}
"""The class of every field of a trial, by its path; of a section, of all fields in it, those of plug-ins, too."""

JUDGE = tuple(path for path, class_ in FIELDS.items() if class_ == "judge")
"""Paths of the fields that judge a trial."""


def class_of(path: Sequence[str]) -> FieldClass | None:
    """The class of the field at a path below `trial`; None for a section that holds fields of both, or no field."""
    names = (".".join(path[:n]) for n in range(1, len(path) + 1))
    return next((FIELDS[name] for name in names if name in FIELDS), None)


def judge_of(trial: TrialSpec) -> dict[str, Any]:
    """What judges a trial: the path of each field → its plain value."""
    return {name: value for path in JUDGE for name, value in _leaves(path, to_mapping(attrgetter(path)(trial)))}


def common_reach(trials: Iterable[TrialSpec]) -> dict[str, int]:
    """The largest lookback and warm-up of trials, where they vary: what windows have to give that judge all of them."""
    reaches = [trial.features.reach for trial in trials]
    found = {name: [getattr(reach, name) for reach in reaches] for name in ("lookback", "warm_up")}
    return {name: max(bars) for name, bars in found.items() if min(bars) < max(bars)}


def with_reach(trial: TrialSpec, reach: Mapping[str, int]) -> TrialSpec:
    """The trial with the reach of its study (`common_reach`) in its windows, where they give none themselves."""
    given = {name: bars for name, bars in reach.items() if getattr(trial.windows, name) is None}
    return dataclasses.replace(trial, windows=dataclasses.replace(trial.windows, **given)) if given else trial


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The values of a plain tree, with their paths."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(f"{path}.{name}", inner)
    else:
        yield path, value
