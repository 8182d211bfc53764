"""The leaderboard for other programs.

Takes: a `RunFolder`. Gives: CSV and JSON as text.
"""

import csv
import dataclasses
import io
from collections import Counter

from ftray.analysis.failures import deaths_data, failures_data, first_line
from ftray.analysis.leaderboard import COLUMNS, leaderboard_rows
from ftray.analysis.luck import luck_data
from ftray.runs.events import to_json
from ftray.runs.folder import RunFolder
from ftray.search.objectives import objectives_of


def leaderboard_csv(run: RunFolder) -> str:
    """The rows of the leaderboard under the names of `leaderboard.COLUMNS`; an unknown figure is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list[str](COLUMNS), lineterminator="\n")
    writer.writeheader()
    writer.writerows(leaderboard_rows(run))
    return text.getvalue()


def leaderboard_json(run: RunFolder) -> str:
    """What `ftray results` shows: study, done, objectives, states, leaderboard, luck, failures, and the processes that
    died of each job (`deaths`)."""
    luck = luck_data(run)
    told = {
        "study": run.name,
        "done": run.is_done,
        "objectives": [dataclasses.asdict(goal) for goal in objectives_of(run)],
        "states": Counter(trial.state for trial in run.trials()),
        "leaderboard": leaderboard_rows(run),
        "luck": None if luck is None else dataclasses.asdict(luck),
        "failures": [
            {"error": first_line(group[0].error), "trials": [trial.id for trial in group]}
            for group in failures_data(run.trials()).values()
        ],
        "deaths": deaths_data(run.events()),
    }
    return to_json(told, indent=1) + "\n"
