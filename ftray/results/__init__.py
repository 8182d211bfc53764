"""Results: the run folder of a study, with its one reader and writer, and the leaderboard.

Takes: a study and what happens to its trials, as plain mappings. Gives: a `RunFolder` that survives crashes, trial
records, a leaderboard; tables, and `query.open_study` to ask them. Needs neither torch nor Ray, and pandas only for
frames.
"""

from ftray.results.leaderboard import (
    encoder_rows,
    leaderboard_data,
    leaderboard_rows,
    print_encoders,
    print_leaderboard,
)
from ftray.results.objectives import pareto, print_front
from ftray.results.records import ENDED, FINAL, STATES, State, TrialRecord
from ftray.results.store import RunFolder
from ftray.results.trial_folder import TrialFolder

__all__ = [
    "ENDED",
    "FINAL",
    "STATES",
    "RunFolder",
    "State",
    "TrialFolder",
    "TrialRecord",
    "encoder_rows",
    "leaderboard_data",
    "leaderboard_rows",
    "pareto",
    "print_encoders",
    "print_front",
    "print_leaderboard",
]
