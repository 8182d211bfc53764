"""A study of 8 trials whose driver, and once Ray with it, is killed with -9 four times, ends as if nothing was."""

import pytest

from ftray.runs import RunFolder

from .kills import Killer, problems, table

pytestmark = [pytest.mark.ray, pytest.mark.long]


def test_a_study_killed_four_times_records_every_trial_once(tmp_path):
    killer = Killer(n_trials=8, runs=tmp_path, seed=1)
    killer.run(n_kills=4)
    print("\n".join(table(killer)))
    assert len(killer.outcomes) == 4
    assert {what for what, *_ in killer.outcomes} == {"driver", "driver and Ray"}
    assert problems(RunFolder.open(killer.folder), 8) == []
