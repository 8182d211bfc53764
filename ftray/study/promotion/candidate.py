"""What is promoted: a trial of a study, its configuration with fresh seeds, and whether training them is worth it."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ftray.analysis.ranking import best_trial, describe_hardly_trading
from ftray.errors import NoResultError, RefusedError
from ftray.metrics import ACTIVE_SHARPE, ROUND_TRIPS, format_metric
from ftray.runs import RunFolder, TrialRecord
from ftray.runs.records import JobKind
from ftray.say import Say
from ftray.search.objectives import constraints_of, hardly_trades, objectives_of
from ftray.study.promotion.gate import Draws, Gate, Metrics, hopeless
from ftray.study.promotion.training import is_trained
from ftray.trial import TrialSpec
from ftray.units import DURATION

Ask = Callable[[str], bool | None]
"""Asks a question that is answered by yes or no; None where nobody can be asked."""


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A trial of a run, and its configuration with fresh seeds. spec: the trial's. draws: what it was chosen from."""

    run: RunFolder
    record: TrialRecord
    spec: TrialSpec
    seeds: tuple[int, ...]
    draws: Draws

    @property
    def folder(self) -> Path:
        return self.run.path / "promoted" / self.record.id

    @property
    def folders(self) -> dict[int, Path]:
        return {seed: self.folder / f"seed-{seed}" for seed in self.seeds}

    @property
    def specs(self) -> dict[int, TrialSpec]:
        return {seed: dataclasses.replace(self.spec, seed=seed, seeds=1) for seed in self.seeds}

    @property
    def seconds(self) -> float | None:
        """What a fresh seed is likely to take: what a seed of the trial took, while other trials ran too."""
        wall = self.record.wall_seconds
        return None if wall is None else wall / self.spec.seeds

    def gate(self, seeds: Sequence[Metrics]) -> Gate:
        """What luck explains of some seeds."""
        return Gate.of(seeds, self.record.spec["windows"], self.draws, constraints_of(self.run.study))

    def hopeless(self, seeds: Sequence[Metrics]) -> str | None:
        """Why the seeds that are left after these cannot open the gate; None if they can."""
        n_left = len(self.seeds) - len(seeds)
        return hopeless(seeds, n_left, self.record.spec["windows"], self.draws, constraints_of(self.run.study))

    @property
    def doubts(self) -> list[str]:
        """What of the trial's own metrics fails at the gate, a line for each ratio.

        An active ratio that the trial never reported is not in doubt: an earlier version of ftray trained it.
        """
        shut = self.gate([self.record.metrics]).shut_by
        return [line for ratio, line in shut.items() if ratio != ACTIVE_SHARPE or ratio in self.record.metrics]


def chosen(run: RunFolder, trial: str | None) -> TrialRecord:
    """The trial of that name, or the best that is complete and feasible by the study's objectives.

    Raises: QueryError for an unknown name; NoResultError for a trial that is not complete, or if there is none;
        RefusedError for one that hardly trades.
    """
    constraints = constraints_of(run.study)
    if trial is not None:
        record = run.record(trial)
        if record.kind != JobKind.TRIAL or record.state != "COMPLETE":
            raise NoResultError(f"a promotion needs a complete trial, and {trial} is a {record.kind}, {record.state}")
        if hardly_trades(record.metrics, constraints):
            made, least = record.metrics[ROUND_TRIPS], [one for one in constraints if one.metric == ROUND_TRIPS][-1]
            raise RefusedError(
                f"a promotion needs a trial that trades, and {trial} made {format_metric(ROUND_TRIPS, made)} round "
                f"trips on the validation windows, where its study asks for {least}: with so few trades it has no "
                "Sharpe ratio that a test window could confirm. Promote another trial"
            )
        return record
    best = best_trial(run.records(), objectives_of(run.study), constraints)
    if best is None or best.kind != JobKind.TRIAL:
        why = "".join(f"\n{line}" for line in describe_hardly_trading(run.records(), constraints))
        raise NoResultError(
            f"a promotion needs a complete, feasible trial, and {run.path} has none; see: ftray results {run.path}{why}"
        )
    return best


def fresh_seeds(records: Iterable[TrialRecord], n: int) -> tuple[int, ...]:
    """The first `n` seeds beyond every one that the study trained with."""
    used = [record.spec["seed"] + record.spec["seeds"] for record in records if record.number is not None]
    first = max(used, default=0)
    return tuple(range(first, first + n))


def announce(candidate: Candidate, say: Say) -> None:
    """Prints what will be trained, and how long that is likely to take."""
    say(f"{candidate.record.id} on fresh seeds {', '.join(map(str, candidate.seeds))}, in {candidate.folder}")
    left = sum(not is_trained(folder) for folder in candidate.folders.values())
    if not left:
        return
    each, seeds = candidate.seconds, f"{left} {'seed' if left == 1 else 'seeds'}"
    if each is None:
        say(f"{seeds} to train; how long a seed of this trial takes is not known")
    else:
        took = f"a seed of this trial took {DURATION.format(each)} in the search"
        say(f"{seeds} to train, which is likely to take {DURATION.format(left * each)}: {took}")


def check_worth(candidate: Candidate, ask: Ask) -> None:
    """Asks whether to train where the trial's own metrics fail at the gate; whoever continues has agreed before.

    Raises: RefusedError if the answer is not yes.
    """
    doubts = candidate.doubts
    if not doubts or any(folder.exists() for folder in candidate.folders.values()):
        return
    why = (
        f"{candidate.record.id} will hardly pass: luck may explain what the search itself found ({'; '.join(doubts)}), "
        "and fresh seeds are rarely better than those that a search has chosen"
    )
    answer = ask(f"{why}.\nTrain {len(candidate.seeds)} fresh seeds all the same?")
    if not answer:
        unasked = "; there is no terminal to ask on" if answer is None else ""
        raise RefusedError(
            f"nothing was trained: {why}{unasked}. --yes trains them, and the test window stays closed unless they "
            "pass; --force reads it even if they do not, and is recorded"
        )
