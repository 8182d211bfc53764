"""The family of encoders: a new member is a file, its spec in `EncoderSpec`, and a line here."""

from collections.abc import Callable

from ftray.features.layout import ObservationLayout
from ftray.nets.encoder import Encoder
from ftray.nets.mlp import MLPEncoder
from ftray.nets.spec import EncoderSpec
from ftray.nets.transformer import FTTransformer

ENCODERS: dict[str, Callable[..., Encoder]] = {"ft": FTTransformer, "mlp": MLPEncoder}


def build_encoder(spec: EncoderSpec, layout: ObservationLayout) -> Encoder:
    """A freshly initialised encoder for observations of this layout."""
    return ENCODERS[spec.kind](spec, layout)
