"""Trials that end abruptly."""

from pathlib import Path
from typing import Any

import pytest

from ftray.runs import TrialFolder
from ftray.trial import TrialSpec
from ftray.trial.run import run_trial

from .test_run import Reports


class Killed(Exception):
    pass


def killed_after(n_rows: int, spec: TrialSpec, folder: Path, shared: Path, **how: Any) -> Reports:
    """A trial that ends abruptly with the report after `n_rows` rows: its checkpoint is written, the row is lost."""
    reports = Reports()

    def report(metrics, checkpoint=None):
        if len(reports) == n_rows:
            raise Killed
        reports(metrics, checkpoint)

    with pytest.raises(Killed):
        run_trial(spec, report, folder=folder, shared=shared, resume=TrialFolder(folder).checkpoint, **how)
    return reports
