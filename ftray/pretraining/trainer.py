"""The training loop's inside: one epoch over windows gathered on the device, one pass over the validation windows.

Every random number is a function of (seed, stream, epoch): an epoch can be repeated after any interruption.

Legend: B batch, S series, L lookback, T bars, A assets.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ftray.errors import TrainingError
from ftray.features import Dataset, ObservationLayout
from ftray.nets import FTSpec, FTTransformer, draw_mask, gather_windows
from ftray.nets.graphs import GRAPHS_VARIABLE, WARM_UP, CapturedStep, side_stream, worth_a_graph
from ftray.nets.optimisers import within_its_devices
from ftray.pretraining.memory import step_bytes
from ftray.pretraining.model import Losses, MaskedModel
from ftray.pretraining.samples import Samples, thin
from ftray.pretraining.spec import Device, PretrainingSpec, tower_spec

STANDARDISED_ON = 2_048
"""Bars, at most, that the deviations of forecasts are measured on."""

INIT, ORDER, MASKS, DROPOUT, VALIDATION, FRESH = range(6)
"""Streams of random numbers, none of which moves when another is used more or less."""


class Trainer:
    """Model, optimiser and the data they need, on one device. placed: see `pick_device`."""

    def __init__(
        self,
        spec: PretrainingSpec,
        dataset: Dataset,
        parts: tuple[Samples, Samples],
        model: MaskedModel,
        placed: Device | None = None,
    ):
        self.spec, self.layout, self.parts = spec, dataset.layout, parts
        self.device = pick_device(spec.device, placed)
        self.bfloat16 = has_bfloat16(self.device)
        self.model = model.to(self.device)
        self.table = torch.from_numpy(np.array(dataset.table.values, np.float32)).to(self.device)
        self.fit, self.validation = (
            (torch.from_numpy(part.bars).to(self.device), torch.from_numpy(part.labels).to(self.device))
            for part in parts
        )
        self.windows_per_epoch = min(spec.windows_per_epoch or len(parts[0]), len(parts[0]))
        self.batches_per_epoch = math.ceil(self.windows_per_epoch / spec.batch_size)
        parameters = model.trained_parameters()
        decayed, free = [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1]
        groups = [{"params": decayed}, {"params": free, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=spec.learning_rate, weight_decay=spec.weight_decay)
        self.optimizer = within_its_devices(optimizer)
        self._set_options()
        self._captured: CapturedStep | None = None
        tower = model.encoder.spec
        assert isinstance(tower, FTSpec)
        captured = worth_a_graph(self.device, step_bytes(tower, spec, self.layout))
        self._steps_to_capture = WARM_UP if captured else -1

    def train_epoch(self, epoch: int, on_batch: Callable[[], None]) -> dict[str, float]:
        """One epoch of optimiser steps. Raises: TrainingError at a loss or gradient that is not finite."""
        self.model.train()
        order = torch.randperm(len(self.fit[0]), generator=self._generator(ORDER, epoch), device=self.device)
        masks = self._generator(MASKS, epoch)
        total = None
        with seeded(self.spec.seed, DROPOUT, epoch):
            for i, batch in enumerate(order[: self.windows_per_epoch].split(self.spec.batch_size)):
                losses = self._step(epoch, i, self.fit[0][batch], self.fit[1][batch], masks)
                total = losses if total is None else total + losses
                on_batch()
        return self._means("train", total)

    @torch.no_grad()
    def validate(self, epoch: int) -> dict[str, float]:
        """The losses on the validation windows after an epoch, under the same masks in every epoch.

        Raises: TrainingError at a loss that is not finite.
        """
        self.model.eval()
        masks, total = self._generator(VALIDATION, 0), None
        for i, (bars, labels) in enumerate(self._batches(self.validation)):
            sampled = self._sampled(bars, labels, masks)
            losses, predicted = self._losses(*sampled)
            sums = losses.masked + losses.pooled + losses.present + losses.returns
            self._require_finite(sums, f"validation after epoch {epoch}", i, sampled[0], predicted)
            total = losses if total is None else total + losses
        return self._means("validation", total)

    @torch.no_grad()
    def standardise(self) -> None:
        """Measures how far an encoder's forecasts deviate, on bars that it was fitted to, where it gives forecasts."""
        if self.model.encoder.spec.readout != "forecasts":
            return
        self.model.eval()
        bars = thin(self.parts[0].bars, STANDARDISED_ON)
        batches = torch.from_numpy(bars).to(self.device).split(self.spec.batch_size)
        windows = (gather_windows(self.table, batch, self.layout.lookback) for batch in batches)
        self.model.encoder.standardise(windows)

    def state_dict(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self._set_options()  # those of the state are another device's, where the job was interrupted there

    @property
    def rate(self) -> float:
        """The learning rate of the last step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def _set_options(self) -> None:
        """On a GPU one kernel updates all weights, and reads its learning rate there: a graph would keep a number."""
        for group in self.optimizer.param_groups:
            cuda = self.device.type == "cuda"
            rate = torch.tensor(float(group["lr"]), device=self.device) if cuda else float(group["lr"])
            group |= {"lr": rate, "fused": cuda or None, "capturable": cuda}
        for state in self.optimizer.state.values():  # loading puts it where the options of the saved groups want it
            state["step"] = state["step"].to(self.device)

    def _step(self, epoch: int, batch: int, bars: Tensor, labels: Tensor, masks: torch.Generator) -> Losses:
        rate = learning_rate(self.spec, (epoch - 1) * self.batches_per_epoch + batch, self._n_steps)
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        sampled = self._sampled(bars, labels, masks)
        *losses, total, predicted = self._run(*sampled)
        self._require_finite(total, f"epoch {epoch}", batch, sampled[0], predicted)
        return Losses(*(value.clone() for value in losses))  # a replay overwrites its outputs

    def _run(self, *sampled: Tensor) -> tuple[Tensor, ...]:
        """`_update`, as a CUDA graph once it has warmed up; a last batch that is smaller runs kernel by kernel."""
        if self._captured is not None and self._captured.fits(*sampled):
            return self._captured(*sampled)
        if self._steps_to_capture < 0 or len(sampled[0]) < min(self.spec.batch_size, self.windows_per_epoch):
            return self._update(*sampled)
        self._steps_to_capture -= 1
        if self._steps_to_capture >= 0:
            with side_stream():
                return self._update(*sampled)
        try:
            self._captured = CapturedStep(self._update, *sampled)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise TrainingError(
                f"CUDA could not record the pre-training step as a graph ({error}): set {GRAPHS_VARIABLE}=off in the "
                "environment to run it kernel by kernel, at a quarter of the speed; finished epochs are kept"
            ) from error
        return self._captured(*sampled)

    def _update(self, windows: Tensor, labels: Tensor, shown: Tensor, mask: Tensor, hidden: Tensor) -> Any:
        """One step of the optimiser: the fields of `Losses`, a number that is finite if all is, and the predictions."""
        losses, predicted = self._losses(windows, labels, shown, mask, hidden)
        loss = losses.total(self.spec.pooled_weight, self.spec.return_weight)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.trained_parameters(), self.spec.grad_clip)
        self.optimizer.step()
        return (*(value.detach() for value in vars(losses).values()), loss.detach() + norm, predicted.detach())

    def _losses(
        self, windows: Tensor, labels: Tensor, shown: Tensor, mask: Tensor, hidden: Tensor
    ) -> tuple[Losses, Tensor]:
        """Losses, and the predicted features."""
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=self.bfloat16):
            predictions = self.model(shown, mask)
        return self.model.losses(predictions, (windows, labels), hidden), predictions[0]

    def _sampled(self, bars: Tensor, labels: Tensor, masks: torch.Generator) -> tuple[Tensor, ...]:
        """Windows as they are, their labels, windows as they are shown, the mask, and which cells are hidden."""
        windows = gather_windows(self.table, bars, self.layout.lookback)
        hidden = draw_mask(self.spec.masks, self.spec.mask_ratio, tuple(windows.shape), masks)
        return windows, labels, *self._resampled(windows, hidden, masks), hidden

    def _resampled(self, windows: Tensor, hidden: Tensor, masks: torch.Generator) -> tuple[Tensor, Tensor]:
        """A few hidden cells show what another training bar has at the same feature; the mask keeps the rest."""
        if not self.spec.resample:
            return windows, hidden
        draw = torch.rand(hidden.shape, generator=masks, device=self.device) < self.spec.resample
        others = torch.randint(len(self.fit[0]), (len(windows),), generator=masks, device=self.device)
        elsewhere = gather_windows(self.table, self.fit[0][others], self.layout.lookback)
        return torch.where(hidden & draw, elsewhere, windows), hidden & ~draw

    def _require_finite(self, value: Tensor, where: str, batch: int, windows: Tensor, predicted: Tensor) -> None:
        """Names the feature furthest out among the samples whose predictions broke, or among all if none did."""
        if math.isfinite(value.item()):
            return
        broken = ~predicted.isfinite().flatten(1).all(dim=1)
        suspects = windows[broken] if broken.any() else windows
        feature = int(suspects.abs().nan_to_num(nan=math.inf).amax(dim=0).flatten().argmax())
        values = windows.flatten(1)[:, feature]
        raise TrainingError(
            f"loss and gradient must be finite, got {value.item()} in {where}, batch {batch + 1}; first offending "
            f"feature: {self.layout.feature_name(feature)}, between {values.min().item():g} and "
            f"{values.max().item():g} in this batch. Checkpoints of earlier epochs are valid; lower learning_rate "
            f"({self.spec.learning_rate:g}) or grad_clip ({self.spec.grad_clip:g})"
        )

    @property
    def _n_steps(self) -> int:
        return self.spec.epochs * self.batches_per_epoch

    def _batches(self, part: tuple[Tensor, Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        return zip(*(values.split(self.spec.batch_size) for values in part), strict=True)

    def _generator(self, stream: int, epoch: int) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(_seed(self.spec.seed, stream, epoch))

    def _means(self, part: str, losses: Losses | None) -> dict[str, float]:
        assert losses is not None, "samples are never empty"
        masked, pooled, present, returns = losses.means()
        total = losses.total(self.spec.pooled_weight, self.spec.return_weight)
        found = {"loss": total, "masked_loss": masked, "pooled_loss": pooled, "present_loss": present}
        if self.spec.return_weight:
            found["return_loss"] = returns
        return {f"{part}_{name}": float(value) for name, value in found.items()}


def new_model(encoder: FTSpec, spec: PretrainingSpec, layout: ObservationLayout) -> MaskedModel:
    """A freshly initialised model, the same for the same seed."""
    with seeded(spec.seed, INIT):
        tower = FTTransformer(tower_spec(encoder), layout, dropout=spec.dropout)
        return MaskedModel(tower, spec.n_returns(encoder, layout.n_assets))


def fresh_encoder(encoder: FTSpec, spec: PretrainingSpec, layout: ObservationLayout) -> FTTransformer:
    """The same market tower as reinforcement learning from scratch would start with."""
    with seeded(spec.seed, FRESH):
        return FTTransformer(tower_spec(encoder), layout)


def learning_rate(spec: PretrainingSpec, step: int, n_steps: int) -> float:
    """Linear warm-up, then cosine decay to zero (Loshchilov and Hutter 2017, SGDR); `step` counts from 0."""
    n_warm = round(n_steps * spec.warm_up)
    if step < n_warm:
        return spec.learning_rate * (step + 1) / n_warm
    return spec.learning_rate * 0.5 * (1.0 + math.cos(math.pi * (step - n_warm) / max(1, n_steps - n_warm)))


def pick_device(name: str, placed: Device | None = None, cuda: Any = torch.cuda) -> torch.device:
    """Where a job computes. name: what its spec asks for. placed: where it booked, None where it booked nothing.

    A job that was placed on CPUs leaves the GPUs of its machine to those who booked them.

    Raises: TrainingError where CUDA is asked for or booked, and missing.
    """
    if name == "cpu" or (name == "auto" and placed == "cpu"):
        return torch.device("cpu")
    if placed == "cpu":
        raise TrainingError(
            "pretraining.device is cuda, and the job was placed on CPUs, as the cluster has no GPU or the trial booked "
            "none: set pretraining.device to auto or cpu, or add a GPU"
        )
    available = cuda.is_available()
    if not available and placed:
        raise TrainingError(
            "the job booked a share of a GPU, and torch sees no CUDA device here: check that node's driver and its "
            "build of PyTorch, or set pretraining.device to cpu"
        )
    if not available and name == "cuda":
        raise TrainingError("pretraining.device is cuda, and torch sees no CUDA device here; set it to auto or cpu")
    return torch.device("cuda" if available else "cpu")


def has_bfloat16(device: torch.device, cuda: Any = torch.cuda) -> bool:
    """Whether the device computes in bfloat16 itself. GPUs before Ampere emulate it, slower than float32."""
    return device.type == "cuda" and cuda.is_bf16_supported(including_emulation=False)


@contextlib.contextmanager
def seeded(*parts: int) -> Iterator[None]:
    """torch's global random numbers, which initialisation and dropout draw from, set inside and put back after.

    A GPU's too, where this process uses one. By default PyTorch would initialise CUDA on all of them to read theirs.
    """
    gpus = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=gpus):
        torch.manual_seed(_seed(*parts))
        yield


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))
