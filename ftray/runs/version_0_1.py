"""Converts what version 0.1 stored to this version's form: every reader of a stored study or trial uses it.

In version 0.1 the market's rules were directly in a trial's `trading`; now they are in `trading.rules`. Features were
scaled by mean and standard deviation alone: `features.scaling` was what is `moments` now. And
`search.scheduler.min_pairs` was called `least_pairs`.

Takes: plain mappings from study.json, events, tables and policies, of any version. Gives: plain mappings.
"""

import json
from collections.abc import Mapping
from typing import Any

RULES = ("fee", "slippage", "impact", "min_order", "initial_cash", "fill")


def upgrade_trial(trial: Mapping[str, Any]) -> dict[str, Any]:
    """A trial's spec, as its run folder or its policy has it: with all fields."""
    upgraded, features = _upgrade_rules(trial), trial.get("features")
    if isinstance(features, Mapping) and "scaling" not in features:
        upgraded["features"] = {**features, "scaling": "moments"}
    return upgraded


def _upgrade_rules(trial: Mapping[str, Any]) -> dict[str, Any]:
    """A trial's spec, or the tree of a study's trial, with the market's rules where they are now.

    A rule that was searched stays where it was: that study's values and tables name it by its path.
    """
    trading = trial.get("trading")
    if not isinstance(trading, Mapping):
        return dict(trial)
    rules = {key: value for key, value in trading.items() if key in RULES and not isinstance(value, Mapping)}
    if not rules:
        return dict(trial)
    return {**trial, "trading": {"rules": rules, **{key: trading[key] for key in trading if key not in rules}}}


def upgrade_study(study: Mapping[str, Any]) -> dict[str, Any]:
    """A study's mapping, as `study.json` has it."""
    upgraded = dict(study)
    if isinstance(study.get("trial"), Mapping):
        upgraded["trial"] = _upgrade_rules(study["trial"])
    scheduler = (study.get("search") or {}).get("scheduler")
    if isinstance(scheduler, Mapping) and "least_pairs" in scheduler:
        renamed = {"min_pairs" if key == "least_pairs" else key: value for key, value in scheduler.items()}
        upgraded["search"] = {**study["search"], "scheduler": renamed}
    return upgraded


def read_spec(text: str) -> dict[str, Any]:
    """A trial's spec from its JSON in the tables."""
    return upgrade_trial(json.loads(text))
