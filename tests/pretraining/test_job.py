import copy
import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

from ftray.agent.vectors import market_vectors
from ftray.errors import RunFolderError, TrainingError, WeightsError
from ftray.features import FeatureSpec, build_dataset
from ftray.market import SimulatorSpec, WindowsSpec
from ftray.nets import build_encoder, load_market_weights, market_state_dict, weights_fingerprint
from ftray.pretraining import PretrainingSpec, pretrain, read_card
from ftray.pretraining.folder import JobFolder
from ftray.pretraining.progress import show_progress
from ftray.pretraining.samples import draw_samples
from ftray.pretraining.trainer import Trainer, has_bfloat16, new_model, pick_device, seeded
from tests.pretraining.conftest import ENCODER, SPEC, WITH_RETURNS
from tests.vram.stand_ins import Cuda

pytestmark = pytest.mark.usefixtures("without_probes")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    return folder, pretrain(ENCODER, SPEC, dataset, folder)


def weights(path):
    return torch.load(path, weights_only=True)["encoder_state_dict"]


def losses(folder):
    rows = json.loads((folder / "training_history.json").read_text())
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def test_a_finished_folder_holds_what_the_format_promises(finished, dataset):
    folder, card = finished
    names = {"best_encoder.pth", "final_encoder.pth", "encoder_epoch_2.pth"}
    names |= {"config.json", "training_history.json", "train.log", "encoder_card.json", "DONE"}
    assert {file.name for file in folder.iterdir()} == names
    assert card == read_card(folder)
    assert [row["epoch"] for row in losses(folder)] == [1, 2, 3]
    assert card.validation_loss == min(row["validation_loss"] for row in losses(folder))
    assert json.loads((folder / "config.json").read_text())["fingerprint"] == card.fingerprint
    assert weights_fingerprint(weights(card.path)) == card.weights


def test_checkpoints_load_into_an_encoder_of_any_head(finished, dataset):
    for name in ("best_encoder.pth", "final_encoder.pth", "encoder_epoch_2.pth"):
        encoder = build_encoder(dataclasses.replace(ENCODER, encoding_dim=512), dataset.layout)
        load_market_weights(encoder, finished[0] / name)
        assert weights_fingerprint(market_state_dict(encoder)) == weights_fingerprint(weights(finished[0] / name))


def test_checkpoints_hold_no_mask_rows_and_no_decoder(finished):
    assert not [name for name in weights(finished[1].path) if "mask" in name or "decoder" in name]


def test_a_finished_folder_is_answered_at_once(finished, dataset, monkeypatch):
    monkeypatch.setattr(Trainer, "train_epoch", None)
    assert pretrain(ENCODER, SPEC, dataset, finished[0]) == finished[1]


def test_the_same_seed_gives_the_same_weights_whatever_the_head(finished, dataset, tmp_path):
    wider = dataclasses.replace(ENCODER, encoding_dim=512)
    torch.manual_seed(12345)
    assert pretrain(wider, SPEC, dataset, tmp_path).weights == finished[1].weights


def test_another_seed_gives_other_weights(finished, dataset, tmp_path):
    assert pretrain(ENCODER, dataclasses.replace(SPEC, seed=1), dataset, tmp_path).weights != finished[1].weights


def test_a_folder_of_another_job_is_refused(finished, dataset):
    with pytest.raises(RunFolderError, match="belongs to"):
        pretrain(ENCODER, dataclasses.replace(SPEC, seed=1), dataset, finished[0])


def test_pretraining_leaves_the_callers_random_numbers_alone(dataset, tmp_path):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    pretrain(ENCODER, dataclasses.replace(SPEC, epochs=1), dataset, tmp_path)
    assert torch.equal(torch.rand(3), expected)


def test_it_learns_to_fill_in_hidden_cells_to_see_the_present_and_to_foresee_volatility(dataset, tmp_path):
    spec = dataclasses.replace(SPEC, epochs=12, windows_per_epoch=None, learning_rate=3e-3, pooled_weight=0.1)
    samples = draw_samples(dataset, ENCODER, spec)
    untrained = Trainer(spec, dataset, samples, new_model(ENCODER, spec, dataset.layout)).validate(epoch=0)
    rows = []
    pretrain(ENCODER, spec, dataset, tmp_path, report=rows.append)
    assert rows[-1]["validation_masked_loss"] < 0.75 * untrained["validation_masked_loss"]
    assert rows[-1]["validation_present_loss"] < 0.7 * rows[0]["validation_present_loss"]
    assert rows[-1]["validation_pooled_loss"] < 0.85 * 0.5 * (samples[1].labels ** 2).mean()


def test_it_learns_to_foresee_returns_where_volume_tells_of_them(tmp_path):
    market = SimulatorSpec(n_assets=2, n_bars=3_000, leak=1.0, drift=0.0)
    dataset = build_dataset(market, WindowsSpec(holding=6), FeatureSpec(lookback=8, indicators=("close", "volume")))
    spec = dataclasses.replace(SPEC, epochs=8, windows_per_epoch=None, learning_rate=3e-3, return_weight=1.0)
    rows = []
    pretrain(dataclasses.replace(ENCODER, horizons=(1,)), spec, dataset, tmp_path, report=rows.append)
    # Of a label of variance 1, nothing known costs about a half.
    assert rows[-1]["validation_return_loss"] < 0.3
    assert all("validation_return_loss" in row and "train_return_loss" in row for row in rows)


def test_forecasts_come_out_of_pre_training_with_mean_0_and_variance_1(dataset, tmp_path):
    forecaster = dataclasses.replace(ENCODER, readout="forecasts")
    card = pretrain(forecaster, WITH_RETURNS, dataset, tmp_path)
    encoder = build_encoder(dataclasses.replace(forecaster, pretrained=str(card.path), frozen=True), dataset.layout)
    load_market_weights(encoder, card.path)
    bars = draw_samples(dataset, forecaster, WITH_RETURNS)[0].bars
    found = market_vectors(encoder, torch.from_numpy(dataset.table.values.copy()), bars)[bars]
    torch.testing.assert_close(found.mean(dim=0), torch.zeros(encoder.d_market), atol=1e-3, rtol=0)
    torch.testing.assert_close(found.std(dim=0), torch.ones(encoder.d_market), atol=1e-3, rtol=0)
    with pytest.raises(WeightsError, match="readout"):
        load_market_weights(build_encoder(ENCODER, dataset.layout), card.path)


def test_history_and_log_grow_epoch_by_epoch(dataset, tmp_path):
    seen = []

    def report(row):
        lines = (tmp_path / "train.log").read_text().splitlines()
        seen.append((row["epoch"], len(losses(tmp_path)), sum(line.startswith("epoch ") for line in lines)))

    pretrain(ENCODER, SPEC, dataset, tmp_path, report=report)
    assert seen == [(1, 1, 1), (2, 2, 2), (3, 3, 3)]


@pytest.mark.parametrize(
    ("asked", "placed", "here", "there"),  # what the spec asks for, where the job booked, with a GPU here and without
    [
        ("auto", None, "cuda", "cpu"),
        ("auto", "cpu", "cpu", "cpu"),  # the GPU of the machine belongs to another process
        ("auto", "cuda", "cuda", "torch sees no CUDA device"),
        ("cpu", None, "cpu", "cpu"),
        ("cpu", "cpu", "cpu", "cpu"),
        ("cpu", "cuda", "cpu", "cpu"),
        ("cuda", None, "cuda", "torch sees no CUDA device"),
        ("cuda", "cpu", "was placed on CPUs", "was placed on CPUs"),
        ("cuda", "cuda", "cuda", "torch sees no CUDA device"),
    ],
)
def test_a_job_computes_where_it_was_placed_and_elsewhere_where_its_spec_says(asked, placed, here, there):
    for cuda, expected in ((Cuda(12.0), here), (Cuda(), there)):
        if expected in ("cpu", "cuda"):
            assert pick_device(asked, placed, cuda).type == expected
        else:
            with pytest.raises(TrainingError, match=expected):
                pick_device(asked, placed, cuda)
        assert not cuda.initialized


def test_autocast_is_for_gpus_that_compute_in_bfloat16_themselves():
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    assert has_bfloat16(cuda, Cuda(40.0, "A100")) and not has_bfloat16(cpu, Cuda(40.0, "A100"))
    assert not has_bfloat16(cuda, Cuda(15.0, "Tesla T4", native_bfloat16=False))  # emulates it


def test_a_job_that_was_placed_on_cpus_leaves_the_gpu_of_its_machine_alone(finished, dataset, tmp_path, monkeypatch):
    def refused(*_, **__):
        raise AssertionError("a step on the CPU must not ask for a stream, which initialises CUDA")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "current_stream", refused)  # what PyTorch's optimisers ask
    pretrain(ENCODER, dataclasses.replace(SPEC, device="auto"), dataset, tmp_path, device="cpu")
    assert losses(tmp_path) == losses(finished[0])


def test_random_numbers_for_the_cpu_leave_the_gpus_alone(monkeypatch):
    """PyTorch keeps the random numbers of every GPU by default, and initialises CUDA to read them."""

    def refused(*_):
        raise AssertionError("CUDA must not be initialised")

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_rng_state", refused)
    before = torch.get_rng_state()
    with seeded(1, 2):
        first = torch.rand(3)
    with seeded(1, 2):
        assert torch.equal(torch.rand(3), first)
    assert torch.equal(torch.get_rng_state(), before)


SCRIPT = textwrap.dedent("""
    import os, signal, sys
    from pathlib import Path
    from tests.pretraining.conftest import ENCODER, SPEC, small_dataset
    from ftray.pretraining import folder, pretrain

    def killed(name):
        os.kill(os.getpid(), signal.SIGKILL)

    where = sys.argv[2]
    if where == "between epochs":
        pretrain(ENCODER, SPEC, small_dataset(), Path(sys.argv[1]), report=killed)
    saved = folder.torch.save
    def half(content, path):
        saved(content, path)
        if where in path.name and content.get("metrics", {"epoch": 2})["epoch"] == 2:
            os.truncate(path, 1000)
            killed(path.name)
    folder.torch.save = half
    pretrain(ENCODER, SPEC, small_dataset(), Path(sys.argv[1]))
""")


@pytest.mark.parametrize(
    "where", ["between epochs", *(pytest.param(file, marks=pytest.mark.long) for file in ("encoder_epoch_2", "resume"))]
)
def test_a_killed_job_ends_as_if_nothing_had_happened(finished, dataset, tmp_path, where):
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    killed = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path), where], env=environment, cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "DONE").exists()
    for file in tmp_path.glob("*.pth"):
        torch.load(file, weights_only=True)  # whole, or not there under its name
    card = pretrain(ENCODER, SPEC, dataset, tmp_path)
    assert card == dataclasses.replace(finished[1], path=card.path)
    assert losses(tmp_path) == losses(finished[0])
    for name in ("best_encoder.pth", "final_encoder.pth", "encoder_epoch_2.pth"):
        assert weights_fingerprint(weights(tmp_path / name)) == weights_fingerprint(weights(finished[0] / name))


def test_patience_stops_a_job_that_gets_no_better(dataset, tmp_path, monkeypatch):
    scores = iter([3.0, 2.0, 2.5, 2.0, 9.0])
    kinds = ("validation_loss", "validation_masked_loss", "validation_pooled_loss", "validation_present_loss")
    monkeypatch.setattr(Trainer, "validate", lambda self, epoch: dict.fromkeys(kinds, next(scores)))
    spec = dataclasses.replace(SPEC, epochs=20, patience=2, windows_per_epoch=32)
    card = pretrain(ENCODER, spec, dataset, tmp_path)
    assert (card.best_epoch, card.epochs) == (2, 4)


def test_a_loss_that_is_not_finite_stops_with_epoch_batch_feature_and_range(dataset, with_values, tmp_path):
    series = dataset.layout.series("cci", dataset.layout.symbols[0])
    broken = with_values(slice(400, 700), series, 3e38)
    words = rf"epoch 1, batch \d; .*cci\[{dataset.layout.symbols[0]}, t-\d\], between .* and 3e\+38"
    with pytest.raises(TrainingError, match=words):
        pretrain(ENCODER, SPEC, broken, tmp_path)


def test_checkpoints_before_a_broken_epoch_stay_valid(dataset, tmp_path, monkeypatch):
    step = Trainer._step

    def breaks(self, epoch, batch, *rest):
        if (epoch, batch) == (3, 1):
            with torch.no_grad():
                self.model.decoder.fill_(np.nan)
        return step(self, epoch, batch, *rest)

    with monkeypatch.context() as patch, pytest.raises(TrainingError, match="epoch 3, batch 2;"):
        patch.setattr(Trainer, "_step", breaks)
        pretrain(ENCODER, SPEC, dataset, tmp_path)
    for name in ("best_encoder.pth", "encoder_epoch_2.pth"):
        load_market_weights(build_encoder(ENCODER, dataset.layout), tmp_path / name)
    assert pretrain(ENCODER, SPEC, dataset, tmp_path).epochs == 3


def test_a_validation_loss_that_is_not_finite_stops_too(dataset, with_values, tmp_path):
    validation = draw_samples(dataset, ENCODER, SPEC)[1].bars
    broken = with_values(slice(validation[0], validation[-1] + 1), 0, 3e38)
    with pytest.raises(TrainingError, match=r"validation after epoch 1, batch 1; .*t-\d\], between"):
        pretrain(ENCODER, SPEC, broken, tmp_path)
    assert not list(tmp_path.glob("*.pth"))


def test_cuda_asked_for_and_missing_says_what_to_do(dataset, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(TrainingError, match="set it to auto or cpu"):
        pretrain(ENCODER, PretrainingSpec(device="cuda", horizon=6), dataset, tmp_path)


def test_a_card_of_an_unfinished_job_is_refused(tmp_path):
    with pytest.raises(RunFolderError, match="finished"):
        read_card(tmp_path)


def test_a_damaged_resume_point_says_what_to_do(dataset, tmp_path):
    (tmp_path / "resume.pth").write_bytes(b"half")
    with pytest.raises(RunFolderError, match="delete the folder"):
        JobFolder(tmp_path, {"fingerprint": "f"}).read_resume()


def test_initial_weights_do_not_depend_on_the_head(dataset):
    models = [new_model(dataclasses.replace(ENCODER, encoding_dim=n), SPEC, dataset.layout) for n in (256, 1024)]
    assert len({weights_fingerprint(model) for model in models}) == 1


def test_progress_is_a_plain_line_per_epoch_and_only_where_asked_for(dataset, tmp_path, capsys):
    pretrain(ENCODER, SPEC, dataset, tmp_path / "quiet")
    assert capsys.readouterr().out == ""
    pretrain(ENCODER, SPEC, dataset, tmp_path / "loud", progress=True)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["1/3", "2/3", "3/3"]


def test_progress_on_a_terminal_is_a_bar_that_keeps_the_lines(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    with show_progress(True, n_batches=2, n_done=1) as shown:
        shown.on_batch()
        shown.on_epoch("epoch 1/1")
    assert "epoch 1/1" in capsys.readouterr().out


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_job_on_a_gpu_computes_in_bfloat16_and_leaves_weights_for_any_machine(dataset, tmp_path, monkeypatch):
    types = set()
    losses = Trainer._losses

    def watched(self, *arguments):
        layer = self.model.encoder.tower.blocks[0].attention.query
        with layer.register_forward_hook(lambda module, given, out: types.add(out.dtype)):
            return losses(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_losses", watched)
        card = pretrain(ENCODER, dataclasses.replace(SPEC, device="cuda"), dataset, tmp_path)
    native = torch.cuda.is_bf16_supported(including_emulation=False)
    assert types == {torch.bfloat16 if native else torch.float32}
    load_market_weights(build_encoder(ENCODER, dataset.layout), card.path)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_steps_that_run_as_a_graph_train_as_others_do(dataset):
    spec = dataclasses.replace(SPEC, device="cuda", dropout=0.0, batch_size=16, windows_per_epoch=200)
    parts, found = draw_samples(dataset, ENCODER, spec), []
    for captured in (True, False):
        trainer = Trainer(spec, dataset, parts, new_model(ENCODER, spec, dataset.layout))
        trainer._steps_to_capture = trainer._steps_to_capture if captured else -1
        rows = [trainer.train_epoch(epoch, lambda: None) | trainer.validate(epoch) for epoch in (1, 2)]
        assert (trainer._captured is not None) == captured
        found.append([value for row in rows for value in row.values()])
    assert found[0] == pytest.approx(found[1], rel=1e-2)


def test_a_job_interrupted_on_a_gpu_continues_on_a_cpu(dataset):
    """The other device's options come along in the optimiser's state, and would be obeyed."""
    parts, found = draw_samples(dataset, ENCODER, SPEC), []
    for from_gpu in (False, True):
        trainer = Trainer(SPEC, dataset, parts, new_model(ENCODER, SPEC, dataset.layout))
        trainer.train_epoch(1, lambda: None)
        state = copy.deepcopy(trainer.state_dict())
        for group in state["optimizer"]["param_groups"] if from_gpu else ():
            group |= {"fused": True, "capturable": True, "lr": torch.tensor(group["lr"])}
        trainer.load_state_dict(state)
        assert all(not group["capturable"] and not group["fused"] for group in trainer.optimizer.param_groups)
        found.append(trainer.train_epoch(2, lambda: None))
    assert found[0] == found[1]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_job_interrupted_on_a_cpu_continues_on_a_gpu(dataset):
    parts = draw_samples(dataset, ENCODER, SPEC)
    here = Trainer(SPEC, dataset, parts, new_model(ENCODER, SPEC, dataset.layout))
    here.train_epoch(1, lambda: None)
    spec = dataclasses.replace(SPEC, device="cuda")
    there = Trainer(spec, dataset, parts, new_model(ENCODER, spec, dataset.layout))
    there.load_state_dict(copy.deepcopy(here.state_dict()))
    assert all(state["step"].device.type == "cuda" for state in there.optimizer.state.values())
    there.train_epoch(2, lambda: None)
