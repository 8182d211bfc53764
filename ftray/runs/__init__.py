"""Runs: the run folder of a study, with its one reader and writer.

Takes: a study and what happens to its trials, as plain mappings. Gives: a `RunFolder` that survives crashes, and the
records of its trials. Needs neither torch nor Ray.
"""

from ftray.runs.folder import RunFolder
from ftray.runs.records import ENDED, FINAL, STATES, State, TrialRecord
from ftray.runs.trial import TrialFolder

__all__ = ["ENDED", "FINAL", "STATES", "RunFolder", "State", "TrialFolder", "TrialRecord"]
