"""The state of an environment, in which a checkpoint continues to the last bit.

Takes: what `VectorTradingEnv.get_state` gave, perhaps by another environment. Gives: its arrays and its random state,
if they are of an environment like this one.

Legend: E accounts.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from ftray.errors import WeightsError
from ftray.numeric import written


def random_text(random: np.random.Generator) -> str:
    """The state of a random generator as JSON, which `read_state` reads."""
    return json.dumps(random.bit_generator.state)


def read_state(
    state: Any, ours: Mapping[str, np.ndarray], n_bars: int, random: np.random.Generator
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of a state, copied, and the state of its random generator.

    ours: arrays by name, of whose shapes and types those must be. n_bars: of the candles. random: of what kind the
    generator must be.

    Raises: WeightsError with the first difference.
    """
    names = [*ours, "random"]
    if not isinstance(state, Mapping) or any(name not in state for name in names):
        raise WeightsError(f"a state must have {', '.join(names)}, as get_state gives it; got {written(state)}")
    found = {name: _array(name, state[name], array) for name, array in ours.items()}
    bars, ends = found["bars"], found["ends"]
    if not ((bars >= 0) & (bars <= ends) & (ends < n_bars) & ((bars < ends) | found["ended"])).all():
        raise WeightsError(
            f"a state must be of an environment with the same candles: its episodes are at bars up to {bars.max()}, "
            f"they end at bars up to {ends.max()}, and there are {n_bars}"
        )
    return found, _random_state(state["random"], random)


def _array(name: str, theirs: Any, ours: np.ndarray) -> np.ndarray:
    try:
        found = np.array(theirs)
    except (ValueError, TypeError, RuntimeError):
        found = np.array(None)
    if (found.shape, found.dtype.kind) != (ours.shape, ours.dtype.kind):
        raise WeightsError(
            f"a state must be of an environment with the same arguments: {name} has the shape {found.shape} and the "
            f"type {found.dtype} there, {ours.shape} and {ours.dtype} here"
        )
    return found.astype(ours.dtype, copy=False)


def _random_state(text: Any, random: np.random.Generator) -> dict[str, Any]:
    """What the text of a random state says, if a generator of this kind takes it."""
    try:
        found = json.loads(str(text))
        type(random.bit_generator)().state = found
    except (ValueError, TypeError, LookupError, OverflowError) as error:
        raise WeightsError(
            f"a state's `random` must be as get_state gives it, got {written(text)}: {error!r}"
        ) from None
    return found
