"""The encoder store: the right weights are found and named, made once, and chosen again."""

import dataclasses
import errno
import fcntl
import json
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ftray.errors import RunFolderError, TrainingError
from ftray.features import FeatureSpec, build_dataset
from ftray.market import SimulatorSpec, WindowsSpec
from ftray.nets import FTSpec, read_checkpoint
from ftray.pretraining import EncoderStore, PretrainingSpec, encoder_fingerprint, job, pretrain, read_card
from tests.pretraining.conftest import ENCODER
from tests.pretraining.conftest import SPEC as LONG

pytestmark = pytest.mark.usefixtures("without_probes")

SPEC = dataclasses.replace(LONG, epochs=1, windows_per_epoch=32)
LONGER = dataclasses.replace(SPEC, epochs=3, windows_per_epoch=128)
TRIED = [dataclasses.replace(SPEC, learning_rate=rate) for rate in (1e-3, 1e-4, 1e-5)]
WANTED = dataclasses.replace(SPEC, weight_decay=0.5)


def name_of(dataset, encoder: FTSpec = ENCODER, spec: PretrainingSpec = SPEC) -> str:
    return encoder_fingerprint(dataset.fingerprint, dataset.layout, encoder, spec)


def run_folder(root: Path, name: str) -> Path:
    (root / name).mkdir(parents=True)
    (root / name / "study.json").write_text("{}")
    return root / name


def trained(run: Path, dataset, encoder: FTSpec = ENCODER, spec: PretrainingSpec = SPEC):
    return EncoderStore(run / "encoders").make(
        name_of(dataset, encoder, spec), lambda folder: pretrain(encoder, spec, dataset, folder)
    )


@pytest.fixture(scope="module", autouse=True)
def examined_once():
    """Cards of all jobs here hold the figures of the first: those take most of a small job's time, and no store reads
    them."""
    figures: list[dict] = []
    examine = job.examine

    def first(*given, **options):
        figures[:] = figures or [examine(*given, **options)]
        return figures[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "examine", first)
        yield


@pytest.fixture(scope="module")
def filled(dataset, tmp_path_factory) -> Path:
    """Runs in one folder: one has tried three learning rates, the other has other shapes and another loss."""
    root = tmp_path_factory.mktemp("runs")
    for spec in TRIED:
        trained_in = root / "rates" if (root / "rates").exists() else run_folder(root, "rates")
        trained(trained_in, dataset, spec=spec)
    other = run_folder(root, "other")
    trained(other, dataset, encoder=dataclasses.replace(ENCODER, n_heads=4))
    trained(other, dataset, encoder=dataclasses.replace(ENCODER, patch_length=8))
    trained(other, dataset, spec=dataclasses.replace(SPEC, mask_ratio=0.3))
    return root


@pytest.fixture
def runs(filled, tmp_path) -> Path:
    return Path(shutil.copytree(filled, tmp_path / "runs"))


def test_the_encoder_of_the_lowest_validation_loss_is_taken_and_named_and_others_are_refused_with_the_reason(
    runs, dataset
):
    cards = [read_card(runs / "rates" / "encoders" / name_of(dataset, spec=spec)) for spec in TRIED]
    best = min(cards, key=lambda card: card.validation_loss)
    assert len({card.validation_loss for card in cards}) == 3

    choice = EncoderStore.of_run(run_folder(runs, "mine")).choose(ENCODER, WANTED, dataset)
    assert (choice.wanted, choice.encoder) == (name_of(dataset, spec=WANTED), best.fingerprint)
    other = name_of(dataset, spec=dataclasses.replace(SPEC, mask_ratio=0.3))[:12]
    assert choice.why == (
        f"uses encoder {best.fingerprint[:12]} of study rates: validation loss {best.validation_loss:.4f}, best of 3 "
        f"compatible; 1 refused: {other} of study other was trained with another loss: mask_ratio is 0.3 there and "
        "0.15 here"
    )


def test_an_encoder_of_a_version_that_knew_no_losses_on_returns_is_comparable_with_those_without(runs, dataset):
    for file in runs.glob("*/encoders/*/config.json"):
        config = json.loads(file.read_text())
        pretraining = {name: value for name, value in config["pretraining"].items() if not name.startswith("return_")}
        file.write_text(json.dumps(config | {"pretraining": pretraining}))

    def chosen(name: str, **changes):
        return EncoderStore.of_run(run_folder(runs, name)).choose(
            dataclasses.replace(ENCODER, horizons=(2,)), dataclasses.replace(WANTED, **changes), dataset
        )

    assert "best of 3 compatible; 1 refused" in chosen("without").why
    refused = chosen("with", return_weight=0.5).why
    assert "trained with another loss: return_weight is 0.0 there and 0.5 here" in refused


def test_an_encoder_whose_indicators_were_of_another_plug_in_is_refused_with_the_reason(runs, dataset):
    for file in runs.glob("rates/encoders/*/config.json"):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"plugins": {"my_indicators": "0123456789abcdef"}}))
    choice = EncoderStore.of_run(run_folder(runs, "mine")).choose(ENCODER, WANTED, dataset)
    assert choice.encoder == choice.wanted
    assert "the plug-in of its indicators has another source there" in choice.why


def test_a_chosen_encoder_is_copied_to_the_own_folder_and_is_all_that_a_trial_needs(runs, dataset):
    store = EncoderStore.of_run(run_folder(runs, "mine"))
    choice = store.choose(ENCODER, WANTED, dataset)
    shutil.rmtree(runs / "rates")

    def never(folder: Path) -> None:
        raise AssertionError("it was trained again")

    card = EncoderStore(runs / "mine" / "encoders").make(choice.wanted, never)
    assert card.fingerprint == choice.encoder and card.path.parent == runs / "mine" / "encoders" / choice.encoder
    assert read_checkpoint(card.path)["fingerprint"] == choice.encoder
    assert [path.name for path in (runs / "mine" / "encoders").iterdir()] == [choice.encoder]


def test_a_choice_is_kept_when_a_better_encoder_comes_and_dropped_with_its_weights(runs, dataset):
    store = EncoderStore.of_run(run_folder(runs, "mine"))
    choice = store.choose(ENCODER, WANTED, dataset)
    better = trained(runs / "other", dataset, spec=LONGER)
    assert better.validation_loss < read_card(runs / "mine" / "encoders" / choice.encoder).validation_loss
    assert EncoderStore.of_run(runs / "mine").choose(ENCODER, WANTED, dataset) == choice
    shutil.rmtree(runs / "mine" / "encoders" / choice.encoder)
    assert EncoderStore.of_run(runs / "mine").choose(ENCODER, WANTED, dataset).encoder == better.fingerprint


def test_the_very_job_that_is_asked_for_wins_over_a_better_one(runs, dataset):
    better = trained(run_folder(runs, "longer"), dataset, spec=LONGER)
    for spec in TRIED:
        choice = EncoderStore.of_run(run_folder(runs, f"mine-{spec.learning_rate}")).choose(ENCODER, spec, dataset)
        card = read_card(runs / f"mine-{spec.learning_rate}" / "encoders" / choice.encoder)
        assert choice.encoder == choice.wanted == card.fingerprint
        assert choice.why == f"uses encoder {choice.wanted[:12]} of study rates: its own pre-training job"
        assert better.validation_loss < card.validation_loss


def test_where_none_fits_the_own_job_is_to_be_done_and_that_is_remembered(tmp_path, dataset):
    store = EncoderStore.of_run(run_folder(tmp_path, "mine"))
    choice = store.choose(ENCODER, SPEC, dataset)
    assert choice.encoder == choice.wanted and not store.has(choice.wanted)
    assert choice.why == f"pre-trains encoder {choice.wanted[:12]}: the store has none that fits"
    trained(run_folder(tmp_path, "rates"), dataset, spec=TRIED[1])
    assert store.choose(ENCODER, SPEC, dataset) == choice  # a trial may have begun to wait for it


def test_others_may_not_stand_in_where_that_is_not_wanted(runs, dataset):
    store = EncoderStore.of_run(run_folder(runs, "mine"))
    store.choose(ENCODER, WANTED, dataset)
    choice = store.choose(ENCODER, WANTED, dataset, similar=False)
    assert choice.encoder == choice.wanted
    assert store.choose(ENCODER, WANTED, dataset) == choice


def test_an_encoder_that_saw_bars_of_the_validation_window_is_refused_with_all_times(runs, dataset):
    market, features = SimulatorSpec(n_assets=2, n_bars=1_600, n_outages=4), dataset.table
    spec = FeatureSpec(lookback=8, indicators=features.layout.indicators)
    earlier = build_dataset(market, WindowsSpec(holding=6, validation=0.3), spec)
    choice = EncoderStore.of_run(run_folder(runs, "mine")).choose(ENCODER, SPEC, earlier)
    assert choice.encoder == choice.wanted
    (train,), (validation,) = dataset.windows.train, earlier.windows.validation
    assert "4 refused: " in choice.why
    start, end = dataset.times(train)
    first, last = earlier.times(validation)
    assert (
        f"was trained on bars from {start} to {end}, and the trial's validation window begins at {first} and ends at "
        f"{last}"
    ) in choice.why


def test_an_encoder_that_was_chosen_on_bars_of_the_test_window_is_refused(runs, dataset):
    """Another split, of which the train window is the same."""
    windows = dataclasses.replace(dataset.windows, validation=(), test=dataset.windows.validation[0])
    tested = dataclasses.replace(dataset, windows=windows)
    choice = EncoderStore.of_run(run_folder(runs, "mine")).choose(ENCODER, WANTED, tested)
    first, last = dataset.times(dataset.windows.validation[0])
    assert f"was chosen on bars from {first} to {last}, and the trial's test window begins at {first}" in choice.why


def test_losses_on_other_train_windows_are_not_compared(runs, dataset):
    market = SimulatorSpec(n_assets=2, n_bars=1_600, n_outages=4)
    spec = FeatureSpec(lookback=8, indicators=dataset.layout.indicators)
    later = build_dataset(market, WindowsSpec(holding=6, validation=0.1, test=0.1), spec)
    assert later.windows.train[0].stop > dataset.windows.train[0].stop
    choice = EncoderStore.of_run(run_folder(runs, "mine")).choose(ENCODER, SPEC, later)
    assert choice.encoder == choice.wanted
    assert "features that are scaled differently" in choice.why


def test_a_damaged_encoder_is_named_and_passed_over(runs, dataset):
    broken = runs / "rates" / "encoders" / name_of(dataset, spec=TRIED[0])
    (broken / "encoder_card.json").write_text("{")
    choice = EncoderStore.of_run(run_folder(runs, "mine")).choose(ENCODER, WANTED, dataset)
    assert choice.encoder in [name_of(dataset, spec=spec) for spec in TRIED[1:]]
    assert "best of 2 compatible; 2 refused" in choice.why


def test_a_damaged_record_of_choices_is_refused_and_not_chosen_over(runs, dataset):
    store = EncoderStore.of_run(run_folder(runs, "mine"))
    (runs / "mine" / "encoders.json").write_text("{")
    with pytest.raises(RunFolderError, match=r"encoders\.json is damaged"):
        store.choose(ENCODER, SPEC, dataset)


def test_a_job_that_fails_leaves_no_name_and_no_lock_and_its_error(tmp_path, dataset):
    spec = dataclasses.replace(SPEC, horizon=500)
    for _ in range(2):  # whoever waited comes to the same error
        with pytest.raises(TrainingError, match="lookback"):
            trained(tmp_path, dataset, spec=spec)
        assert [path.name for path in (tmp_path / "encoders").iterdir()] == [f".{name_of(dataset, spec=spec)}.making"]


def test_an_unfinished_folder_under_the_final_name_is_continued(tmp_path, dataset):
    target = tmp_path / "encoders" / name_of(dataset, spec=LONGER)

    def stop(row) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(ENCODER, LONGER, dataset, target, report=stop)
    card = trained(tmp_path, dataset, spec=LONGER)
    assert card.path.parent == target
    assert "1 of 3 epochs done" in (target / "train.log").read_text()


def test_without_locks_a_duplicate_is_harmless(tmp_path, dataset, monkeypatch):
    def unknown(file, operation) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", unknown)
    store, name = EncoderStore(tmp_path), name_of(dataset)

    def overtaken(folder: Path) -> None:
        pretrain(ENCODER, SPEC, dataset, folder)
        pretrain(ENCODER, SPEC, dataset, tmp_path / name)  # the faster process

    card = store.make(name, overtaken)
    assert card.path.parent == tmp_path / name
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_of_two_jobs_that_want_the_same_encoder_one_trains_and_the_other_waits_and_uses_it(tmp_path, dataset):
    both_ask, trained_in = threading.Barrier(2), []

    def work(folder: Path) -> None:
        trained_in.append(folder)
        time.sleep(0.5)  # the other has asked: it would train by now, if nothing held it
        pretrain(ENCODER, SPEC, dataset, folder)

    def ask(_: int) -> str:
        both_ask.wait()
        return EncoderStore(tmp_path / "encoders").make(name_of(dataset), work).weights

    with ThreadPoolExecutor(2) as pool:
        weights = list(pool.map(ask, range(2)))
    assert len(trained_in) == 1 and weights[0] == weights[1] != ""
    (folder,) = (tmp_path / "encoders").iterdir()
    assert json.loads((folder / "config.json").read_text())["fingerprint"] == folder.name


def test_the_work_of_a_killed_process_continues_and_its_lock_blocks_no_process(tmp_path, dataset):
    lock = tmp_path / "encoders" / f".{name_of(dataset, spec=LONGER)}.lock"

    def stop(row) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        EncoderStore(tmp_path / "encoders").make(
            name_of(dataset, spec=LONGER), lambda folder: pretrain(ENCODER, LONGER, dataset, folder, report=stop)
        )
    lock.write_text("killed:1")
    card = trained(tmp_path, dataset, spec=LONGER)
    assert "1 of 3 epochs done" in (card.path.parent / "train.log").read_text()
    assert [path.name for path in (tmp_path / "encoders").iterdir()] == [card.fingerprint]
