"""What a process of a study is called in Ray's dashboard, `ps`, `top` and `nvidia-smi`: after the trial it works for.

Ray's dashboard shows `repr(actor)`. Ray reads it once, when the actor has been made, and cannot change it later: where
there is a dashboard, each trial needs an actor of its own.
"""

from typing import Any

from ray._private.worker import get_dashboard_url
from ray._raylet import setproctitle  # type: ignore[attr-defined]  # missing in Ray's stub alone


def name_process(actor: Any, name: str) -> None:
    """Gives the process the title `ray::NAME`; to be called in a task of the actor that the process holds.

    Ray sets a title of its own when a task begins (`ray::ImplicitFunc.train`), so that each task must set ours again,
    and another one when the task ends: `ray::` and the name of the actor's class. That class is Ray's wrapper around
    ours, made for this one actor, so it takes the name.
    """
    type(actor).__name__ = name
    setproctitle(f"ray::{name}")


def has_dashboard() -> bool:
    """Whether the running Ray has a dashboard, where a user may look for a trial's name."""
    return bool(get_dashboard_url())
