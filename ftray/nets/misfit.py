"""Why weights do not fit a module, in the fields that its spec and its layout have: `d_token 64 there, 32 here`.

Takes: state mappings, of a market tower or of a whole policy network. Gives: what differs, as lines for people.
"""

import re
from collections.abc import Mapping

from torch import Tensor

SHAPED = {
    "d_token": ("cls", 0),
    "n_series": ("tokenizer.weight", 0),
    "lookback": ("tokenizer.weight", 1),
    "hidden": ("weight", 0),
    "n_features": ("weight", 1),
    "encoding_dim": ("projection.weight", 0),
}
"""Fields → the weight that has it, and which axis of its shape."""

NUMBERS = ("n_heads", "patch_length")
"""Fields that show in no shape, stored as numbers."""

KINDS = {"cls": "ft", "weight": "mlp"}
"""A weight that only the tower of this kind of encoder has → the kind."""

READOUTS = {"readout.queries": "assets", "readout.center": "forecasts"}
"""A weight that an FT-Transformer's tower has with this readout alone → the readout."""

SHOWN = 3
"""Names of weights that a message contains at most; a deep encoder has a hundred."""


def misfits(theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> list[str]:
    """What differs between weights that came and those of a module; empty if they fit.

    In fields where these say why; else in names and shapes of the first weights.
    """
    there, here = _fields(theirs), _fields(ours)
    if there.get("kind") != here.get("kind") and "kind" in there and "kind" in here:
        return [f"kind {there['kind']} there, {here['kind']} here"]
    fields = [
        f"{name} {there[name]} there, {number} here"
        for name, number in here.items()
        if there.get(name, number) != number
    ]
    return fields or _tensors(theirs, ours)


def _tensors(theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> list[str]:
    shapes = [
        f"{name} has the shape {tuple(theirs[name].shape)} there, {tuple(value.shape)} here"
        for name, value in ours.items()
        if name in theirs and theirs[name].shape != value.shape
    ]
    problems = shapes[:SHOWN] + [f"{len(shapes) - SHOWN} other weights have other shapes"] * (len(shapes) > SHOWN)
    for what, names in (("missing from", set(ours) - set(theirs)), ("unexpected in", set(theirs) - set(ours))):
        if names:
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            problems.append(f"{what} the weights: {', '.join(sorted(names)[:SHOWN])}{more}")
    return problems


def _fields(state: Mapping[str, Tensor]) -> dict[str, int | str]:
    """The fields that show in a state mapping."""
    tower = {re.sub(r"^(encoder\.)?(tower\.)?", "", name): value for name, value in state.items()}
    kind = next((kind for name, kind in KINDS.items() if name in tower), None)
    found: dict[str, int | str] = {} if kind is None else {"kind": kind}
    if kind == "ft":
        found["readout"] = next((readout for weight, readout in READOUTS.items() if weight in tower), "cls")
    shaped = {
        name: tower[weight].shape[axis]
        for name, (weight, axis) in SHAPED.items()
        if weight in tower and tower[weight].dim() > axis
    }
    numbers = {name: int(tower[name]) for name in NUMBERS if name in tower and tower[name].numel() == 1}
    blocks = {name.split(".")[1] for name in tower if name.startswith("blocks.") and name.split(".")[1].isdigit()}
    return found | shaped | ({"n_blocks": len(blocks)} if blocks else {}) | numbers
