"""When a study has had enough, by hand: budgets, patience, equal failures, processes that die, what trials cost."""

import datetime
import json

import pytest
from ray.tune.search import Searcher

from ftray.analysis.failures import describe_crashes, describe_failures, failures_data
from ftray.boards.export import leaderboard_json
from ftray.boards.printing import print_leaderboard
from ftray.errors import SpecError, StudyInterruptedError
from ftray.metrics import CPU_SECONDS, GPU_SECONDS
from ftray.runs.costs import SPENT, booked, cost_of, driven_seconds
from ftray.runs.records import TrialRecord
from ftray.search.objectives import Objective
from ftray.study.budget import ALIKE, EVERY, Limits, no_improvement
from ftray.study.run import run_study
from ftray.study.searcher import StudySearcher

from .by_hand import Hand, tiny_study
from .played import play, study_of

SHARPE = Objective(metric="validation/sharpe", direction="maximize")


class Clock:
    def __init__(self):
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def hand_with(tmp_path, **search):
    """A study by hand whose limits have a clock of their own."""
    hand, clock = Hand(tiny_study(**search), tmp_path / "run"), Clock()
    hand.run.append_event("study_started")
    limits = Limits(hand.study, hand.run, clock)
    hand.searcher = StudySearcher(hand.study, hand.run, limits)
    return hand, limits, clock


def sharpe(value: float | None, **more):
    return {"validation/sharpe": value, **more}


def ended(*figures: tuple[float | None, float | None]) -> list[TrialRecord]:
    """Complete trials with a Sharpe ratio and its standard error, in this order; without a ratio, a pruned one."""
    at = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
    return [
        TrialRecord(
            f"trial-{i:04d}",
            i,
            "trial",
            "PRUNED" if value is None else "COMPLETE",
            {},
            {},
            {"validation/sharpe": value, "validation/sharpe_error": error},
            ended_at=at + datetime.timedelta(minutes=i),
        )
        for i, (value, error) in enumerate(figures)
    ]


def test_equal_failures_in_a_row_stop_a_study_and_name_the_first_once(tmp_path):
    hand, limits, clock = hand_with(tmp_path)
    for number in range(ALIKE):
        assert not limits.reached()
        asked, job = hand.start()
        hand.run.trial_folder(job).failed(f"ValueError: no such column, seen in step {number}\nTraceback ...")
        hand.searcher.on_trial_complete(asked)
    clock.now += EVERY
    assert limits.reached() and limits.broken
    assert "(trial-0000) with: ValueError: no such column, seen in step 0 " in limits.why
    assert "Traceback" not in limits.why
    assert hand.searcher.suggest("next") == Searcher.FINISHED
    assert [record.state for record in hand.run.records()] == ["FAILED"] * ALIKE  # and nothing was sampled after them
    hand.assert_stores_agree()
    (line,) = describe_failures(hand.run.records())
    assert line.startswith("5 failed (trial-0000, trial-0001, ") and "in step 0" in line

    again = Limits(hand.study, hand.run, clock)  # of the same command, repeated
    assert again.before_start() is None and not again.reached()


@pytest.mark.parametrize("between", ["another error", "a success"])
def test_failures_of_different_kinds_or_with_a_success_between_them_stop_nothing(tmp_path, between):
    hand, limits, _ = hand_with(tmp_path)
    for number in range(2 * ALIKE - 2):
        asked, job = hand.start()
        if number != ALIKE - 1:
            hand.run.trial_folder(job).failed("ValueError: one")
            hand.searcher.on_trial_complete(asked)
        elif between == "a success":
            hand.finish(asked, sharpe(1.0))
        else:
            hand.run.trial_folder(job).failed("ValueError: another")
            hand.searcher.on_trial_complete(asked)
    assert limits.why is None and not limits.broken


def test_failures_are_grouped_by_their_kind_the_most_frequent_first():
    def failed(number, error):
        return TrialRecord(f"trial-{number:04d}", number, "trial", "FAILED", {}, {}, error=error)

    trials = [failed(0, "rare"), failed(1, "loss 1.5 of trial-0001\nmore"), failed(2, "loss 2e-3 of trial-0002")]
    groups = failures_data([*trials, *ended((1.0, None))])
    assert [[trial.number for trial in group] for group in groups.values()] == [[1, 2], [0]]


def test_a_job_whose_process_died_is_retried_after_a_while_and_holds_nothing_until_then(tmp_path):
    clock = Clock()
    hand = Hand(tiny_study(n_trials=1, max_failures=2, retry_after=10), tmp_path / "run", clock)
    for wait in (10, 20):
        asked, job = hand.start()
        hand.report(asked, 64, sharpe(0.1))
        hand.searcher.on_trial_complete(asked, error=True)
        record = hand.run.record(job)
        assert record.state == "INTERRUPTED" and f"retried in {wait} s" in record.error
        hand.assert_stores_agree()
        clock.now += wait - 1
        assert hand.searcher.suggest("too early") is None
        clock.now += 1
    asked, job = hand.start()
    assert job == "trial-0000" and hand.run.record(job).error is None
    hand.searcher.on_trial_complete(asked, error=True)
    record = hand.run.record(job)
    assert record.state == "FAILED" and "died more than 2 times and got no further" in record.error
    assert hand.searcher.suggest("after it") == Searcher.FINISHED
    hand.assert_stores_agree()


def test_crashed_processes_are_counted_and_printed_though_their_trial_came_to_its_end(tmp_path, capsys):
    clock = Clock()
    hand = Hand(tiny_study(n_trials=2, retry_after=10), tmp_path / "run", clock)
    asked, _ = hand.start()
    hand.finish(asked, sharpe(0.1))
    assert not list(describe_crashes(hand.run.events(), hand.run.path))
    assert json.loads(leaderboard_json(hand.run))["crashes"] == {}
    for _ in range(2):
        asked, job = hand.start()
        hand.searcher.on_trial_complete(asked, error=True)
        clock.now += 100
    asked, job = hand.start()
    hand.finish(asked, sharpe(0.2))
    assert hand.run.record(job).state == "COMPLETE"
    assert json.loads(leaderboard_json(hand.run))["crashes"] == {job: 2}
    print_leaderboard(hand.run)
    assert f"2 processes crashed ({job} 2 times); a job whose process crashes continues" in capsys.readouterr().out


def test_a_trial_that_gets_further_may_die_as_often_as_its_nodes_do(tmp_path):
    clock = Clock()
    hand = Hand(tiny_study(n_trials=1, max_failures=1, retry_after=10), tmp_path / "run", clock)
    goes_on = "INTERRUPTED"
    for steps, state in ((64, goes_on), (128, goes_on), (192, goes_on), (192, "FAILED")):
        asked, job = hand.start()
        hand.report(asked, steps, sharpe(0.1))
        hand.searcher.on_trial_complete(asked, error=True)
        clock.now += 10
        assert hand.run.record(job).state == state


def test_hours_count_on_over_all_runs_of_the_command(tmp_path):
    hand, limits, clock = hand_with(tmp_path, budget={"hours": 1})
    clock.now += 3_599
    assert not limits.reached()
    clock.now += EVERY
    assert limits.reached() and limits.why == "its budget of 1 hours is used up"
    events = [
        {"event": "study_started", "at": "2024-01-01T00:00:00+00:00"},
        {"event": "trial_ended", "at": "2024-01-01T00:50:00+00:00"},
        {"event": "study_started", "at": "2024-01-02T00:00:00+00:00"},
        {"event": "trial_ended", "at": "2024-01-02T00:09:00+00:00"},
    ]
    assert driven_seconds(events) == 59 * 60
    assert Limits(hand.study, hand.run, clock).before_start() is None  # little was driven by its events


def test_gpu_hours_count_running_and_ended_jobs(tmp_path):
    hand, limits, clock = hand_with(tmp_path, budget={"gpu_hours": 0.5})
    hand.finish(hand.start()[0], sharpe(0.1, **{GPU_SECONDS: 1_000.0, CPU_SECONDS: 1.0}))
    asked, _ = hand.start()
    hand.report(asked, 64, sharpe(0.1, **{GPU_SECONDS: 799.0}))
    assert not limits.reached()
    hand.report(asked, 128, sharpe(0.1, **{GPU_SECONDS: 800.0}))
    clock.now += EVERY
    assert limits.reached() and limits.why == "its budget of 0.5 GPU hours is used up (0.50)"
    assert "GPU hours" in Limits(hand.study, hand.run, clock).before_start()  # not even begun


def test_patience_ends_where_nothing_is_better_beyond_noise():
    better_within_noise = [(1.0, 0.3), (0.2, 0.3), (1.3, 0.3), (1.2, 0.3)]
    assert "trial-0000 beyond noise" in no_improvement(ended(*better_within_noise), SHARPE, (), 3)
    assert no_improvement(ended(*better_within_noise), SHARPE, (), 4) is None  # nothing came before them
    assert no_improvement(ended((1.0, 0.3), (0.2, 0.3), (1.5, 0.3), (1.2, 0.3)), SHARPE, (), 3) is None
    assert no_improvement(ended((1.0, None), (1.01, None), (0.5, None)), SHARPE, (), 2) is None  # no error is known
    assert no_improvement(ended((1.0, None), (None, None), (None, None)), SHARPE, (), 2)  # pruned ones are judged too
    down = Objective(metric="validation/sharpe", direction="minimize")
    assert no_improvement(ended((1.0, None), (0.5, None)), down, (), 1) is None
    assert no_improvement(ended((1.0, None), (1.5, None)), down, (), 1)


def test_a_study_out_of_patience_stops_and_stays_so_until_it_gets_more(tmp_path):
    hand, limits, clock = hand_with(tmp_path, patience_trials=3)
    hand.runs(4, lambda values: sharpe(-hand.searcher.n_ended))
    assert limits.reached() and "none of the last 3 trials is better than trial-0000" in limits.why
    assert Limits(hand.study, hand.run, clock).before_start() == limits.why
    assert Limits(tiny_study(patience_trials=4), hand.run, clock).before_start() is None


def test_patience_with_several_objectives_is_refused():
    both = [{"metric": name, "direction": "maximize"} for name in ("validation/sharpe", "validation/total_return")]
    with pytest.raises(SpecError, match="this study has 2 objectives"):
        tiny_study(patience_trials=3, objectives=both)


def test_cost_sums_over_stretches_and_lasts_through_a_kill(tmp_path):
    hand, _, _ = hand_with(tmp_path)
    asked, job = hand.start()
    folder = hand.run.trial_folder(job)
    first = booked(folder.cost(), cpus=2, gpus=0.25, seconds=10)
    hand.report(asked, 64, sharpe(0.1, **first))  # and here the process is killed
    second = booked(folder.cost(), cpus=2, gpus=0.25, seconds=4)
    folder.started()
    folder.failed("broken")
    folder.spent(second)
    assert folder.last_event()["event"] == "failed"
    hand.searcher.on_trial_complete(asked)
    (record,) = hand.run.records()
    assert (record.metrics[CPU_SECONDS], record.metrics[GPU_SECONDS], record.state) == (28.0, 3.5, "FAILED")
    assert cost_of([{"event": "report", "metrics": {}}, {"event": SPENT, CPU_SECONDS: 1.0}])[CPU_SECONDS] == 1.0


def test_a_driver_that_was_killed_leaves_no_zombies_to_the_next_one(tmp_path):
    hand, _, _ = hand_with(tmp_path)
    asked, job = hand.start()
    hand.report(asked, 64, sharpe(0.1, **{CPU_SECONDS: 7.0}))
    last = hand.run.trial_folder(job).events()[-1]["at"]
    assert hand.run.sweep() == [job] and hand.run.sweep() == []
    record = hand.run.record(job)
    assert record.state == "INTERRUPTED" and record.metrics[CPU_SECONDS] == 7.0
    assert record.ended_at == datetime.datetime.fromisoformat(last)  # not now: it did not run until now
    hand = Hand(hand.study, hand.run.path)
    assert hand.start()[1] == job


@pytest.mark.ray
@pytest.mark.long
def test_a_study_stopped_by_equal_failures_continues_and_retries_failed_trials_only_on_request(cluster, tmp_path):
    spec, lines = study_of("broken", ["raises once"] * (ALIKE + 1), max_concurrent=1), []
    with pytest.raises(StudyInterruptedError, match=r"with 5 of 6 trials ended: 5 trials in a row .*trial-0000"):
        run_study(spec, tmp_path, say=lines.append, trial_fn=play)
    assert [line for line in lines if "failed (trial-0000" in line]
    run = run_study(spec, tmp_path, say=lines.append, trial_fn=play)
    assert [record.state for record in run.records()] == ["FAILED"] * (ALIKE + 1) and run.is_done

    run = run_study(spec, tmp_path, say=lines.append, trial_fn=play, retry_failed=True)
    assert [record.state for record in run.records()] == ["COMPLETE"] * (ALIKE + 1) and run.is_done
    for record in run.records():  # each from its checkpoint
        assert [row["iteration"] for row in run.trial_folder(record.id).reports()] == [1, 2, 3, 4]
