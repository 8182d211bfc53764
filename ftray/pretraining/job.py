"""`pretrain`: a pre-training job from its specs to its encoder card, interrupted and continued as often as it takes."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ftray.features import INDICATORS, Dataset
from ftray.market.windows import Window
from ftray.nets import FTSpec, read_checkpoint, weights_fingerprint
from ftray.pretraining.card import exam_size, examine, return_bars
from ftray.pretraining.folder import BAR_SECONDS, BEST_ENCODER, FINAL_ENCODER, EncoderCard, JobFolder, read_card
from ftray.pretraining.probes import Bars
from ftray.pretraining.progress import ProgressBar, epoch_line, show_progress
from ftray.pretraining.samples import draw_samples
from ftray.pretraining.spec import (
    METHOD,
    Device,
    PretrainingSpec,
    check_foresight,
    encoder_fingerprint,
    scaler_fingerprint,
)
from ftray.pretraining.trainer import Trainer, fresh_encoder, new_model
from ftray.spec import to_mapping

Row = dict[str, Any]
"""One epoch of the history: epoch, losses, learning rate, seconds."""


def pretrain(
    encoder: FTSpec,
    spec: PretrainingSpec,
    dataset: Dataset,
    folder: Path | str,
    *,
    report: Callable[[Row], None] | None = None,
    device: Device | None = None,
    progress: bool = False,
) -> EncoderCard:
    """Trains the encoder's market tower by masked feature modelling on the dataset's train windows. Needs no Ray.

    A folder with a finished job is returned at once. An interrupted job continues after its last whole epoch and ends,
    on a CPU, with the same weights as if nothing had happened.

    folder: the job's own, for weights, card and history.
    report: called with every epoch's row of the history: epoch, losses, learning rate, seconds.
    device: where the job was placed, whatever else the machine has; by default it was not placed, and `spec.device`
        decides.
    progress: whether to show a bar on a terminal, lines elsewhere.

    Raises: DataError for features that are not finite; TrainingError for a train window too short, a loss that is not
    finite or a device that is missing; RunFolderError for a folder of another job.
    """
    check_foresight(encoder, spec)
    job = JobFolder(folder, _config(encoder, spec, dataset))
    if job.is_done:
        return read_card(folder)
    parts = draw_samples(dataset, encoder, spec)
    trainer = Trainer(spec, dataset, parts, new_model(encoder, spec, dataset.layout), device)
    history = _resume(job, trainer)
    job.log(f"{len(history)} of {spec.epochs} epochs done; {len(parts[0])} windows to fit, {len(parts[1])} to validate")
    n = trainer.batches_per_epoch
    with show_progress(progress, n * spec.epochs, n * len(history)) as shown:
        while not _is_over(history, spec):
            history.append(_epoch(job, trainer, history, shown))
            if report is not None:
                report(dict(history[-1]))
    return _finish(job, trainer, history, encoder, dataset)


def _config(encoder: FTSpec, spec: PretrainingSpec, dataset: Dataset) -> dict[str, Any]:
    return {
        "fingerprint": encoder_fingerprint(dataset.fingerprint, dataset.layout, encoder, spec),
        "encoder": to_mapping(encoder),
        "pretraining": to_mapping(spec),
        "layout": dataset.layout.to_mapping(),
        "dataset": dataset.fingerprint,
        "method": METHOD,
        "scaler": scaler_fingerprint(dataset.table.scaler),
        "train_windows": [dataset.times(window) for window in dataset.windows.train],
        "validation_windows": [dataset.times(window) for window in dataset.windows.validation],
        BAR_SECONDS: float(dataset.candles.interval / np.timedelta64(1, "s")),
        "torch": str(torch.__version__),
        "plugins": INDICATORS.sources(dataset.layout.indicators),
    }


def _resume(job: JobFolder, trainer: Trainer) -> list[Row]:
    state = job.read_resume()
    if state is None:
        return []
    trainer.load_state_dict(state)
    return state["history"]


def _is_over(history: list[Row], spec: PretrainingSpec) -> bool:
    if not history:
        return False
    idle = len(history) - _best(history)["epoch"]
    return len(history) >= spec.epochs or (spec.patience is not None and idle >= spec.patience)


def _best(history: list[Row]) -> Row:
    return min(history, key=lambda row: row["validation_loss"])


def _epoch(job: JobFolder, trainer: Trainer, history: list[Row], shown: ProgressBar) -> Row:
    spec, epoch = trainer.spec, len(history) + 1
    start = time.perf_counter()
    row: Row = {"epoch": epoch, **trainer.train_epoch(epoch, shown.on_batch), **trainer.validate(epoch)}
    row |= {"learning_rate": trainer.rate, "seconds": time.perf_counter() - start}
    trainer.standardise()
    if _best([*history, row]) is row:
        job.write_weights(BEST_ENCODER, trainer.model, row)
    if epoch % spec.checkpoint_every == 0:
        job.write_weights(f"encoder_epoch_{epoch}.pth", trainer.model, row)
    line = epoch_line(row, spec.epochs)
    job.write_epoch(trainer.state_dict(), [*history, row], line)
    shown.on_epoch(line)
    return row


def _finish(job: JobFolder, trainer: Trainer, history: list[Row], encoder: FTSpec, dataset: Dataset) -> EncoderCard:
    job.write_weights(FINAL_ENCODER, trainer.model, history[-1])
    best, checkpoint = _best(history), read_checkpoint(job.path / BEST_ENCODER)
    trainer.model.load_checkpoint(checkpoint)
    bars, reach = Bars(*(part.bars for part in trainer.parts)), trainer.spec.reach(encoder)
    n_trained = len(history) * trainer.windows_per_epoch
    card = EncoderCard(
        path=job.path / BEST_ENCODER,
        fingerprint=job.config["fingerprint"],
        weights=weights_fingerprint(checkpoint["encoder_state_dict"]),
        validation_loss=best["validation_loss"],
        best_epoch=best["epoch"],
        epochs=len(history),
        dataset=dataset.fingerprint,
        train_times=_times(dataset, bars.fit, reach),
        validation_times=_times(dataset, bars.scored, reach),
        figures=examine(
            trainer.model,
            fresh_encoder(encoder, trainer.spec, dataset.layout),
            dataset,
            bars,
            horizon=trainer.spec.horizon,
            n_windows=exam_size(n_trained),
            n_return_bars=return_bars(n_trained),
            batch_size=trainer.spec.batch_size,
        ),
    )
    job.write_done(card)
    return card


def _times(dataset: Dataset, bars: np.ndarray, horizon: int) -> list[str]:
    """When the first window's first bar and the last label's last bar open."""
    return dataset.times(Window(int(bars[0]) - dataset.layout.lookback + 1, int(bars[-1]) + horizon + 1))
