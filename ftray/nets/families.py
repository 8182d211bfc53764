"""The family of encoders: a new member is a file, its spec, and a line here."""

from ftray.features.layout import ObservationLayout
from ftray.nets.encoder import Encoder
from ftray.nets.mlp import MLPEncoder
from ftray.nets.spec import ENCODERS, EncoderSpec
from ftray.nets.transformer import FTTransformer

ENCODERS.register(FTTransformer)
ENCODERS.register(MLPEncoder)


def build_encoder(spec: EncoderSpec, layout: ObservationLayout) -> Encoder:
    """A freshly initialised encoder for observations of this layout."""
    return ENCODERS[spec.kind](spec, layout)
