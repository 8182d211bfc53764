"""The steps of benchmarks/gpu.py that run whole jobs: pre-training, PPO, a study that shares the GPU.

Each is a generator of rows. On a CPU they run the same jobs at small sizes.
"""

import contextlib
import dataclasses
import json
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gpu_alone import output_of
from trainings import CANDLES, real_candles

from ftray.features import Dataset, FeatureSpec, dataset_of
from ftray.market import SimulatorSpec, WindowsSpec, load_market
from ftray.nets import PRESETS
from ftray.pretraining import PretrainingSpec, pretrain
from ftray.pretraining.probes import PROBES

Row = dict[str, Any]
N_BARS = 30_000
EPOCHS = 30
"""Of a whole pre-training: its default."""


def dataset(device: str) -> Dataset:
    """Real hourly candles where they are, else 30,000 simulated bars; a few of these on a CPU."""
    if device == "cuda":
        return dataset_of(real_candles(CANDLES, N_BARS), WindowsSpec(), FeatureSpec())
    return dataset_of(load_market(SimulatorSpec(n_assets=7, n_bars=1_500)), WindowsSpec(), FeatureSpec(lookback=12))


def pretraining(device: str, quick: bool) -> Iterator[Row]:
    """The balanced encoder on 30,000 hourly bars: two epochs, interrupted after the first one; 30 of them reckoned."""
    data, encoder = dataset(device), PRESETS["balanced" if device == "cuda" else "small"]
    small = {} if device == "cuda" else {"windows_per_epoch": 128}
    if device == "cpu":
        PROBES.clear()  # of this process: they take a minute, however small the encoder
    spec = PretrainingSpec(epochs=2, device=device, **small)  # type: ignore[arg-type]

    def interrupt(row: Row) -> None:
        raise KeyboardInterrupt

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "job"
        with contextlib.suppress(KeyboardInterrupt):
            pretrain(encoder, spec, data, folder, report=interrupt)
        rows: list[Row] = []
        start = time.perf_counter()
        card = pretrain(encoder, spec, data, folder, report=rows.append)
        yield {"epochs_after_the_interruption": [row["epoch"] for row in rows], "epochs": card.epochs}
        whole = time.perf_counter() - start
    epoch = rows[-1]["seconds"]
    yield {"bars": len(data.candles), "epoch_seconds": epoch, "exam_seconds": whole - epoch}
    yield {"reckoned_seconds": EPOCHS * epoch + whole - epoch, "epochs": EPOCHS}
    if device == "cuda":
        with tempfile.TemporaryDirectory() as temporary:
            start = time.perf_counter()
            whole_spec = dataclasses.replace(spec, epochs=EPOCHS)
            card = pretrain(encoder, whole_spec, data, Path(temporary) / "job")
            row = {"seconds": time.perf_counter() - start, "epochs": card.epochs}
            yield row | {"validation_loss": card.validation_loss, "figures": card.figures}


def ppo(device: str, quick: bool) -> Iterator[Row]:
    """benchmarks/rl.py with its learner on the device, without and with env runners in processes of their own."""
    import rl

    few = (rl.MLP, rl.BALANCED if device == "cuda" else rl.FROZEN)  # env runners take half a minute to start, each time
    for runners, contenders in ((0, rl.ON_GPU if device == "cuda" else few), (2, few)):
        with tempfile.TemporaryDirectory() as folder:
            found = Path(folder) / "rl.json"
            options = ["--json", str(found), "--device", device, "--runners", str(runners), "--threads", "2"]
            rl.main(options + ["--quick"] * (quick or device == "cpu"), contenders)
            result = json.loads(found.read_text())
        yield {"runners": runners, **{name: result[name] for name in ("rows", "targets", "cache_seconds", "machine")}}


def study(device: str, quick: bool) -> Iterator[Row]:
    """Six small trials with shares of the GPU: one is out of memory once, one is killed once and goes on."""
    from ftray.runs import RunFolder
    from ftray.study import parse_study
    from ftray.study.run import run_study

    big = device == "cuda"
    ft = {"kind": "ft", "d_token": 64 if big else 32, "n_blocks": 2 if big else 1, "n_heads": 2, "encoding_dim": 256}
    trial = {
        "market": {"kind": "simulator", "n_assets": 7 if big else 2, "n_bars": 6_000 if big else 1_200},
        "features": {"lookback": 60 if big else 8},
        "encoder": ft | ({} if big else {"patch_length": 8}),
        "ppo": {"env_steps": 4_096, "train_batch_size": 1_024, "n_env_runners": 0, "evaluate_every": 1},
        "trading": {"episode_bars": {"int": [100, 105]}},
        "onnx": False,
    }
    points = [{"trial/trading/episode_bars": 100 + number} for number in range(6)]
    search = {"n_trials": len(points), "points": points, "retry_after": 1}
    spec = parse_study({"name": "shared", "trial": trial, "search": search})
    with tempfile.TemporaryDirectory() as root:
        start = time.perf_counter()
        run = run_study(spec, Path(root), trial_fn=unlucky)
        yield {"seconds": time.perf_counter() - start}
        run = RunFolder.open(run.location)
        for record in run.records():
            events = run.trial_folder(record.id).events()
            names = [event["event"] for event in events]
            row = {"trial": record.id, "state": record.state, "error": record.error, "events": names}
            for name in ("vram/planned_gib", "vram/used_gib", "env_steps", "steps_per_second", "wall_seconds"):
                row[name] = record.metrics.get(name)
            yield row | {"out_of_memory": [event for event in events if event["event"] == "out_of_memory"]}
        for seen in run.path.glob("trials/*/processes.txt"):
            yield {"processes on the GPU": seen.read_text()}


def unlucky(spec: Any, report: Any, *, folder: Path, resume: Path | None, memory_plan: Any, **given: Any) -> None:
    """`run_trial`, but trial 1 takes all memory that it may once, and trial 2 is killed once after a checkpoint.

    The last trial notes which processes the driver sees on the GPU, by their names.
    """
    import torch

    from ftray.agent.devices import cap_gpu_memory
    from ftray.trial.memory_plan import FULL
    from ftray.trial.out_of_memory import translate_out_of_memory
    from ftray.trial.run import run_trial

    number = spec.trading.episode_bars - 100

    def reported(metrics: Row, checkpoint: Path | None = None) -> None:
        report(metrics, checkpoint=checkpoint)
        if number == 2 and resume is None and checkpoint is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        if number == 5 and given["gpus"].learner:
            fields = "--query-compute-apps=pid,process_name,used_memory"
            (folder / "processes.txt").write_text(output_of("nvidia-smi", fields, "--format=csv,noheader"))

    if number == 1 and memory_plan == FULL:
        with translate_out_of_memory(spec, memory_plan):
            cap_gpu_memory(given["gpus"].learner_cap_gib, given["gpus"].planned_gib)
            hoard: list[torch.Tensor] = []
            while given["gpus"].learner:
                hoard.append(torch.empty(2**26, dtype=torch.uint8, device="cuda"))
            raise torch.OutOfMemoryError("as a GPU would say: CUDA out of memory")
    run_trial(spec, reported, folder=folder, resume=resume, memory_plan=memory_plan, **given)


STEPS = {"pretraining": pretraining, "ppo": ppo, "study": study}
