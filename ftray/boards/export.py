"""The leaderboard for other programs.

Takes: a `RunFolder`. Gives: CSV and JSON as text.
"""

import csv
import dataclasses
import io
from collections import Counter

from ftray.analysis.failures import crashes_data, failure_rows
from ftray.analysis.leaderboard import COLUMNS, leaderboard_rows
from ftray.analysis.looks import looks_elsewhere
from ftray.analysis.luck import luck_of_best, scored_trials
from ftray.analysis.ranking import hardly_trading
from ftray.runs.events import to_json
from ftray.runs.folder import RunFolder
from ftray.search.objectives import constraints_of, objectives_of


def leaderboard_csv(run: RunFolder) -> str:
    """The rows of the leaderboard under the names of `leaderboard.COLUMNS`; an unknown value is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list[str](COLUMNS), lineterminator="\n")
    writer.writeheader()
    given = run.records(), objectives_of(run.study), constraints_of(run.study)
    writer.writerows(leaderboard_rows(*given, run.benchmarks(), looks_elsewhere(run).n))
    return text.getvalue()


def leaderboard_json(run: RunFolder) -> str:
    """What `ftray results` shows: study, done, objectives, states, leaderboard, luck, the trials that hardly trade,
    failures, and the processes that crashed of each job (`crashes`)."""
    records, objectives, constraints = run.records(), objectives_of(run.study), constraints_of(run.study)
    elsewhere = looks_elsewhere(run)
    luck = luck_of_best(records, objectives, constraints, elsewhere.n)
    content = {
        "study": run.name,
        "done": run.is_done,
        "objectives": [dataclasses.asdict(goal) for goal in objectives],
        "states": Counter(record.state for record in records),
        "leaderboard": leaderboard_rows(records, objectives, constraints, run.benchmarks(), elsewhere.n),
        "looks": elsewhere.describe(scored_trials(records)),
        "luck": None if luck is None else dataclasses.asdict(luck),
        "hardly_trading": [record.id for record in hardly_trading(records, constraints)],
        "failures": failure_rows(records),
        "crashes": crashes_data(run.events()),
    }
    return to_json(content, indent=1) + "\n"
