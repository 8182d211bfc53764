"""Pre-training: masked feature modelling of an encoder's market tower. Runs without Ray.

Takes: an `FTSpec`, a `PretrainingSpec`, a `Dataset` and a folder. Gives: checkpoints for
`ftray.nets.load_market_weights`, and the `EncoderCard` of the best one.
"""

from ftray.pretraining.folder import BAR_SECONDS, BEST_ENCODER, FINAL_ENCODER, EncoderCard, is_finished, read_card
from ftray.pretraining.job import pretrain
from ftray.pretraining.spec import PretrainingSpec, encoder_fingerprint
from ftray.pretraining.store import Choice, EncoderStore, chosen_on_test, overlaps

__all__ = [
    "BAR_SECONDS",
    "BEST_ENCODER",
    "FINAL_ENCODER",
    "Choice",
    "EncoderCard",
    "EncoderStore",
    "PretrainingSpec",
    "chosen_on_test",
    "encoder_fingerprint",
    "is_finished",
    "overlaps",
    "pretrain",
    "read_card",
]
