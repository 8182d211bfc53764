"""What trials share: prepared datasets and pre-trained encoders, each made once and found again by its fingerprint."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ftray.errors import WeightsError
from ftray.features import Dataset, dataset_fingerprint, dataset_of
from ftray.market import load_market
from ftray.pretraining import EncoderCard, encoder_fingerprint, pretrain
from ftray.trial.spec import TrialSpec


def prepare_dataset(spec: TrialSpec, shared: Path, fold: int = 0) -> tuple[Path, Dataset]:
    """The dataset of a fold of the trial, memory-mapped from `shared/data/FINGERPRINT`; built on the first call."""
    candles = load_market(spec.market)
    folder = shared / "data" / dataset_fingerprint(candles, spec.windows, spec.features, fold)
    if not folder.exists():
        dataset_of(candles, spec.windows, spec.features, fold).save(folder)
    return folder, Dataset.load(folder)


def encoder_wanted(spec: TrialSpec, dataset: Dataset) -> str | None:
    """The fingerprint of the pre-training job that the weights of a fold come from; None if it needs no job."""
    encoder = spec.encoder_to_pretrain
    return encoder and encoder_fingerprint(dataset.fingerprint, dataset.layout, encoder, spec.pretraining)


def pretrain_encoder(
    spec: TrialSpec,
    dataset: Dataset,
    shared: Path,
    report: Callable[[dict[str, Any]], None] | None = None,
    *,
    progress: bool = False,
) -> EncoderCard:
    """The pre-training job of a fold, in `shared/encoders/FINGERPRINT`; its card knows where the best weights are.

    A finished job is found there and not repeated; an interrupted one continues from its last epoch.
    """
    encoder, fingerprint = spec.encoder_to_pretrain, encoder_wanted(spec, dataset)
    if encoder is None or fingerprint is None:
        raise WeightsError("this trial asks for no pre-training: set trial.encoder.kind: ft and pretrained: auto")
    folder = shared / "encoders" / fingerprint
    return pretrain(encoder, spec.pretraining, dataset, folder, report=report, progress=progress)
