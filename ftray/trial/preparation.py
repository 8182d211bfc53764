"""What trials share: prepared datasets and pre-trained encoders, each made once and found by its fingerprint."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ftray.errors import WeightsError
from ftray.features import Dataset, dataset_fingerprint, dataset_of
from ftray.market import load_market
from ftray.nets import FTSpec, build_encoder, check_market_weights
from ftray.plots.encoders import write_encoder_page
from ftray.pretraining import Choice, EncoderCard, EncoderStore, encoder_fingerprint, pretrain
from ftray.pretraining.spec import Device
from ftray.storage import local
from ftray.trial.spec import TrialSpec
from ftray.trial.vram import layout_of


def prepare_dataset(spec: TrialSpec, shared: Path, fold: int = 0) -> tuple[Path, Dataset]:
    """The dataset of a fold of the trial, memory-mapped from `shared/data/FINGERPRINT`; built on the first call."""
    candles = load_market(spec.market)
    folder = shared / "data" / dataset_fingerprint(candles, spec.windows, spec.features, fold)
    if not folder.exists():
        dataset_of(candles, spec.windows, spec.features, fold).save(folder)
    return folder, Dataset.load(folder)


def check_checkpoint(spec: TrialSpec) -> None:
    """Refuses a checkpoint that the trial's encoder cannot start from, before any process of the trial is started.

    Raises: WeightsError with the path, and the fields that differ.
    """
    encoder = spec.encoder
    if isinstance(encoder, FTSpec) and encoder.pretrained not in ("none", "auto"):
        with torch.device("meta"):  # its shapes are enough
            module = build_encoder(encoder, layout_of(spec))
        check_market_weights(module, local(encoder.pretrained))


def choose_encoder(spec: TrialSpec, dataset: Dataset, run: Path, *, similar: bool = True) -> Choice:
    """Whose weights `pretrained: auto` takes on a fold, in every process from now on (`EncoderStore.choose`).

    The store holds the encoders of the run folder and of the other run folders in the same place.
    """
    store = EncoderStore.of_run(run)
    return store.choose(_to_pretrain(spec), spec.pretraining, dataset, similar=similar)


def pretrain_encoder(
    spec: TrialSpec,
    dataset: Dataset,
    shared: Path,
    report: Callable[[dict[str, Any]], None] | None = None,
    *,
    device: Device | None = None,
    progress: bool = False,
) -> EncoderCard:
    """The pre-training job of a fold, or the one that was chosen for it, in `shared/encoders/FINGERPRINT`; its card
    knows where the best weights are.

    A finished job is found there and not repeated; an interrupted one continues from its last epoch; it
    waits for one that another process is training. The page of the card's plots is stored with the card.

    device: where the job was placed (`pretrain`).
    """
    encoder = _to_pretrain(spec)
    fingerprint = encoder_fingerprint(dataset.fingerprint, dataset.layout, encoder, spec.pretraining)

    def job(folder: Path) -> EncoderCard:
        card = pretrain(encoder, spec.pretraining, dataset, folder, report=report, device=device, progress=progress)
        write_encoder_page(folder)
        return card

    return EncoderStore(shared / "encoders").make(fingerprint, job)


def _to_pretrain(spec: TrialSpec) -> FTSpec:
    if spec.encoder_to_pretrain is None:
        raise WeightsError("this trial asks for no pre-training: set trial.encoder.kind: ft and pretrained: auto")
    return spec.encoder_to_pretrain
