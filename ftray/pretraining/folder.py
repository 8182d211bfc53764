"""The folder of a pre-training job. This module alone knows its files; each is written whole or not at all.

best_encoder.pth        weights of the epoch with the lowest validation loss
final_encoder.pth       weights of the last epoch
encoder_epoch_N.pth     weights of every N-th epoch
config.json             what the job is: specs, layout, fingerprints
training_history.json   one mapping per epoch, growing
train.log               the same for people
encoder_card.json       what came out: the encoder card
resume.pth              what an interrupted job continues from; deleted when it is done
DONE                    empty, written last
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ftray.errors import RunFolderError
from ftray.files import named, partial_file, replace_file
from ftray.nets import market_state_dict
from ftray.outputs import check_output_folder
from ftray.pretraining.model import MaskedModel

BEST_ENCODER = "best_encoder.pth"
FINAL_ENCODER = "final_encoder.pth"
CONFIG, HISTORY, LOG, RESUME, DONE = "config.json", "training_history.json", "train.log", "resume.pth", "DONE"
CARD = "encoder_card.json"
BAR_SECONDS = "bar_seconds"
"""The key in `config.json` and in checkpoints of how long a bar lasts: `train_windows` has opening times alone."""


@dataclasses.dataclass(frozen=True)
class EncoderCard:
    """What came out of a finished pre-training job.

    path: the checkpoint with the best validation loss, for `FTSpec.pretrained`.
    fingerprint: of everything that the weights depend on; 64 hex digits.
    weights: fingerprint of the best checkpoint's weights; 64 hex digits.
    validation_loss: of the best epoch.
    best_epoch: counted from 1.
    epochs: how many were trained.
    dataset: fingerprint of the data.
    train_times: when the first and last bar open that weights were fitted to, labels included; UTC, ISO 8601.
    validation_times: the same of the bars that chose the best epoch and that the figures were measured on.
    figures: reconstruction of hidden cells, linear probes, those of returns, effective rank; see
        `ftray.pretraining.card.examine`.
    """

    path: Path
    fingerprint: str
    weights: str
    validation_loss: float
    best_epoch: int
    epochs: int
    dataset: str
    train_times: list[str]
    validation_times: list[str]
    figures: dict[str, Any]


def is_finished(folder: Path | str) -> bool:
    """Whether a pre-training job has ended in this folder."""
    return (Path(folder) / DONE).exists()


def read_card(folder: Path | str) -> EncoderCard:
    """The card of a finished job. Raises: RunFolderError where it is not finished or damaged."""
    folder = Path(folder)
    if not is_finished(folder):
        raise RunFolderError(f"{folder} must hold a finished pre-training job, and has no file {DONE}")
    try:
        return EncoderCard(path=folder / BEST_ENCODER, **json.loads((folder / CARD).read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise RunFolderError(f"{folder / CARD} is damaged ({error}): delete the folder and pre-train again") from error


def _differing(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """The fields in which two jobs differ, the first few; their data where no field does."""
    fields = [
        f"{name} {there[part].get(name)} there, {value} here"
        for part in ("encoder", "pretraining", "layout")
        for name, value in here[part].items()
        if isinstance(there.get(part), Mapping) and there[part].get(name) != value
    ]
    more = f" and {len(fields) - 3} more" if len(fields) > 3 else ""
    return "; ".join(fields[:3]) + more if fields else "it was fitted to other data"


class JobFolder:
    """The folder while its job runs."""

    def __init__(self, path: Path | str, config: Mapping[str, Any]):
        """Opens or makes the folder. Raises: RunFolderError where it belongs to another job; OutputError where it
        cannot be written."""
        self.path, self.config = Path(path), config
        if not is_finished(self.path):  # which may be read-only
            check_output_folder(self.path)
        self.path.mkdir(parents=True, exist_ok=True)
        file = self.path / CONFIG
        if not file.exists():
            self._write_json(CONFIG, config)
            return
        try:
            found = json.loads(file.read_text())
            other = found["fingerprint"] != config["fingerprint"]
        except (ValueError, KeyError, TypeError) as error:
            raise RunFolderError(f"{file} is damaged ({error}): delete the folder and pre-train again") from error
        if other:
            raise RunFolderError(
                f"{self.path} must be free or belong to pre-training job {config['fingerprint'][:12]}, but belongs to "
                f"{found['fingerprint'][:12]}: {_differing(found, config)}; give another folder"
            )

    @property
    def is_done(self) -> bool:
        return is_finished(self.path)

    def read_resume(self) -> dict[str, Any] | None:
        """The state after the last whole epoch; None at the start."""
        file = self.path / RESUME
        if not file.exists():
            return None
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # torch names no common class for what a damaged archive can raise
            raise RunFolderError(f"{file} is damaged ({error}): delete the folder and pre-train again") from error

    def write_weights(self, name: str, model: MaskedModel, row: Mapping[str, Any]) -> None:
        """Writes a checkpoint: the weights, and where they come from."""
        weights = {
            "encoder_state_dict": market_state_dict(model.encoder),
            "decoder_state_dict": model.decoder_state_dict(),
        }
        names = ("fingerprint", "encoder", "pretraining", "layout", "dataset", "train_windows", "validation_windows")
        origin = {key: self.config[key] for key in (*names, BAR_SECONDS)}
        self._save(name, {**weights, "metrics": dict(row), **origin})

    def write_epoch(self, state: Mapping[str, Any], history: list[dict[str, Any]], line: str) -> None:
        """Writes what an epoch leaves; the resume point last, so that everything it names exists."""
        self.log(line)
        self._write_json(HISTORY, history)
        self._save(RESUME, {**state, "history": history})

    def write_done(self, card: EncoderCard) -> None:
        """Writes the card, and ends the job."""
        fields = dataclasses.asdict(card)
        del fields["path"]
        self._write_json(CARD, fields)
        replace_file(self.path / DONE, b"")
        (self.path / RESUME).unlink(missing_ok=True)

    def log(self, line: str) -> None:
        with named(self.path / LOG), (self.path / LOG).open("a") as file:
            file.write(line + "\n")

    def _save(self, name: str, content: Any) -> None:
        with partial_file(self.path / name) as partial:
            torch.save(content, partial)

    def _write_json(self, name: str, content: Any) -> None:
        replace_file(self.path / name, json.dumps(content, indent=1, allow_nan=False).encode())
