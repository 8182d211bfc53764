"""Queries of one study, while it runs or a year later: no Ray, no torch, no cluster.

Takes: a run folder. Gives: a `Study`; `studies.open_study` opens one at a path or URL.

    study = ftray.open_study("runs/crypto_1h")
    study.trials                                   one row per trial; failed and pruned ones, too
    study.best()                                   value, interval, luck line and scope; never a bare maximum
    study.compare("encoder")                       interquartile means with intervals, probability of improvement
    study.sql('select trial, "validation/sharpe" from trials order by 2 desc')

Each call reads the study's current state. The columns are documented in `ftray.tables.schema.SCHEMA`, and
by `study.sql("select * from columns")`.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftray.analysis.best import SCOPES, Best, Scope, best_of, direction_of
from ftray.analysis.looks import looks_elsewhere
from ftray.analysis.luck import RATIOS
from ftray.analysis.queries import Queries
from ftray.analysis.ranking import describe_hardly_trading, pareto_front
from ftray.errors import NoResultError, QueryError
from ftray.metrics import CPU_SECONDS, GPU_SECONDS, ROUND_TRIPS, WALL_SECONDS, Direction, validation
from ftray.runs.folder import RunFolder
from ftray.runs.records import TrialRecord
from ftray.runs.version_0_1 import read_spec
from ftray.search.objectives import Constraint, Objective, constraints_of, objectives_of
from ftray.spec import nearest
from ftray.tables.bars import SPLIT
from ftray.tables.parquet import Tables
from ftray.tables.schema import SCHEMA

if TYPE_CHECKING:
    import optuna
    import pandas as pd
    import pyarrow as pa

COSTS = (CPU_SECONDS, GPU_SECONDS, WALL_SECONDS)


class Study(Queries):
    """One study, while it runs or a year later; `open_study` opens it. Needs neither torch nor Ray.

    Each call reads the study's current state. A trial is named by its id, like `trial-0007`.

    run: its run folder.
    """

    def __init__(self, run: RunFolder):
        self.run, self._tables = run, Tables(run)
        self.objectives: tuple[Objective, ...] = objectives_of(run.study)
        self.constraints: tuple[Constraint, ...] = constraints_of(run.study)

    @property
    def name(self) -> str:
        """The study's name."""
        return self.run.name

    @property
    def is_done(self) -> bool:
        """Whether the study is finished."""
        return self.run.is_done

    def __repr__(self) -> str:
        states = self.read("trials", ["state"])["state"].value_counts().to_pylist()
        counted = ", ".join(f"{one['counts']} {one['values']}" for one in states) or "no trials yet"
        goals = ", ".join(f"{goal.direction} {goal.metric}" for goal in self.objectives)
        return f"Study {self.name!r} ({'done' if self.is_done else 'not finished'}): {counted}; {goals}"

    def records(self) -> list[TrialRecord]:
        return self.run.records()

    def read(self, table: str, columns: Sequence[str] | None = None, **equal: Any) -> "pa.Table":
        if table not in SCHEMA:
            raise QueryError(f"no table {table!r}; {nearest(table, SCHEMA)}")
        return self._tables.read(table, columns, **equal)

    def sources(self) -> dict[str, Tables]:
        return {"": self._tables}

    def best(
        self,
        metric: str | None = None,
        scope: Scope = "last",
        *,
        direction: Direction | None = None,
    ) -> Best:
        """The best trial by a metric, with all that a reader needs to judge it; see `Best`.

        metric: by default the study's first objective.
        scope: `last`: each finished, feasible trial as it ended; `best`: each of them at its best report, which looks
            better than it is; `any`: any report of any trial.
        direction: the one in which the metric is better; by default as the study or the table of metrics has it.

        Raises: QueryError for an unknown metric; MetricError for one that is better neither way, unless a direction is
        given; NoResultError if there is no value of it yet.
        """
        metric = metric or self.objectives[0].metric
        goal = Objective(metric=metric, direction=direction or direction_of(metric, self.objectives))
        objectives = (goal, *(other for other in self.objectives if other.metric != metric))
        reports = [] if scope == "last" else self._reports(metric)
        best = best_of(self.records(), objectives, self.constraints, scope, reports, looks_elsewhere(self.run).n)
        if best is None:
            idle = describe_hardly_trading(self.records(), self.constraints)
            why = idle[0] if idle else "a study that has just begun has none yet"
            problem = f"{self.run.where} has no {metric!r} in {SCOPES[scope]}: {why}"
            raise self.missing_metric(metric, problem)
        return best

    def _reports(self, metric: str) -> list[dict[str, Any]]:
        """What was reported together with a metric: the inputs of luck lines, and how much was traded."""
        names = ["n_bars", "years", *(name for _, *inputs in RATIOS.values() for name in inputs)]
        columns = ["trial", "env_steps", "epoch", metric, *RATIOS, ROUND_TRIPS, *map(validation, names)]
        return self.read("metrics", list(dict.fromkeys(columns))).to_pylist()

    def curve(self, trial: str, metric: str) -> "pd.DataFrame":
        """What a trial or a pre-training job reported on its way: a column of steps, and the metric.

        Env steps count over all trainings of a trial; `fold` and `seed` say which one a row belongs to.

        trial: its id.
        metric: a reported one, like `validation/sharpe`; the property `metrics` has all names.

        Raises: QueryError for an unknown trial or metric; NoResultError if the trial has not reported the metric yet.
        """
        self._known(trial)
        found = self.frame("metrics", ["env_steps", "epoch", "fold", "seed", metric], trial=trial)
        if metric not in found or found.empty:
            raise self.missing_metric(metric, f"{trial} has reported no {metric!r}")
        steps = "epoch" if bool(found["env_steps"].isna().to_numpy().all()) else "env_steps"
        rows = found.filter([steps, "fold", "seed", metric]).dropna(subset=[metric])
        return rows.sort_values(steps, ignore_index=True)

    def folds(self, trial: str) -> "pd.DataFrame":
        """A trial's validation metrics, a row per fold and seed.

        Raises: QueryError for an unknown trial.
        """
        self._known(trial)
        return self.frame("folds", trial=trial)

    def returns(self, trial: str, split: str = SPLIT) -> "pd.DataFrame":
        """Returns per bar, as fractions, by fold and seed in time order.

        `time` is the close at which a bar's equity was marked.

        trial: its id, or the name of a benchmark, like `equal_weight`.
        split: `validation`; the test window is in no table, `ftray promote` alone reads it.

        Raises: QueryError for an unknown trial or another split.
        """
        if split != SPLIT:
            raise QueryError(f"returns are stored for the validation windows only, got split {split!r}")
        benchmarks = set(self.read("returns", ["portfolio"], trial=None)["portfolio"].to_pylist())
        whose = {"trial": None, "portfolio": trial} if trial in benchmarks else {"trial": trial}
        if trial not in benchmarks:
            self._known(trial)
        rows = self.frame("returns", split=split, **whose)
        return rows.sort_values(["fold", "seed", "time"], ignore_index=True)

    def fills(self, trial: str) -> "pd.DataFrame":
        """What a trial bought and sold on its validation windows, in quote currency, by fold and seed in time order.

        `time` is when it filled; `cause` is `order`, or says why a holding was closed into cash without an order.

        Raises: QueryError for an unknown trial.
        """
        self._known(trial)
        return self.frame("fills", trial=trial).sort_values(["fold", "seed", "time"], ignore_index=True)

    @property
    def benchmarks(self) -> "pd.DataFrame":
        """The benchmarks on the validation windows: a row per portfolio, a column per measure."""
        import pandas as pd

        return pd.DataFrame.from_dict(self.run.benchmarks(), orient="index")

    def policy_path(self, trial: str) -> Path:
        """The path of a trial's policy, for `load_policy`; fetched first if the study is on object storage.

        Raises: QueryError for an unknown trial; NoResultError if it has none yet.
        """
        state = self._known(trial)
        self.run.fetch(f"trials/{trial}/policy")
        path = self.run.trial_folder(trial).folder / "policy"
        if not (path / "policy.json").exists():
            raise NoResultError(f"{trial} must end a training to have a policy; it is {state}, and {path} has none")
        return path

    def lineage(self, trial: str) -> dict[str, Any]:
        """Where a trial comes from: spec, seeds, data, code, machine, cost, and the encoder of each fold.

        Raises: QueryError for an unknown trial.
        """
        self._known(trial)
        row = self.read("trials", trial=trial).to_pylist()[0]
        recorded = json.loads(row["lineage"] or "{}")
        cards = {card["encoder"]: card for card in self.read("encoders").to_pylist()}
        facts = ("weights", "validation_loss", "train_from", "train_to", "dataset")
        encoders = [
            {**one, **{key: cards[one["encoder"]][key] for key in facts if one["encoder"] in cards}}
            for one in recorded.get("encoders", [])
        ]
        return {
            "trial": trial,
            "study": self.name,
            **{key: row[key] for key in ("seed", "n_seeds", "candles", "commit", "host", "cpu", "gpu")},
            "cost": {name: row.get(name) for name in COSTS},
            "versions": json.loads(row["versions"] or "null") or self.run.versions,
            "encoders": encoders,
            "runs": recorded.get("runs", []),
            "spec": read_spec(row["spec"]),
        }

    def pareto(self) -> "pd.DataFrame":
        """The front: finished, feasible trials that no other dominates, best by the first objective first."""
        front = [record.id for record in pareto_front(self.records(), self.objectives, self.constraints)]
        return self.trials.set_index("trial").loc[front].reset_index()

    def importance(self) -> "pd.DataFrame":
        """How much each search parameter matters for being among the best, largest first, as shares to a tenth.

        Columns: importance, and low, high: its 95 % interval, by a bootstrap over whole trials. A row per parameter.
        By conditional PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255) over the complete trials.

        Raises: NoResultError for fewer than ten complete trials, without search parameters, and where the intervals of
            all parameters overlap: then the trials do not say which one matters.
        """
        from ftray.analysis.importance import importance

        return importance(self.to_optuna(reports=False))

    def to_optuna(self, *metrics: str, reports: bool = True) -> "optuna.Study":
        """The study in Optuna's own form, in memory: for `optuna.visualization` and `optuna.importance`.

        It has every sampled trial with its state, times, parameters, values and constraints; each trial's id and last
        metrics are its user attributes.

        metrics: take these as the objectives in place of the study's own.
        reports: whether it has the intermediate values, which take a while to read in a large study; Optuna has them of
            studies with one objective alone.

        Raises: MetricError for a metric that is better neither way.
        """
        from ftray.search.optuna_trials import optuna_study
        from ftray.search.space import Space

        goals = [Objective(metric=name, direction=direction_of(name, self.objectives)) for name in metrics]
        goals = goals or self.objectives
        rows = []
        if reports and len(goals) == 1:
            rows = self.read("metrics", ["trial", "env_steps", "epoch", goals[0].metric]).to_pylist()
        space = Space(self.run.study.get("trial") or {})
        return optuna_study(self.records(), space, goals, self.constraints, rows)

    def overfitting(self) -> float | None:
        """Probability that the trial which is best on one half of the validation bars is below the median on the other.

        By combinatorially symmetric cross-validation (Bailey, Borwein, López de Prado and Zhu 2017, The Probability of
        Backtest Overfitting). None with fewer than two trials whose bars are known. Of very many trials it takes an
        evenly spaced sample.
        """
        from ftray.analysis.comparison import compared, overfitting_data

        ran = [row["trial"] for row in self.read("trials", ["trial", "n_runs"]).to_pylist() if row["n_runs"]]
        return overfitting_data(self.frame("returns", ["trial", "time", "return"], trial=compared(ran)))

    def _known(self, trial: str) -> str:
        """The state of a trial. Raises: QueryError, with the nearest name, if there is none."""
        found = self.read("trials", ["state"], trial=trial)
        if not len(found):
            names = self.read("trials", ["trial"])["trial"].to_pylist()
            raise QueryError(f"{self.run.where} has no trial {trial!r}; {nearest(trial, names)}")
        return found["state"][0].as_py()
