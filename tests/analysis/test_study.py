"""A study is asked without Ray, torch or a cluster: a running one, a finished one, one that an old version wrote."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ftray.analysis.studies import open_studies, open_study
from ftray.analysis.study import Study
from ftray.errors import MissingDependencyError, NoResultError, QueryError, RunFolderError
from ftray.runs import RunFolder
from ftray.tables.parquet import compact
from ftray.tables.schema import SCHEMA

OLD = Path(__file__).parents[1] / "runs" / "format_1"
"""A study of 2 folds × 2 seeds, left by a version that wrote no tables: two FT trials, one MLP, one that failed."""

SHARPE, DRAWDOWN = "validation/sharpe", "validation/max_drawdown"


@pytest.fixture
def study() -> Study:
    made = open_study(OLD)
    assert isinstance(made, Study)
    return made


def test_opening_a_study_loads_neither_torch_nor_ray_nor_optuna():
    code = (
        "import sys, ftray; study = ftray.open_study(sys.argv[1]); study.trials; study.best(); study.failures(); "
        "study.compare('encoder'); print(sorted({'torch', 'ray', 'optuna', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(OLD)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_importance_needs_neither_ray_nor_torch():
    code = (
        "import sys, ftray, optuna; from ftray.analysis.importance import shares; "
        "print(next(iter(shares(ftray.open_study(sys.argv[1]).to_optuna())))); "
        "print(sorted({'torch', 'ray'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(OLD)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1] == "[]" and done.stdout.startswith("trial/")


def test_a_study_of_an_older_version_has_every_table_with_its_documented_columns(study):
    for name, columns in SCHEMA.items():
        assert list(study.frame(name).columns)[: len(columns)] == list(columns)
    assert study.returns("trial-0000").empty and study.fills("trial-0000").empty  # nothing to derive them from
    assert len(study.folds("trial-0000")) == 4 and len(study.encoders) == 2


def test_every_trial_is_a_row_whatever_became_of_it(study):
    trials = study.trials.set_index("trial")
    assert trials.loc["trial-0001", "state"] == "FAILED" and "nowhere" in trials.loc["trial-0001", "error"]
    assert trials.loc["trial-0002", "encoder"] == "mlp" and trials.loc["trial-0000", "pretrained"] == "auto, fine-tuned"
    assert trials["kind"].value_counts().to_dict() == {"trial": 4, "pretraining": 2}
    assert trials["number"].dtype == "Int64" and trials["started_at"].dtype.kind == "M"
    assert trials.loc["trial-0003", SHARPE] == pytest.approx(study.run.record("trial-0003").metrics[SHARPE])


def test_the_best_names_its_scope_and_what_luck_explains(study):
    best = study.best()
    figures = {trial.id: trial.metrics.get(SHARPE) for trial in study.run.records() if trial.state == "COMPLETE"}
    assert best.value == max(value for value in figures.values() if value is not None)
    assert figures[best.trial] == best.value and (best.scope, best.chosen_from) == ("last", 3)
    assert best.interval is not None and best.interval[0] < best.value < best.interval[1]
    assert best.luck is not None and best.luck.n_trials == 3 and 0 < best.luck.deflated < 1
    assert "last: finished, feasible trials" in repr(best) and "luck line" in best._repr_html_()


def test_a_wider_scope_is_held_against_more_luck(study):
    last, at_best, reported = (study.best(scope=scope) for scope in ("last", "best", "any"))
    assert last.value <= at_best.value <= reported.value
    assert last.luck_line < at_best.luck_line == reported.luck_line  # only finished trials reported here
    assert at_best.step is not None and at_best.chosen_from == 24


def test_a_metric_that_is_better_when_it_is_lower_is_known_to_be(study):
    best = study.best(DRAWDOWN)
    assert best.direction == "minimize" and best.value == study.trials[DRAWDOWN].min()
    assert best.luck is None and "only a Sharpe ratio has one" in repr(best)
    assert study.best(DRAWDOWN, direction="maximize").value == study.trials[DRAWDOWN].max()


def test_what_is_not_there_is_said_with_the_nearest_name(study, tmp_path):
    with pytest.raises(QueryError, match="did you mean 'trial-0001'"):
        study.curve("trail-0001", SHARPE)
    with pytest.raises(QueryError, match="did you mean 'trial-0001'"):
        study.run.record("trail-0001")
    with pytest.raises(QueryError, match="did you mean 'validation/sharpe'"):
        study.curve("trial-0000", "validation/sharp")
    with pytest.raises(QueryError, match="no metric is called 'profit'"):
        study.best("profit")
    with pytest.raises(NoResultError, match="has no 'vram/used_gib' in finished, feasible trials"):
        study.best("vram/used_gib")
    with pytest.raises(QueryError, match="no training has a 'profit' of its own"):
        study.compare("encoder", "profit")
    with pytest.raises(QueryError, match="no table 'trails'; did you mean 'trials'"):
        study.frame("trails")
    with pytest.raises(QueryError, match="no finished encoder begins with 'xyz'"):
        study.encoder_card("xyz")
    with pytest.raises(QueryError, match="scope must be one of last, best, any"):
        study.best(scope="all")
    with pytest.raises(QueryError, match="validation windows only"):
        study.returns("trial-0000", "test")
    with pytest.raises(NoResultError, match="must end a training to have a policy"):
        study.policy_path("trial-0001")
    with pytest.raises(RunFolderError, match=r"has no study\.json"):
        open_study(tmp_path)


def test_a_curve_is_what_was_reported_step_by_step(study):
    curve = study.curve("trial-0000", SHARPE)
    reported = [row[SHARPE] for row in study.run.trial_folder("trial-0000").reports()]
    assert curve[SHARPE].tolist() == reported and curve["env_steps"].is_monotonic_increasing
    losses = study.curve(study.trials.query("kind == 'pretraining'")["trial"].iloc[0], "validation_loss")
    assert losses["epoch"].tolist() == [1, 2]


def test_groups_are_compared_over_the_folds_and_seeds_of_all_their_trials(study):
    compared = study.compare("encoder")
    assert set(compared.index) == {"ft", "mlp"} and compared.loc["ft", "n_runs"] == 8
    scores = pd.concat([study.folds(f"trial-000{i}") for i in (0, 3)])[SHARPE].sort_values()
    assert compared.loc["ft", "mean"] == pytest.approx(scores.iloc[2:6].mean())
    assert compared.loc["ft", "n_trials"] == 2 and np.isnan(compared.loc["ft", ["low", "high"]].astype(float)).all()
    better, beaten = compared.index
    assert compared.attrs["baseline"] == beaten and pd.isna(compared.loc[beaten, "improvement"])
    assert 0 <= compared.loc[better, "improvement"] <= 1
    held = study.compare("encoder", baseline=better)
    assert held.loc[beaten, "improvement"] == pytest.approx(1 - compared.loc[better, "improvement"])
    assert study.compare("pretrained", where="encoder == 'ft'").index.tolist() == ["auto, fine-tuned"]
    with pytest.raises(QueryError, match="did you mean"):
        study.compare("encodr")


def test_groups_may_be_by_a_column_that_runs_have_too_and_no_missing_column_is_offered(study, tmp_path):
    assert study.compare("seed").index.name == "seed"
    run = RunFolder.create(tmp_path / "new", {"name": "new"})
    for number in range(2):
        run.add_trial(f"trial-{number}", number, "trial", {}, {})
        run.trial_started(f"trial-{number}")
    run.trial_folder("trial-0").report({"env_steps": 1, SHARPE: 0.5})
    compact(run)
    with pytest.raises(NoResultError, match=r"trial-1 has reported no 'validation/sharpe'"):
        open_study(run.path).curve("trial-1", SHARPE)


def test_a_lineage_names_the_encoder_of_each_fold_and_the_bars_it_was_trained_on(study):
    lineage = study.lineage("trial-0000")
    assert [one["fold"] for one in lineage["encoders"]] == [0, 1]
    cards = study.encoders.set_index("encoder")
    for one in lineage["encoders"]:
        assert one["train_to"] == cards.loc[one["encoder"], "train_to"] and one["why"]
    assert lineage["spec"]["windows"]["n_folds"] == 2 and lineage["versions"]["ray"] and lineage["candles"]
    assert lineage["cost"]["cost/cpu_seconds"] > 0


def test_failures_and_the_front(study):
    failures = study.failures()
    assert failures["n"].tolist() == [1] and failures["trials"].tolist() == [["trial-0001"]]
    assert study.pareto()["trial"].tolist() == [study.best().trial]


def test_sql_sees_the_same_tables(study):
    counted = study.sql("select state, count(*) as n from trials group by state order by state")
    assert counted.to_dict("list") == {"state": ["COMPLETE", "FAILED"], "n": [5, 1]}
    best = study.sql('select trial from trials where state = ? order by "validation/sharpe" desc', ["COMPLETE"])
    assert best["trial"].iloc[0] == study.best().trial
    columns = study.sql("select * from columns where table_name = 'returns'")
    assert columns["column_name"].tolist() == list(SCHEMA["returns"])
    assert study.sql("describe returns")["column_name"].tolist() == list(SCHEMA["returns"])


@pytest.mark.parametrize("table", ["trials", "metrics", "folds"])
def test_every_column_of_a_study_is_documented_metrics_with_their_unit(study, table):
    columns = study.sql("select * from columns where table_name = ?", [table]).set_index("column_name")
    assert set(columns.index) == set(study.frame(table).columns) and columns["meaning"].str.len().min() > 1
    drawdown = columns.loc["validation/max_drawdown"]
    assert drawdown["unit"] == "fraction" and drawdown["meaning"].startswith("max drawdown: largest loss")
    assert columns["unit"].isna()["trial"]


def test_without_duckdb_the_error_names_the_line_that_installs_it(study, monkeypatch):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'ftray\[notebook\]'"):
        study.sql("select 1")


def test_a_folder_of_studies_is_asked_at_once(tmp_path):
    for name in ("first", "second"):
        shutil.copytree(OLD, tmp_path / name)
    compact(RunFolder.open(tmp_path / "second"))
    studies = open_studies(tmp_path)
    assert list(studies) == ["first", "second"]
    with pytest.raises(RunFolderError, match="holds 2; name one of them: first, second"):
        open_study(tmp_path)
    with pytest.raises(RunFolderError, match="is one itself: use `open_study`"):
        open_studies(tmp_path / "first")
    assert studies.trials["study"].value_counts().to_dict() == {"first": 6, "second": 6}
    counted = studies.sql("select study, count(*) as n from folds group by study order by study")
    assert counted.to_dict("list") == {"study": ["first", "second"], "n": [12, 12]}
    assert studies.compare("study").loc["first", "mean"] == studies.compare("study").loc["second", "mean"]
    assert studies.folds("second/trial-0000").equals(studies["first"].folds("trial-0000"))
    assert studies.failures()["trials"].tolist() == [["first/trial-0001", "second/trial-0001"]]
    assert set(studies.best()) == {"first", "second"} and len(studies.pareto()) == 2
    with pytest.raises(QueryError, match="like first/trial-0000"):
        studies.folds("trial-0000")
    with pytest.raises(QueryError, match="no metric is called 'profit'"):
        studies.best("profit")


def test_a_study_that_has_just_begun_is_a_study(tmp_path):
    RunFolder.create(tmp_path / "new", {"name": "new"})
    study = open_study(tmp_path / "new")
    assert study.trials.empty and study.failures().empty and "no trials yet" in repr(study)
    assert study.sql("select count(*) as n from metrics")["n"].tolist() == [0]
    with pytest.raises(NoResultError, match="has just begun"):
        study.best()


def test_the_old_study_is_what_its_version_wrote():
    assert json.loads((OLD / "study.json").read_text())["format"] == 1 and not (OLD / "tables").exists()
