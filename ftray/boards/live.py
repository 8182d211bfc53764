"""What the live page shows, as plain values: cheap enough to be asked every other second, of 1,000 trials too.

Takes: a study. Gives: rows, frames, texts. `app` draws them.
"""

import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

from ftray.analysis.failures import failure_rows
from ftray.analysis.leaderboard import encoder_rows, is_benchmark, leaderboard_rows
from ftray.analysis.looks import looks_elsewhere
from ftray.analysis.luck import describe_luck_of_best, scored_trials
from ftray.analysis.ranking import describe_hardly_trading, rank_trials
from ftray.analysis.study import Study
from ftray.analysis.test_window import describe_reads
from ftray.boards.status import StudyStatus
from ftray.errors import NoResultError
from ftray.metrics import WALL_SECONDS, format_metric, metric_title
from ftray.plots.theme import SERIES, figure, integer_axis, metric_axis, series
from ftray.runs.records import JobKind
from ftray.tables.schema import Frame

MAX_POINTS = 200
"""Points per curve that a screen can show."""

MAX_CURVES = 6


class CachedStudy:
    """A study for the threads of a server: they ask one at a time, and each answer is kept as long as it holds.

    A question that took long is not asked again before ten times as long has passed: of a study of thousands of trials,
    in which one ends every second, a page takes a tenth of a core.
    """

    def __init__(self, study: Study, clock: Callable[[], float] = time.monotonic):
        self.study, self._clock = study, clock
        self._lock = threading.Lock()
        self._known: dict[str, _Answer] = {}
        self._turn, self._is_late = 0, False

    def stamp(self) -> str:
        """A text that changes whenever anything on the page does, or when a postponed answer is due."""
        with self._lock:
            trials = self.study.run.records()
            steps = [(t.state, t.metrics.get("env_steps") or t.metrics.get("epoch")) for t in trials]
            self._turn, self._is_late = self._turn + self._is_late, False
            return f"{self.study.is_done}-{len(steps)}-{hash(tuple(steps))}-{self._turn}"

    def n_ended(self) -> tuple[int, int]:
        """How many trials there are, and how many of them have ended."""
        with self._lock:
            states = [trial.state for trial in self.study.run.records()]
            return len(states), sum(state not in ("PENDING", "RUNNING") for state in states)

    def ask(self, name: str, of: Hashable, answer: Callable[[Study], Any]) -> Any:
        """The answer to a question, computed once for each value of `of`, which it depends on."""
        with self._lock:
            known, now = self._known.get(name), self._clock()
            if known is not None and known.of == of:
                return known.value
            if known is not None and now < known.not_before:
                self._is_late = True
                return known.value
            value = answer(self.study)
            ended = self._clock()
            self._known[name] = _Answer(of, value, ended + 10 * (ended - now))
            return value


class _Answer(NamedTuple):
    of: Hashable
    value: Any
    not_before: float


def describe_status(status: StudyStatus) -> list[tuple[str, str]]:
    """Titles and values of the tiles on top: states, time, time to go, cost."""
    total = "" if status.n_trials is None else f" of {status.n_trials:,}"
    tiles = [("trials ended", f"{status.n_ended:,}{total}")]
    tiles += [(state.lower(), f"{n:,}") for state, n in status.states.items()]
    tiles.append(("time", format_metric(WALL_SECONDS, status.seconds)))
    if not status.is_done:
        tiles.append(("to go, about", format_metric(WALL_SECONDS, status.left)))
    tiles.append(("CPU core hours", f"{status.cpu_seconds / 3600:,.2f}"))
    if status.gpu_seconds:
        tiles.append(("GPU hours", f"{status.gpu_seconds / 3600:,.2f}"))
    return tiles


def describe_state(status: StudyStatus) -> tuple[str, str]:
    """The state of a study in a word, and its explanation."""
    heard = "" if status.heard_at is None else f"last written to at {status.heard_at:%Y-%m-%d %H:%M:%S} UTC"
    if status.is_done:
        return "done", heard
    if status.silent:
        return "silent", f"{heard}; its driver may be gone: repeat its command to continue"
    if status.pretrains:
        return "running", f"{_some(status.pretrains)}: pre-training, no trial runs yet; {heard}"
    if status.runs:
        return "running", heard
    if status.stopped:
        return "stopped", status.stopped
    return "not running", heard


def describe_luck(study: Study) -> list[str]:
    """What belongs under a leaderboard: looks of other studies, what luck explains of its best trial, which trials
    hardly trade, and each read of the test window."""
    records, elsewhere = study.records(), looks_elsewhere(study.run)
    looks = elsewhere.describe(scored_trials(records))
    luck = describe_luck_of_best(records, study.objectives, study.constraints, elsewhere.n)
    idle = describe_hardly_trading(records, study.constraints)
    return [*looks, *luck, *idle, *describe_reads(study.run.events())]


def leaderboard_page(study: Study) -> list[dict[str, Any]]:
    """Rows of the leaderboard, benchmarks among them, each with an `id` of its own."""
    given = study.records(), study.objectives, study.constraints, study.run.benchmarks()
    rows = leaderboard_rows(*given, looks_elsewhere(study.run).n)
    values = {record.id: record.values for record in given[0]}
    return [
        row | {"id": row["trial"], "is_benchmark": is_benchmark(row)} | _flat(values.get(row["trial"], {}))
        for row in rows
    ]


def jobs_page(study: Study) -> list[dict[str, Any]]:
    """Pre-training jobs, best first."""
    return encoder_rows(study.records())


def failures_page(study: Study) -> list[dict[str, Any]]:
    """Failures by kind, the most frequent first: how many, the first one's error, which trials."""
    return [row | {"trials": _some(row["trials"])} for row in failure_rows(study.records())]


def shown_trials(study: Study) -> list[str]:
    """The trials whose curves are shown by default: those that run, then the best, then those without a rank."""
    records = [record for record in study.records() if record.kind != JobKind.PRETRAINING]
    running = [record.id for record in records if record.state == "RUNNING"]
    best = [record.id for record in rank_trials(records, study.objectives, study.constraints)]
    others = [record.id for record in records if record.id not in running]
    return list(dict.fromkeys([*running[: MAX_CURVES // 2], *best, *others]))[:MAX_CURVES]


def places_of_curves(shown: Sequence[str], chosen: Sequence[str]) -> list[str]:
    """The trials that are drawn, each in its place: its place gives a trial its colour, so that no click changes it.

    A chosen trial that is not shown yet takes a free place, else that of the last trial that nobody chose.
    """
    places = list(shown)
    for trial in chosen[: len(SERIES)]:
        if trial in places:
            continue
        if len(places) < len(SERIES):
            places.append(trial)
        else:
            last = max(i for i, one in enumerate(places) if one not in chosen)
            places[last] = trial
    return places


def trial_curves_data(study: Study, name: str, trials: Sequence[str]) -> dict[str, Frame]:
    """What each trial reported of a metric over its steps, thinned to what a screen can show.

    Trials that have not reported it are left out. Raises: QueryError for a metric that no trial can report.
    """
    curves = {}
    for trial in trials:
        try:
            rows = study.curve(trial, name)
        except NoResultError:  # it has not reported the metric yet
            continue
        every = max(1, -(-len(rows) // MAX_POINTS))
        thinned = rows.iloc[::every]
        if len(rows):
            curves[trial] = thinned if thinned.index[-1] == rows.index[-1] else _with_last(thinned, rows)
    return curves


def plot_trial_curves(
    curves: dict[str, Frame], name: str, places: Sequence[str] = (), chosen: Sequence[str] = ()
) -> Any:
    """A line per trial.

    curves: what `trial_curves_data` returns. name: the metric. places: of `places_of_curves`. chosen: trials that stand
    out.

    Raises: NoResultError where there is no curve yet.
    """
    if not curves:
        raise NoResultError(f"no trial has reported {name!r}")
    made = figure(f"Trials so far: {metric_title(name)}", "mean over a trial's finished trainings and the current one")
    looks = series(places or curves)
    for trial, rows in curves.items():
        look = looks[trial]
        steps = rows.columns[0]
        made.add_scatter(
            x=rows[steps].tolist(),
            y=rows[name].tolist(),
            name=trial,
            mode="lines+markers" if len(rows) < 30 else "lines",
            line={"color": look.color, "dash": look.dash, "width": 4 if trial in chosen else 2},
            marker={"symbol": look.symbol, "size": 7},
        )
        made.update_xaxes(title=metric_title(str(steps)), **integer_axis(rows[steps]))
    values = [value for rows in curves.values() for value in rows[name]]
    return made.update_yaxes(metric_axis(name, values))


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Sampled values as a grid shows and sorts them."""
    return {key: value if isinstance(value, int | float) else str(value) for key, value in values.items()}


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f", and {len(names) - 5} more" if len(names) > 5 else "")


def _with_last(thinned: Frame, rows: Frame) -> Frame:
    import pandas as pd

    return pd.concat([thinned, rows.iloc[[-1]]])
