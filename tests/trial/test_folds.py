"""Folds and seeds: one run per pair, metrics over all of them; a killed trial continues inside the right run."""

import dataclasses
import shutil
import statistics

import pytest

from ftray.errors import RunFolderError, WeightsError
from ftray.features import Dataset
from ftray.market import CombinatorialSpec, SimulatorSpec, WalkForwardSpec
from ftray.nets import Policy
from ftray.pretraining import read_card
from ftray.runs import TrialFolder
from ftray.trial import prepare_dataset, pretrain_encoder
from ftray.trial.run import check_no_leakage

from .clocks import comparable, without_clocks
from .interrupting import killed_after
from .test_run import FT, TRIAL, run

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster", "without_probes")]

MARKET = SimulatorSpec(n_assets=2, n_bars=1_600)
TWO_BY_TWO = dataclasses.replace(TRIAL, market=MARKET, windows=WalkForwardSpec(n_folds=2, holding=6), seed=5, seeds=2)
PAIRS = [(0, 5), (0, 6), (1, 5), (1, 6)]


def pairs(rows) -> list[tuple[int, int]]:
    return [(row["fold"], row["seed"]) for row in rows]


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def whole(cluster, tmp_path_factory, shared):
    """The folder and the rows of a trial that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, run(TWO_BY_TWO, folder, shared)


def test_every_pair_of_fold_and_seed_is_one_run_and_env_steps_are_summed_over_them(whole, shared):
    _, rows = whole
    assert pairs(row for row in rows if row["run_done"]) == PAIRS
    assert [row["runs_done"] for row in rows if row["run_done"]] == [1, 2, 3, 4]
    steps = [row["env_steps"] for row in rows]
    assert steps == sorted(set(steps))
    assert steps[-1] == sum(one["env_steps"] for one in rows[-1]["runs"]) >= TWO_BY_TWO.env_steps == 4 * 256
    assert len(list((shared / "data").iterdir())) == 2


def test_validation_metrics_are_means_over_the_runs_with_the_standard_error(whole):
    _, rows = whole
    runs = rows[-1]["runs"]
    assert pairs(runs) == PAIRS
    for name in ("validation/sharpe", "validation/total_return"):
        assert rows[-1][name] == pytest.approx(statistics.fmean(one[name] for one in runs))
    sharpes = [one["validation/sharpe"] for one in runs]
    assert rows[-1]["validation/sharpe_error"] == pytest.approx(statistics.stdev(sharpes) / 2)
    assert len(set(sharpes)) > 1
    first = next(row for row in rows if row["run_done"])
    assert first["validation/sharpe"] == sharpes[0] and "validation/sharpe_error" not in first


def test_a_run_of_many_is_the_trial_of_its_seed_alone(whole, tmp_path, shared):
    _, rows = whole
    alone = dataclasses.replace(TWO_BY_TWO, seed=6, seeds=1, windows=dataclasses.replace(TWO_BY_TWO.windows))
    first = [row for row in run(alone, tmp_path, shared) if row["fold"] == 0]
    assert first[-1]["validation/sharpe"] == pytest.approx(rows[-1]["runs"][1]["validation/sharpe"], rel=1e-3)


LAST_ROW_OF_THE_FIRST = pytest.param(2, marks=pytest.mark.long)


@pytest.mark.parametrize("n_rows", [LAST_ROW_OF_THE_FIRST, 3])  # 3: in the middle of the second training
def test_a_killed_trial_continues_inside_its_training_with_nothing_lost_or_repeated(n_rows, whole, tmp_path, shared):
    _, rows = whole
    per_run = len(rows) // 4
    assert per_run == 2
    killed_after(n_rows - 1, TWO_BY_TWO, tmp_path, shared)  # with the checkpoint of the next row
    resumed = run(TWO_BY_TWO, tmp_path, shared, resume=TrialFolder(tmp_path).checkpoint)
    assert without_clocks(resumed) == without_clocks(rows[n_rows:])
    assert pairs(resumed[-1]["runs"]) == PAIRS


def test_a_trial_killed_at_its_very_end_only_reports_its_last_row_again(whole, shared):
    folder, rows = whole
    (again,) = run(TWO_BY_TWO, folder, shared, resume=TrialFolder(folder).checkpoint)
    assert comparable({**again, "checkpoint": None}) == comparable({**rows[-1], "checkpoint": None})


def test_a_checkpoint_without_its_progress_is_refused(whole, tmp_path, shared):
    shutil.copytree(TrialFolder(whole[0]).checkpoint, tmp_path / "checkpoint")
    (tmp_path / "checkpoint" / "progress.json").unlink()
    with pytest.raises(RunFolderError, match=r"must say in progress\.json how far"):
        run(TWO_BY_TWO, tmp_path, shared, resume=tmp_path / "checkpoint")


def test_the_policy_is_that_of_the_last_run_and_knows_its_fold(whole, shared):
    policy = Policy.load(whole[0] / "policy")
    assert (policy.facts["fold"], policy.facts["seed"]) == PAIRS[-1]
    _, dataset = prepare_dataset(TWO_BY_TWO, shared, fold=1)
    assert policy.scaler.to_mapping() == dataset.table.scaler.to_mapping()


def test_combinatorial_folds_train_and_validate_on_separate_pieces(tmp_path, shared):
    spec = dataclasses.replace(
        TRIAL,
        market=MARKET,
        windows=CombinatorialSpec(n_groups=3, n_validation_groups=2, holding=6),
        ppo=dataclasses.replace(TRIAL.ppo, env_steps=128),
    )
    rows = run(spec, tmp_path, shared)
    assert pairs(rows[-1]["runs"]) == [(0, 0), (1, 0), (2, 0)]
    datasets = [prepare_dataset(spec, shared, fold)[1] for fold in range(3)]
    assert all(len(dataset.windows.validation) == 2 for dataset in datasets)
    assert len({dataset.fingerprint for dataset in datasets}) == 3


def test_every_fold_has_an_encoder_and_market_vectors_of_its_own(tmp_path):
    encoder = dataclasses.replace(FT, frozen=True)
    ppo = dataclasses.replace(TRIAL.ppo, env_steps=128)
    run(dataclasses.replace(TWO_BY_TWO, seeds=1, encoder=encoder, ppo=ppo), tmp_path, tmp_path)
    cards = [read_card(folder) for folder in (tmp_path / "encoders").iterdir()]
    assert len({card.weights for card in cards}) == len(cards) == 2
    for folder in (tmp_path / "data").iterdir():
        assert len(list(folder.glob("market_vectors-*.npy"))) == 1
        Dataset.load(folder)


def test_weights_of_one_fold_are_refused_where_another_is_validated(shared):
    spec = dataclasses.replace(
        TRIAL, market=MARKET, windows=CombinatorialSpec(n_groups=3, n_validation_groups=1, holding=6), encoder=FT
    )
    datasets = [prepare_dataset(spec, shared, fold)[1] for fold in range(3)]
    assert len(datasets[1].windows.train) == 2
    weights = pretrain_encoder(spec, datasets[1], shared).path
    check_no_leakage(weights, datasets[1])
    for other in (datasets[0], datasets[2]):
        with pytest.raises(WeightsError, match="and the trial's validation window begins at"):
            check_no_leakage(weights, other)
