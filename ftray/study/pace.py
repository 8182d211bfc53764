"""How long trials take, from trials that have ended: seconds per env step of a shape, on a GPU or without one.

Takes: run folders. Gives: `Paces`. What does not affect speed (learning rates, seeds, weights) is not part of
a shape; GPU models are not distinguished.
"""

import contextlib
import dataclasses
import statistics
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ftray.capacity.placement import cpus
from ftray.errors import FtrayError
from ftray.metrics import CPU_SECONDS, GPU_SECONDS
from ftray.runs import RunFolder
from ftray.runs.records import JobKind
from ftray.spec import fingerprint, parse, to_mapping
from ftray.storage import Location, Mirror, is_url, join
from ftray.trial import TrialSpec, place_trial
from ftray.trial.vram import layout_of

IDLE = {
    "ppo": {
        *("env_steps", "learning_rate", "fine_tune_factor", "fine_tune_warm_up", "gamma", "gae_lambda", "clip"),
        *("entropy", "value_weight", "grad_clip", "reward_scale"),
    },
    "encoder": {"pretrained", "dropout"},
}
"""Fields that change what is learned, not how fast."""


@dataclasses.dataclass(frozen=True)
class Pace:
    """seconds: per env step, the median of n trials."""

    seconds: float
    n: int


class Paces:
    """The paces of all complete trials in run folders."""

    def __init__(self, runs: Location):
        found: defaultdict[tuple[str, bool], list[float]] = defaultdict(list)
        for run in _runs_in(runs):
            for record in run.records():
                if record.state != "COMPLETE" or record.kind != JobKind.TRIAL:
                    continue
                with contextlib.suppress(FtrayError):  # of another version
                    spec = parse(TrialSpec, record.spec)
                    steps, spent = record.metrics.get("env_steps"), record.metrics.get(CPU_SECONDS)
                    booked = cpus(place_trial(spec, ()).bundles)
                    if steps and spent and booked:
                        on_gpu = bool(record.metrics.get(GPU_SECONDS))
                        found[speed_shape(spec), on_gpu].append(spent / booked / steps)
        self._found = {key: Pace(statistics.median(seconds), len(seconds)) for key, seconds in found.items()}

    def of(self, spec: TrialSpec, on_gpu: bool) -> Pace | None:
        """None where no such trial has ended yet."""
        return self._found.get((speed_shape(spec), on_gpu))


def speed_shape(spec: TrialSpec) -> str:
    """A name that trials of the same speed share."""
    layout = layout_of(spec)
    parts: dict[str, Any] = {}
    for name, idle in IDLE.items():
        parts[name] = {key: value for key, value in to_mapping(getattr(spec, name)).items() if key not in idle}
    return fingerprint([layout.n_assets, layout.n_indicators, layout.lookback], parts)


def _runs_in(runs: Location) -> Iterator[RunFolder]:
    """The run folders at a location; none if it does not exist."""
    if is_url(runs):
        names = Mirror(runs, "read").folders()
    else:
        names = sorted(path.parent.name for path in Path(runs).glob("*/study.json"))
    for name in names:
        with contextlib.suppress(FtrayError, OSError):
            yield RunFolder.open(join(runs, name))
