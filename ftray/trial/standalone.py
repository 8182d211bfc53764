"""One trial, or one pre-training job, without a study around it: what `ftray train` and `ftray pretrain` run."""

from pathlib import Path
from typing import Any

from ftray.errors import FtrayError
from ftray.pretraining import EncoderCard
from ftray.results import RunFolder
from ftray.trial.preparation import prepare_dataset, pretrain_encoder
from ftray.trial.spec import TrialSpec

TRIAL_ID = "trial-0000"


def train(spec: TrialSpec, run: RunFolder) -> dict[str, Any]:
    """Trains the one trial of a run folder, or goes on from its last checkpoint; the last metrics.

    Raises: FtrayError, after recording it.
    """
    from ftray.spec import to_mapping
    from ftray.trial.local import local_ray
    from ftray.trial.run import run_trial

    if not run.trials():
        run.add_trial(TRIAL_ID, number=0, kind="trial", values={}, spec=to_mapping(spec))
    folder = run.trial(TRIAL_ID)

    def report(metrics: dict[str, Any], checkpoint: Path | None = None) -> None:
        folder.report(metrics)
        shown = f", validation Sharpe {metrics['validation/sharpe']:.2f}" if "validation/sharpe" in metrics else ""
        print(f"{metrics['env_steps']:,}/{spec.env_steps:,} steps{shown}", flush=True)

    with local_ray():
        run.trial_started(TRIAL_ID)
        try:
            metrics = run_trial(spec, report, folder=folder.folder, resume=folder.checkpoint, shared=run.path)
        except FtrayError as error:
            run.trial_ended(TRIAL_ID, "FAILED", folder.last_metrics(), str(error))
            raise
        except KeyboardInterrupt:
            run.trial_ended(TRIAL_ID, "INTERRUPTED")
            raise
    run.trial_ended(TRIAL_ID, "COMPLETE", metrics, None)
    run.compact()
    run.mark_done()
    return metrics


def pretrain_alone(spec: TrialSpec, run: RunFolder) -> list[EncoderCard]:
    """The file's pre-training jobs, one per fold; needs no Ray."""
    datasets = (prepare_dataset(spec, run.path, fold)[1] for fold in range(spec.n_folds))
    return [pretrain_encoder(spec, dataset, run.path, progress=True) for dataset in datasets]
