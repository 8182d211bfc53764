"""How an encoder is pre-trained, and the name of the weights that come out."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from ftray.errors import SpecError
from ftray.features import ObservationLayout
from ftray.features.scaling import Scaler
from ftray.nets import FTSpec, MaskSpec
from ftray.spec import Between, Count, Fraction, NonNegative, fingerprint, spec, to_mapping

Device = Literal["cpu", "cuda"]
"""Where a job was placed."""

BOOKKEEPING = ("device", "cpus", "checkpoint_every")
"""Fields that say where and how the job runs, not what comes out."""

METHOD = "masked-feature-modelling/2"
"""To be raised with a change of what the losses mean or of how weights come about."""

LOSS = (
    "mask_ratio",
    "masks",
    "resample",
    "horizon",
    "pooled_weight",
    "return_weight",
    "validation",
    "seed",
)
"""Fields that say what the validation loss is: two are comparable where these, the method and the scaler agree. The
seed draws the masks of the validation windows."""


@spec
class PretrainingSpec:
    """Masked feature modelling: hide part of a window, predict it from the rest.

    The pooled vector, which is the market vector, has two losses of its own, each added `pooled_weight` times: it
    predicts the log of each asset's realised volatility over the next `horizon` bars, and every series at the window's
    last bar. With a `return_weight` it also predicts each asset's return over the next bars, relative to its
    volatility, and the asset's rank by that return. With the encoder's readout `assets` an asset's labels are predicted
    from what its own query read. Labels of neighbouring bars overlap, so there are few of them: a large weight learns
    them by heart.

    epochs: passes over the training windows.
    batch_size: windows per gradient step.
    learning_rate: AdamW's at its highest; it decays to zero as a cosine.
    weight_decay: AdamW's, of all matrices.
    warm_up: fraction of all gradient steps in which the learning rate rises.
    grad_clip: largest norm of a gradient, over all parameters.
    mask_ratio: fraction of the cells that is hidden; 0 trains the pooled vector alone.
    masks: which cells are hidden.
    resample: fraction of the hidden cells that show another bar's value of the same feature, and no mask row, so that
        the encoder also looks at cells that seem fine.
    dropout: of the encoder while it is pre-trained; reinforcement learning uses none.
    validation: the last fraction of the train windows' bars, held out to choose the best epoch.
    windows_per_epoch: training windows of an epoch, sampled again for each; None takes all of them.
    horizon: bars ahead over which the pooled vector predicts volatility.
    pooled_weight: weight of the pooled vector's losses.
    return_weight: weight of its loss on coming returns and ranks over the encoder's `horizons`; 0 trains none.
    patience: epochs without a better validation loss before an early stop; None never stops early.
    checkpoint_every: epochs between two checkpoints that are stored in addition to the best and the last.
    seed: of weights, windows, masks and dropout.
    device: `auto` is where the job is placed, and where it was not placed, a GPU if there is one.
    cpus: cores that a study books for the job.
    """

    epochs: Count = 30
    batch_size: Count = 64
    learning_rate: Annotated[float, Between(1e-6, 1e-1)] = 1e-3
    weight_decay: NonNegative = 1e-2
    warm_up: Fraction = 0.05
    grad_clip: Annotated[float, Between(1e-3)] = 1.0
    mask_ratio: Annotated[float, Between(0.0, 0.5)] = 0.15
    masks: MaskSpec = MaskSpec()
    resample: Fraction = 0.1
    dropout: Annotated[float, Between(0.0, 0.3)] = 0.1
    validation: Annotated[float, Between(0.01, 0.5)] = 0.1
    windows_per_epoch: Count | None = None
    horizon: Count = 24
    pooled_weight: NonNegative = 0.02
    return_weight: NonNegative = 0.0
    patience: Count | None = None
    checkpoint_every: Count = 10
    seed: Annotated[int, Between(0)] = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    cpus: Count = 1

    def check(self) -> None:
        if not self.mask_ratio and not self.pooled_weight and not self.return_weight:
            raise SpecError("nothing to learn: mask_ratio, pooled_weight or return_weight must be above 0")

    def reach(self, encoder: FTSpec) -> int:
        """Bars after a window's last one that the labels of a job are made of."""
        return max(self.horizon, *encoder.horizons) if self.return_weight else self.horizon

    def n_returns(self, encoder: FTSpec, n_assets: int) -> int:
        """Labels per window of a job that are returns or ranks of `n_assets`."""
        return encoder.n_returns(n_assets) if self.return_weight else 0


def check_foresight(encoder: FTSpec, pretraining: PretrainingSpec) -> None:
    """Raises: SpecError where an encoder that gives forecasts would not learn them."""
    if encoder.readout == "forecasts" and not pretraining.return_weight:
        raise SpecError("an encoder whose readout is forecasts learns them by return_weight: set it above 0, say 0.3")


def encoder_fingerprint(
    dataset_fingerprint: str, layout: ObservationLayout, encoder: FTSpec, pretraining: PretrainingSpec
) -> str:
    """The name of the weights that a pre-training job makes: everything they depend on, and nothing else.

    The dataset's fingerprint covers candles and train window. Fusion, head widths, `pretrained`, `frozen` and the way a
    job runs are left out: trials that differ only in those share one job.
    """
    tower = tower_of(encoder, layout)
    training = {key: value for key, value in to_mapping(pretraining).items() if key not in BOOKKEEPING}
    if pretraining.return_weight:
        training["return_horizons"] = encoder.horizons
    else:  # the name that such weights had before there were losses on returns
        del training["return_weight"]
    return fingerprint(METHOD, dataset_fingerprint, layout.to_mapping(), tower, training)


def tower_of(encoder: FTSpec | Mapping[str, Any], layout: ObservationLayout) -> dict[str, Any]:
    """What decides the shape of the market tower's weights, of a spec or of its mapping in a `config.json`."""
    fields = encoder if isinstance(encoder, Mapping) else to_mapping(encoder)
    tower: dict[str, Any] = {name: fields[name] for name in ("d_token", "n_blocks", "n_heads")}
    if (readout := fields.get("readout", "cls")) != "cls":  # the only one before there were others, and unnamed
        tower["readout"] = readout
    if readout == "forecasts":
        tower["horizons"] = [*fields["horizons"]]
    return tower | {"patch_length": min(fields["patch_length"], layout.lookback)}


def scaler_fingerprint(scaler: Scaler) -> str:
    """Equal scalers, equal name: the scale that losses are measured on."""
    return fingerprint(scaler.to_mapping())


def tower_spec(encoder: FTSpec) -> FTSpec:
    """The same market tower under one head for all: what a job builds, so that its weights depend on nothing else."""
    return dataclasses.replace(encoder, encoding_dim=256, fusion="late", pretrained="none", frozen=False)
