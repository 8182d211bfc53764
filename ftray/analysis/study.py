"""Asking a study, or all studies of a folder, while they run or a year later: no Ray, no torch, no cluster.

Takes: the location of a run folder, or of a folder of them. Gives: `open_study`, and with it a `Study` or `Studies`.

    study = ftray.open_study("runs/crypto_1h")
    study.trials                                   one row per trial; failed and pruned ones, too
    study.best()                                   value, interval, luck line and scope; never a bare maximum
    study.compare("encoder")                       interquartile means with intervals, who beats whom how often
    study.sql('select trial, "validation/sharpe" from trials order by 2 desc')

Everything is read as it stands at that moment. The columns are documented in `ftray.tables.schema.SCHEMA`, and by
`study.sql("select * from columns")`.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ftray.analysis.best import Best, Scope, best_of, direction_of
from ftray.analysis.failures import failures_data
from ftray.errors import RunFolderError
from ftray.runs.folder import RunFolder
from ftray.runs.records import TrialRecord
from ftray.runs.version_0_1 import read_spec
from ftray.search.objectives import Objective, constraints_of, front, objectives_of
from ftray.spec import nearest
from ftray.storage import Location, Mirror, is_url, join
from ftray.tables.bars import SPLIT
from ftray.tables.parquet import Tables
from ftray.tables.schema import SCHEMA

if TYPE_CHECKING:
    import optuna
    import pandas as pd
    import pyarrow as pa

    from ftray.analysis.studies import Studies

COSTS = ("cost/cpu_seconds", "cost/gpu_seconds", "wall_seconds")


def open_study(location: Location) -> "Study | Studies":
    """The study of a run folder; of a folder that holds run folders, all of them together.

    Raises: RunFolderError if there is neither.
    """
    if is_url(location):
        mirror = Mirror(location, "read")
        alone = mirror.read("study.json") is not None
        names = [] if alone else [name for name in mirror.folders() if mirror.read(f"{name}/study.json") is not None]
    else:
        alone = (Path(location) / "study.json").exists()
        names = [file.parent.name for file in Path(location).glob("*/study.json")]
    if alone:
        return Study(RunFolder.open(location))
    if not names:
        raise RunFolderError(
            f"{location} must be a run folder, or hold some: neither it nor a folder in it has a study.json; "
            "check the path"
        )
    from ftray.analysis.studies import Studies  # made of studies, as this is made of them

    return Studies({name: Study(RunFolder.open(join(location, name))) for name in sorted(names)})


class Queries:
    """What can be asked of one study or of several: everything is made of `read`."""

    def read(self, table: str, columns: Sequence[str] | None = None, **equal: Any) -> "pa.Table":
        """A table, or some columns of it, of the rows that have these values."""
        raise NotImplementedError

    def frame(self, table: str, columns: Sequence[str] | None = None, **equal: Any) -> "pd.DataFrame":
        """`read` for pandas; whole numbers are Int64, so that a gap in them does not make them floats."""
        import pandas as pd
        import pyarrow as pa

        kinds = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
        return self.read(table, columns, **equal).to_pandas(types_mapper=kinds.get)

    @property
    def trials(self) -> "pd.DataFrame":
        """One row per trial and pre-training job, whatever became of it; its resolved spec is in `lineage`."""
        return self.frame("trials").drop(columns=["spec", "versions", "lineage"])

    @property
    def encoders(self) -> "pd.DataFrame":
        """One row per finished pre-training job, best validation loss first."""
        return self.frame("encoders").sort_values("validation_loss", ignore_index=True)

    def encoder_card(self, encoder: str) -> dict[str, Any]:
        """A finished pre-training job's figures and losses, as `plots.plot_reconstruction(card, "cells")` and
        `plots.plot_history(card["history"])` draw them. encoder: its fingerprint, or how that begins.

        Raises: RunFolderError if there is none.
        """
        found = [card for card in self.read("encoders").to_pylist() if card["encoder"].startswith(encoder)]
        if not found:
            raise RunFolderError(f"no finished encoder begins with {encoder!r}; see `study.encoders`")
        parsed = {name: json.loads(found[0][name] or "null") for name in ("figures", "history")}
        return {**found[0], **parsed}

    def compare(
        self,
        by: str,
        metric: str = "validation/sharpe",
        *,
        where: str | None = None,
        baseline: str | None = None,
        confidence: float = 0.95,
    ) -> "pd.DataFrame":
        """Groups of finished trials side by side: interquartile means with intervals, who beats the baseline how often.

        See `ftray.analysis.comparison.compare_data`.
        """
        from ftray.analysis.comparison import compare_data

        return compare_data(self.frame("trials"), self.frame("folds"), by, metric, where, baseline, confidence)

    def failures(self) -> "pd.DataFrame":
        """Failed trials by what went wrong, the most frequent first; columns: error, n, trials."""
        import pandas as pd

        failed = self.frame("trials", ["study", "trial", "number", "kind", "state", "error"], state="FAILED")
        groups = failures_data(records_of(failed))
        rows = [
            {"error": (group[0].error or "").split("\n", 1)[0], "n": len(group), "trials": [one.id for one in group]}
            for group in groups.values()
        ]
        return pd.DataFrame(rows, columns=["error", "n", "trials"])

    def sql(self, query: str, parameters: Sequence[Any] | None = None) -> "pd.DataFrame":
        """The answer to a query in DuckDB's SQL over the tables of `ftray.tables.schema`; `columns` tells them all.

        Names with a slash stand in double quotes: select "validation/sharpe" from trials.

        Raises: MissingDependencyError where duckdb is missing; duckdb.Error for a query that it cannot answer.
        """
        from ftray.tables.sql import answer

        return answer(self.sources(), query, parameters)

    def sources(self) -> dict[str, Tables]:
        """The tables of each study, by its name; of a study alone under the empty name."""
        raise NotImplementedError


class Study(Queries):
    """One study. `run` is its run folder, `objectives` what it searches for."""

    def __init__(self, run: RunFolder):
        self.run, self._tables = run, Tables(run)
        self.objectives: tuple[Objective, ...] = objectives_of(run)

    @property
    def name(self) -> str:
        return self.run.name

    @property
    def is_done(self) -> bool:
        return self.run.is_done

    def __repr__(self) -> str:
        states = self.read("trials", ["state"])["state"].value_counts().to_pylist()
        counted = ", ".join(f"{one['counts']} {one['values']}" for one in states) or "no trials yet"
        goals = ", ".join(f"{goal.direction} {goal.metric}" for goal in self.objectives)
        return f"Study {self.name!r} ({'done' if self.is_done else 'not finished'}): {counted}; {goals}"

    def read(self, table: str, columns: Sequence[str] | None = None, **equal: Any) -> "pa.Table":
        if table not in SCHEMA:
            raise RunFolderError(f"no table {table!r}; there are {', '.join(SCHEMA)}")
        return self._tables.read(table, columns, **equal)

    def sources(self) -> dict[str, Tables]:
        return {"": self._tables}

    def best(
        self,
        metric: str | None = None,
        scope: Scope = "last",
        *,
        direction: Literal["maximize", "minimize"] | None = None,
    ) -> Best:
        """The best trial by a metric, with all that a reader needs to judge it; see `Best`.

        metric: the study's first objective unless told otherwise. scope: `last`: each finished, feasible trial as it
        ended; `best`: each of them at its best report, which looks better than it is; `any`: any report of any trial.

        Raises: RunFolderError if nothing has such a figure.
        """
        return best_of(self, metric or self.objectives[0].metric, scope, direction)

    def curve(self, trial: str, metric: str) -> "pd.DataFrame":
        """What a trial or a pre-training job reported on its way: a column of steps, and the metric.

        Env steps count over all runs of a trial; `fold` and `seed` tell which run a row belongs to.
        """
        self._known(trial)
        found = self.frame("metrics", ["env_steps", "epoch", "fold", "seed", metric], trial=trial)
        if metric not in found or found.empty:
            known = self.metrics
            why = "others do, it has not by now" if metric in known else nearest(metric, known)
            raise RunFolderError(f"{trial} reports no {metric!r}; {why}")
        steps = "epoch" if bool(found["env_steps"].isna().to_numpy().all()) else "env_steps"
        rows = found.filter([steps, "fold", "seed", metric]).dropna(subset=[metric])
        return rows.sort_values(steps, ignore_index=True)

    @property
    def metrics(self) -> list[str]:
        """The names of all figures that trials report."""
        return sorted(self._tables.columns("metrics") - set(SCHEMA["metrics"]))

    def folds(self, trial: str) -> "pd.DataFrame":
        """A trial's own validation figures by fold and seed."""
        self._known(trial)
        return self.frame("folds", trial=trial)

    def returns(self, trial: str, split: str = SPLIT) -> "pd.DataFrame":
        """Returns per bar of a trial, or of a benchmark by its name, by fold and seed in time order.

        The test window is in no table; `ftray promote` alone reads it.
        """
        if split != SPLIT:
            raise RunFolderError(f"returns are kept of the validation windows alone, got split {split!r}")
        benchmarks = set(self.read("returns", ["portfolio"], trial=None)["portfolio"].to_pylist())
        whose = {"trial": None, "portfolio": trial} if trial in benchmarks else {"trial": trial}
        if trial not in benchmarks:
            self._known(trial)
        rows = self.frame("returns", split=split, **whose)
        return rows.sort_values(["fold", "seed", "time"], ignore_index=True)

    def fills(self, trial: str) -> "pd.DataFrame":
        """Orders of a trial that were filled on its validation windows."""
        self._known(trial)
        return self.frame("fills", trial=trial).sort_values(["fold", "seed", "time"], ignore_index=True)

    @property
    def benchmarks(self) -> "pd.DataFrame":
        """What everyone could have had on the validation windows: a row per portfolio, a column per measure."""
        import pandas as pd

        return pd.DataFrame.from_dict(self.run.benchmarks(), orient="index")

    def policy_path(self, trial: str) -> Path:
        """Where a trial's policy lies, for `ftray.load_policy`.

        Raises: RunFolderError if it has none (yet).
        """
        state = self._known(trial)
        self.run.fetch(f"trials/{trial}/policy")
        path = self.run.folder_of(trial).folder / "policy"
        if not (path / "policy.json").exists():
            raise RunFolderError(f"{trial} must have ended a run to have a policy; it is {state}, and {path} has none")
        return path

    def lineage(self, trial: str) -> dict[str, Any]:
        """Where a trial comes from: spec, seeds, data, code, machine, cost, and the encoder of each fold."""
        self._known(trial)
        row = self.read("trials", trial=trial).to_pylist()[0]
        told = json.loads(row["lineage"] or "{}")
        cards = {card["encoder"]: card for card in self.read("encoders").to_pylist()}
        facts = ("weights", "validation_loss", "train_from", "train_to", "dataset")
        encoders = [
            {**one, **{key: cards[one["encoder"]][key] for key in facts if one["encoder"] in cards}}
            for one in told.get("encoders", [])
        ]
        return {
            "trial": trial,
            "study": self.name,
            **{key: row[key] for key in ("seed", "n_seeds", "candles", "commit", "host", "cpu", "gpu")},
            "cost": {name: row.get(name) for name in COSTS},
            "versions": json.loads(row["versions"] or "null") or self.run.versions,
            "encoders": encoders,
            "runs": told.get("runs", []),
            "spec": read_spec(row["spec"]),
        }

    def pareto(self) -> "pd.DataFrame":
        """The front: finished, feasible trials that no other beats in every objective, best by the first one first."""
        table = self.trials
        finished = table.query("state == 'COMPLETE' and feasible.fillna(False) and number.notna()")
        best = [one.id for one in front(records_of(finished), self.objectives)]
        return table.set_index("trial").loc[best].reset_index()

    def importance(self) -> "pd.Series":
        """How much each search parameter matters for being among the best, largest first; the shares add up to 1.

        See `ftray.analysis.importance.importance`.
        """
        import pandas as pd

        from ftray.analysis.importance import importance

        return pd.Series(importance(self.to_optuna(reports=False)), name="importance", dtype=float)

    def to_optuna(self, *metrics: str, reports: bool = True) -> "optuna.Study":
        """The study in Optuna's own form, in memory: for everything in `optuna.visualization` and `optuna.importance`.

        It has every sampled trial with its state, times, parameters, values and constraints; each trial's id and last
        metrics are its user attributes.

        metrics: take these as the objectives in place of the study's own. reports: False leaves out the intermediate
        values, which take a while to read in a large study; Optuna has them of studies with one objective alone.
        """
        from ftray.search.optuna_trials import optuna_study
        from ftray.search.space import Space

        goals = [Objective(metric=name, direction=direction_of(name, self.objectives)) for name in metrics]
        goals = goals or self.objectives
        rows = []
        if reports and len(goals) == 1:
            rows = self.read("metrics", ["trial", "env_steps", "epoch", goals[0].metric]).to_pylist()
        space = Space(self.run.study.get("trial") or {})
        return optuna_study(self.run.trials(), space, goals, constraints_of(self.run), rows)

    def overfitting(self) -> float | None:
        """Probability that the trial which is best on one half of the validation bars is below the median on the other.

        See `stats.overfitting_probability`; None with fewer than two trials whose bars are known. An even choice stands
        for very many trials.
        """
        from ftray.analysis.comparison import compared, overfitting_data

        ran = [row["trial"] for row in self.read("trials", ["trial", "n_runs"]).to_pylist() if row["n_runs"]]
        return overfitting_data(self.frame("returns", ["trial", "time", "return"], trial=compared(ran)))

    def _known(self, trial: str) -> str:
        """The state of a trial. Raises: RunFolderError with the nearest name."""
        found = self.read("trials", ["state"], trial=trial)
        if not len(found):
            names = self.read("trials", ["trial"])["trial"].to_pylist()
            raise RunFolderError(f"{self.run.where} has no trial {trial!r}; {nearest(trial, names)}")
        return found["state"][0].as_py()


def records_of(rows: "pd.DataFrame") -> list[TrialRecord]:
    """Rows of `trials` as records, with what was searched and reported; in several studies, named with their own."""
    made = []
    for row in rows.to_dict("records"):
        known = {str(name): value for name, value in row.items() if not _is_missing(value)}
        values = {name: value for name, value in known.items() if name.startswith("trial/")}
        metrics = {name: value for name, value in known.items() if name not in values and name not in SCHEMA["trials"]}
        name = f"{known['study']}/{known['trial']}" if "study" in known else known["trial"]
        facts = {"number": known.get("number"), "kind": known["kind"], "state": known["state"]}
        spec = read_spec(known.get("spec", "{}"))
        made.append(TrialRecord(name, values=values, spec=spec, metrics=metrics, error=known.get("error"), **facts))
    return made


def _is_missing(value: Any) -> bool:
    import pandas as pd

    return pd.api.types.is_scalar(value) and bool(pd.isna(value))
