"""A trial: from a `TrialSpec` to a trained policy and its validation metrics, in one function (`run.run_trial`).

Takes a spec, a place to report to and a folder; gives metrics and checkpoints. Knows nothing of Tune. Describing and
preparing a trial needs no Ray, so only that is imported here.
"""

from ftray.trial.preparation import choose_encoder, prepare_dataset, pretrain_encoder
from ftray.trial.resources import place_pretraining, place_trial
from ftray.trial.spec import TrialSpec

__all__ = [
    "TrialSpec",
    "choose_encoder",
    "place_pretraining",
    "place_trial",
    "prepare_dataset",
    "pretrain_encoder",
]
