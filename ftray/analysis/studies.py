"""Opening a study, or all studies of a folder as one.

Takes: the location of a run folder, or of a folder of them. Gives: a `Study`, or `Studies`.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ftray.analysis.best import Best, Scope
from ftray.analysis.queries import Queries
from ftray.analysis.study import Study
from ftray.errors import NoResultError, QueryError, RunFolderError
from ftray.runs.folder import RunFolder
from ftray.runs.location import is_run_folder, run_folders
from ftray.runs.records import TrialRecord
from ftray.spec import nearest
from ftray.storage import Location, join
from ftray.tables.bars import SPLIT
from ftray.tables.parquet import Tables
from ftray.tables.schema import concat

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Answer = TypeVar("Answer")


def open_study(location: Location) -> Study:
    """The study of a run folder.

    location: the run folder's path, or its URL on object storage (`s3://bucket/runs/NAME`; also `gs://`, `abfs://`).

    Raises: RunFolderError if it is no run folder, or is damaged; StorageError for object storage that cannot be read.
    """
    if is_run_folder(location):
        return Study(RunFolder.open(location))
    names = run_folders(location)
    held = f"holds {len(names)}; name one of them: {', '.join(names)} (`ftray.open_studies` opens all)"
    raise RunFolderError(
        f"{location} must be a run folder, and {held if names else 'has no study.json: check the path'}"
    )


def open_studies(location: Location) -> "Studies":
    """All studies of a folder, to be asked together.

    location: the path or URL of the folder that holds their run folders, `runs` for most.

    Raises: RunFolderError if it holds none, or a damaged one; StorageError for object storage that cannot be read.
    """
    names = run_folders(location)
    if not names:
        what = "is one itself: use `open_study`" if is_run_folder(location) else "holds none: check the path"
        raise RunFolderError(f"{location} must be a folder of run folders, and {what}")
    return Studies({name: Study(RunFolder.open(join(location, name))) for name in names})


class Studies(Queries, Mapping[str, Study]):
    """Several studies: a mapping from name to `Study`, and their tables together, with a column `study` first.

    `open_studies` opens it. A trial's id is prefixed with its study's name: `studies.curve("crypto_1h/trial-0007",
    ...)`. Whatever is not listed here works as it does in `Study`.

    studies: name → `Study`.
    """

    def __init__(self, studies: Mapping[str, Study]):
        self._studies = dict(studies)

    def __getitem__(self, name: str) -> Study:
        if name not in self._studies:
            raise KeyError(f"no study {name!r}; {nearest(name, self._studies)}")
        return self._studies[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._studies)

    def __len__(self) -> int:
        return len(self._studies)

    def __repr__(self) -> str:
        return "\n".join(map(repr, self._studies.values()))

    def records(self) -> list[TrialRecord]:
        return [
            dataclasses.replace(record, id=f"{name}/{record.id}")
            for name, study in self._studies.items()
            for record in study.records()
        ]

    def read(self, table: str, columns: Sequence[str] | None = None, **equal: Any) -> "pa.Table":
        import pyarrow as pa

        tables = []
        for name, study in self._studies.items():
            found = study.read(table, columns, **equal)
            tables.append(found.add_column(0, "study", pa.array([name] * len(found), pa.string())))
        return concat(tables)

    def sources(self) -> dict[str, Tables]:
        return {name: study.sources()[""] for name, study in self._studies.items()}

    def best(self, metric: str | None = None, scope: Scope = "last", **how: Any) -> dict[str, Best]:
        """The best of each study that has one: the metrics of different studies are of different bars.

        metric: by default each study's first objective.
        scope, how: as in `Study.best`.

        Raises: QueryError for a metric that is unknown to all of them.
        """
        return self._each(lambda study: study.best(metric, scope, **how))

    def curve(self, trial: str, metric: str) -> "pd.DataFrame":
        """See `Study.curve`."""
        study, own = self._of(trial)
        return study.curve(own, metric)

    def folds(self, trial: str) -> "pd.DataFrame":
        """See `Study.folds`."""
        study, own = self._of(trial)
        return study.folds(own)

    def returns(self, trial: str, split: str = SPLIT) -> "pd.DataFrame":
        """See `Study.returns`."""
        study, own = self._of(trial)
        return study.returns(own, split)

    def fills(self, trial: str) -> "pd.DataFrame":
        """See `Study.fills`."""
        study, own = self._of(trial)
        return study.fills(own)

    def policy_path(self, trial: str) -> Path:
        """See `Study.policy_path`."""
        study, own = self._of(trial)
        return study.policy_path(own)

    def lineage(self, trial: str) -> dict[str, Any]:
        """See `Study.lineage`."""
        study, own = self._of(trial)
        return study.lineage(own)

    def pareto(self) -> "pd.DataFrame":
        """The fronts of all studies, concatenated."""
        import pandas as pd

        fronts = {name: study.pareto() for name, study in self._studies.items()}
        return pd.concat(fronts, names=["study"]).reset_index(level="study").reset_index(drop=True)

    def importance(self) -> "pd.DataFrame":
        """`Study.importance` of each study whose trials say which parameter matters, one below the other.

        Columns: importance, low, high. Index: study, parameter.

        Raises: NoResultError where no study's trials do.
        """
        import pandas as pd

        found = self._each(lambda study: study.importance())
        if not found:
            raise NoResultError("the trials of no study say which search parameter matters")
        return pd.concat(found, names=["study", "parameter"])

    def _each(self, ask: Callable[[Study], Answer]) -> dict[str, Answer]:
        """The answers of the studies that have one. Raises: QueryError if what is asked for is unknown to all."""
        answers, unknown = {}, []
        for name, study in self._studies.items():
            try:
                answers[name] = ask(study)
            except NoResultError:
                continue
            except QueryError as error:
                unknown.append(error)
        if len(unknown) == len(self._studies):
            raise unknown[0]
        return answers

    def _of(self, trial: str) -> tuple[Study, str]:
        study, slash, own = trial.partition("/")
        if not slash or study not in self._studies:
            example = next(iter(self._studies))
            raise QueryError(f"several studies need the study's name before the trial's, like {example}/{own or trial}")
        return self._studies[study], own
