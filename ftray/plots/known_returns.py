"""What the probes of an encoder card know of coming returns, in words and as a table.

Takes: the content of `encoder_card.json`. Gives: texts. Cards of versions that measured no returns have none.
"""

from collections.abc import Iterable, Mapping
from typing import Any

VECTORS = {
    "encoder": "pooled vector",
    "tokens": "all tokens",
    "random_encoder": "untrained pooled vector",
    "last_bar": "last bar, raw",
    "window": "whole window, raw",
}
"""What the probes read."""

MARGIN = 0.1
"""Share of the tokens' R² that the pooled vector may miss: a ridge reads a turned copy of a vector a little worse."""


def describe_pooled(card: Mapping[str, Any]) -> str:
    """Whether the pooled vector lost what the tokens know of coming returns, in one sentence.

    The tokens know of the return over a horizon if the 95 % interval of their R² lies above 0. There is a loss if the
    interval of the pooled vector's R² less theirs, on the same bars, lies below −10 % of theirs.

    card: of `Study.encoder_card`; without probes of returns, the sentence says that nothing was measured.
    """
    horizons = _returns(card).get("horizons") or {}
    measured = {ahead: found for ahead, found in horizons.items() if found["skill"]["tokens"]}
    if not measured:
        return "What the pooled vector knows of coming returns was not measured."
    known = {ahead: found for ahead, found in measured.items() if found["skill"]["tokens"]["low"] > 0}
    if not known:
        return f"The pooled vector had nothing to lose: all tokens know no return of the {_next(measured)}."
    lost = {ahead: found for ahead, found in known.items() if _is_lost(found)}
    kept = {ahead: found for ahead, found in known.items() if ahead not in lost}
    what = "of what all tokens know of the return of the"
    if not lost:
        return f"The pooled vector shows no loss {what} {_with_r2(kept)}."
    but = f", but shows no such loss for the {_with_r2(kept)}" if kept else ""
    return f"The pooled vector lost more than a tenth {what} {_with_r2(lost)}{but}."


def known_returns(card: Mapping[str, Any]) -> list[list[str]]:
    """What a ridge on each vector knows of coming returns: a row of titles, and a row of texts per vector.

    Of each horizon the R² out of sample and its 95 % interval, in percent; below 0 the vector misleads.

    card: of `Study.encoder_card`; without probes of returns, there are no rows.
    """
    found = _returns(card)
    horizons = found.get("horizons") or {}
    if not horizons:
        return []
    titles = ["R² in % [95 % interval]", "numbers", *map(_next, ([ahead] for ahead in horizons))]
    cells = {name: [_percent(one["skill"][name]) for one in horizons.values()] for name in found["n_inputs"]}
    rows = [[VECTORS.get(name, name), f"{found['n_inputs'][name]:,}", *row] for name, row in cells.items()]
    return [titles, *rows]


def describe_known_returns(card: Mapping[str, Any]) -> str:
    """What the table of `known_returns` shows, in one sentence.

    card: of `Study.encoder_card`, with probes of returns.
    """
    n_bars = _returns(card)["n_bars"]
    return (
        "What a ridge on each vector knows of all assets' coming returns, relative to their volatility; fitted on "
        f"{n_bars['fit']:,} bars, scored on {n_bars['scored']:,} later ones of the train windows."
    )


def _returns(card: Mapping[str, Any]) -> Mapping[str, Any]:
    return (card["figures"] or {}).get("returns") or {}


def _is_lost(found: Mapping[str, Any]) -> bool:
    return found["gain"]["tokens"]["high"] < -MARGIN * found["skill"]["tokens"]["mean"]


def _with_r2(horizons: Mapping[str, Any]) -> str:
    """Horizons, and the R² of the pooled vector and of all tokens.

    >>> _with_r2({"4": {"skill": {"encoder": {"mean": 0.012}, "tokens": {"mean": 0.0583}}}})
    'next 4 bars (R² 1.2 %, theirs 5.8 %)'
    """
    own, theirs = (
        ", ".join(f"{_rounded(found['skill'][name]['mean'])} %" for found in horizons.values())
        for name in ("encoder", "tokens")
    )
    return f"{_next(horizons)} (R² {own}, theirs {theirs})"


def _next(horizons: Iterable[str]) -> str:
    """
    >>> _next(["1"]), _next(["4"]), _next(["1", "4", "24"])
    ('next bar', 'next 4 bars', 'next 1, 4 and 24 bars')
    """
    *others, last = horizons
    if others:
        return f"next {', '.join(others)} and {last} bars"
    return "next bar" if last == "1" else f"next {last} bars"


def _percent(skill: Mapping[str, float] | None) -> str:
    """
    >>> _percent({"mean": -1e-6, "low": -0.0123, "high": 0.2}), _percent(None)
    ('0.0 [-1.2, 20.0]', '-')
    """
    if skill is None:
        return "-"
    return f"{_rounded(skill['mean'])} [{_rounded(skill['low'])}, {_rounded(skill['high'])}]"


def _rounded(fraction: float) -> str:
    """A fraction in percent; no zero has a sign."""
    return f"{round(100 * fraction, 1) + 0.0:.1f}"
