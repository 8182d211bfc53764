"""Several studies asked as one.

Takes: studies by name. Gives: `Studies`, whose tables have a column `study` first.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftray.analysis.best import Best, Scope
from ftray.analysis.study import Queries, Study
from ftray.errors import RunFolderError
from ftray.spec import nearest
from ftray.tables.bars import SPLIT
from ftray.tables.parquet import Tables
from ftray.tables.schema import concat

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class Studies(Queries, Mapping[str, Study]):
    """Several studies: a mapping from name to `Study`, and their tables together, with a column `study` first.

    What belongs to one trial is asked with its study in front: `studies.curve("crypto_1h/trial-0007", ...)`.
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

    def read(self, table: str, columns: Sequence[str] | None = None, **equal: Any) -> "pa.Table":
        import pyarrow as pa

        made = []
        for name, study in self._studies.items():
            found = study.read(table, columns, **equal)
            made.append(found.add_column(0, "study", pa.array([name] * len(found), pa.string())))
        return concat(made)

    def sources(self) -> dict[str, Tables]:
        return {name: study.sources()[""] for name, study in self._studies.items()}

    def best(self, metric: str | None = None, scope: Scope = "last", **how: Any) -> dict[str, Best]:
        """The best of each study that has one: figures of different studies are of different bars."""
        made = {}
        for name, study in self._studies.items():
            try:
                made[name] = study.best(metric, scope, **how)
            except RunFolderError:
                continue
        return made

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
        """The front of each study, one below the other."""
        import pandas as pd

        fronts = {name: study.pareto() for name, study in self._studies.items()}
        return pd.concat(fronts, names=["study"]).reset_index(level="study").reset_index(drop=True)

    def importance(self) -> "pd.DataFrame":
        """`Study.importance` of each study that can tell, a column each."""
        import pandas as pd

        made = {}
        for name, study in self._studies.items():
            try:
                made[name] = study.importance()
            except RunFolderError:
                continue
        return pd.DataFrame(made)

    def _of(self, trial: str) -> tuple[Study, str]:
        study, slash, own = trial.partition("/")
        if not slash or study not in self._studies:
            example = next(iter(self._studies))
            raise RunFolderError(f"of several studies a trial is named with its own, like {example}/{own or trial}")
        return self._studies[study], own
