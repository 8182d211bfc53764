"""What must hold for the trials of a study together: one judge, plug-ins that it names, losses that compare.

Takes: a search space, the trials at its corners. Gives: an error that says what must hold and what to do instead.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from ftray.errors import RunFolderError, SpecError
from ftray.runs import RunFolder
from ftray.search.samplers import SAMPLERS
from ftray.search.space import Param, Space
from ftray.spec import NUMBER, parse, to_mapping
from ftray.trial.judging import class_of, judge_of
from ftray.trial.spec import TrialSpec

INSTEAD = (
    "it judges the trials of a study, which must be judged alike to compare. Give it one value, and compare values by "
    "a study for each: for VALUE in ...; do ftray tune FILE --set name=NAME_$VALUE --set {}=$VALUE; done; "
    "ftray.open_studies shows them in one table"
)


def check_searched_fields(space: Space) -> None:
    """Refuses a range in a field that judges trials, at whatever depth."""
    for param in space.params.values():
        if class_of(param.path[1:]) == "judge":
            raise SpecError(f"must be no range: {INSTEAD.format('.'.join(param.path))}", param.path)


def check_options(space: Space, trials: Iterable[TrialSpec]) -> None:
    """Refuses a text among the options of a number: its trials would not compare with those of the same number.

    trials: those at the corners of the space.
    """
    for param in space.params.values():
        texts = [one for one in param.extremes() if isinstance(one, str) and re.fullmatch(NUMBER, one)]
        if texts and not param.subtrees and any(isinstance(_value_of(one, param), float) for one in trials):
            raise SpecError(f"must be numbers, got the text {texts[0]!r}: write it without quotes", param.path)


def _value_of(trial: TrialSpec, param: Param) -> Any:
    """What a trial has for a search parameter; None where it has no such field."""
    node = to_mapping(trial)
    for name in param.path[1:]:
        node = node.get(name) if isinstance(node, dict) else None
    return node


def check_one_judge(trials: Sequence[TrialSpec]) -> None:
    """Refuses trials that differ in what judges them, because an option of a choice further out sets it."""
    first = judge_of(trials[0])
    for trial in trials[1:]:
        other = judge_of(trial)
        for name in dict.fromkeys((*first, *other)):
            if first.get(name) != other.get(name):
                path = ("trial", *name.split("."))
                raise SpecError(
                    f"must be the same in every option of a choice, got {first.get(name)!r} and {other.get(name)!r}: "
                    + INSTEAD.format(".".join(path)),
                    path,
                )


def check_judged_alike(run: RunFolder, trial: TrialSpec) -> None:
    """Refuses to continue a study whose trials an earlier version judged each on windows of its own.

    trial: any of those that the study would run now.
    """
    judge = judge_of(trial)
    for record in run.records():
        if record.number is not None and judge_of(parse(TrialSpec, record.spec, path=("trial",))) != judge:
            raise RunFolderError(
                f"{run.where} has {record.id}, which an earlier version of ftray validated on windows that its own "
                "lookback and indicators decided. New trials share one window and would not compare with it: run the "
                "study again under another name (--set name=NAME)"
            )


def check_plugins(named: Iterable[str], sampler: str, trials: Iterable[TrialSpec]) -> None:
    """Refuses a member of a module that this process imported, and no other process of the study would.

    named: the modules that the study names. sampler: its kind.
    """
    used = [SAMPLERS.sources([sampler]), *(trial.plugins for trial in trials)]
    packages = {module.partition(".")[0] for module in named}
    for module in dict.fromkeys(module for one in used for module in one):
        if module.partition(".")[0] not in packages:
            raise SpecError(f"must name {module}, as the study uses what it registers", ("plugins",))


def check_pretraining(trials: Iterable[TrialSpec]) -> None:
    """Refuses a search for pre-training where there is none, or several losses that cannot be compared."""
    for trial in trials:
        if trial.encoder_to_pretrain is None:
            raise SpecError("a search for pre-training needs kind: ft and pretrained: auto", ("trial", "encoder"))
        if trial.n_folds > 1:
            raise SpecError(
                f"a search for pre-training compares losses on one fold, not on {trial.n_folds}: leave windows out",
                ("trial", "windows"),
            )
