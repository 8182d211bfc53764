"""Every scheduler decides by results alone, sees each job once, and decides the same after a resume as without one."""

import dataclasses
import random
from pathlib import Path
from typing import get_args

import pytest
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from ftray.errors import SpecError
from ftray.runs import RunFolder
from ftray.spec import to_mapping
from ftray.study import parse_study
from ftray.study.schedulers import RULES, Halving, build_scheduler
from ftray.study.stopping import SCHEDULERS, NoSchedulerSpec, Scheduler

CONTINUE, STOP = TrialScheduler.CONTINUE, TrialScheduler.STOP

STEP, SEEDS = 100, 8
"""Every run of a trial reports once, at its end, after so many env steps; a trial has a run per seed."""

OPTIONS = {
    "none": {},
    "asha": {"grace": STEP, "reduction": 2},
    "hyperband": {"grace": STEP, "reduction": 2, "brackets": 2},
    "median": {"grace": STEP, "min_trials": 2},
    "wilcoxon": {"p": 0.05, "min_pairs": 6},
}
ACTIVE, TRIPS = "validation/active_sharpe", "validation/round_trips"
STOPPING = [name for name in SCHEDULERS if name != "none"]


def study(kind: str, **search):
    tree = {
        "name": "stubs",
        "trial": {"seeds": SEEDS, "ppo": {"env_steps": STEP, "learning_rate": {"log": [1e-4, 1e-3]}}},
        "search": {"scheduler": {"kind": kind} | OPTIONS[kind]} | search,
    }
    return parse_study(tree)


@dataclasses.dataclass(eq=False)
class Stub:
    """What a scheduler knows of Tune's trials."""

    trial_id: str
    config: dict


class Driver:
    """Trials that report given results, in place of Tune; reports are in the run folder before a rule sees them."""

    def __init__(self, kind: str, path: Path, **search):
        self.study = study(kind, **search)
        self.run = RunFolder.create(path, {"name": "stubs"})
        self.spec = to_mapping(self.study.corner_trials[0])
        self.begin()

    def begin(self):
        """The command, for the first time or again."""
        self.scheduler = build_scheduler(self.study, self.run)
        self.stubs, self.seeds_done = {}, getattr(self, "seeds_done", {})

    def hand_out(self, number: int, kind: str = "trial") -> str:
        job_id = f"{kind}-{number:04d}"
        if job_id not in {record.id for record in self.run.records()}:
            self.run.add_trial(job_id, number, kind, {}, self.spec)
        self.run.trial_started(job_id)
        self.stubs[job_id] = Stub(f"tune-{random.random()}", {"id": job_id, "kind": kind, "spec": self.spec})
        self.scheduler.on_trial_add(None, self.stubs[job_id])
        return job_id

    def row(self, job_id: str, value: float | None, **extra) -> dict:
        runs, name = self.seeds_done.setdefault(job_id, []), self.study.search.metric
        runs.append({"fold": 0, "seed": len(runs), "env_steps": STEP, name: value})
        mean = value if value is None else sum(one[name] for one in runs) / len(runs)
        shown = {"env_steps": STEP * len(runs), name: mean, "runs": list(runs), "runs_done": len(runs)}
        return shown | extra

    def report(self, job_id: str, value: float | None, judged: bool = True) -> str:
        row = self.row(job_id, value)
        self.run.trial_folder(job_id).report(row)
        return self.judge(job_id, row) if judged else CONTINUE

    def judge(self, job_id: str, row: dict) -> str:
        return self.scheduler.on_trial_result(None, self.stubs[job_id], row)

    def whole(self, number: int, value: float) -> str:
        """A trial that goes as far as it may; its state."""
        job_id = self.hand_out(number)
        for seed in range(SEEDS):
            if self.report(job_id, value + 0.01 * seed) == STOP:
                return "PRUNED"
        return "COMPLETE"


@pytest.fixture
def driver(kind: str, tmp_path: Path) -> Driver:
    return Driver(kind, tmp_path / "stubs")


def test_the_table_has_every_rule_and_every_rule_can_be_named():
    specs = get_args(Scheduler)
    assert {spec.kind for spec in specs} == set(SCHEDULERS) == set(OPTIONS)
    assert set(RULES) == set(specs) - {NoSchedulerSpec}
    for name in SCHEDULERS:
        tree = {"trial": {"seeds": SEEDS}, "search": {"scheduler": name}}
        assert parse_study(tree).search.scheduler == next(spec for spec in specs if spec.kind == name)()
    with pytest.raises(SpecError, match=r"search\.scheduler: no such scheduler; did you mean 'asha'"):
        parse_study({"search": {"scheduler": "ashax"}})


def test_without_a_scheduler_nothing_is_stopped(tmp_path):
    driver = Driver("none", tmp_path / "stubs")
    assert type(driver.scheduler) is FIFOScheduler
    assert [driver.whole(number, -number) for number in range(6)] == ["COMPLETE"] * 6


@pytest.mark.parametrize("kind", STOPPING)
def test_what_is_worse_is_stopped_on_its_way_and_what_is_best_never(driver):
    states = [driver.whole(number, 3.0 - number) for number in range(6)]
    assert states[0] == "COMPLETE" and states[-1] == "PRUNED"
    assert driver.whole(6, 9.0) == "COMPLETE"


@pytest.mark.parametrize("kind", STOPPING)
def test_less_is_better_where_the_metric_says_so(kind, tmp_path):
    driver = Driver(kind, tmp_path / "stubs", objective="validation/max_drawdown")
    states = [driver.whole(number, number) for number in range(6)]
    assert states[0] == "COMPLETE" and states[-1] == "PRUNED"


@pytest.mark.parametrize("kind", STOPPING)
def test_at_its_end_a_trial_is_never_stopped(driver):
    """It would be recorded as pruned although it is complete."""
    for number in range(4):
        assert driver.whole(number, 5.0) == "COMPLETE"
    late = driver.hand_out(4)
    for _ in range(SEEDS - 1):
        driver.row(late, -5.0)
    assert driver.report(late, -5.0) == CONTINUE


@pytest.mark.parametrize("kind", STOPPING)
def test_pretraining_passes_unseen_and_so_does_a_result_without_the_metric(driver):
    states = [driver.whole(number, 3.0) for number in range(4)]
    assert states == ["COMPLETE"] * 4
    encoder = driver.hand_out(9, kind="pretraining")
    loss = {"epoch": 1, "validation_loss": 9.0, "validation/sharpe": -9.0, "env_steps": STEP}
    assert driver.judge(encoder, loss) == CONTINUE
    trial = driver.hand_out(5)
    for value in (None, float("nan")):
        assert driver.judge(trial, {"env_steps": STEP, "validation/sharpe": value}) == CONTINUE
    assert driver.judge(trial, {"env_steps": STEP}) == CONTINUE


@pytest.mark.parametrize("kind", STOPPING)
def test_after_a_resume_it_decides_as_without_one(kind, tmp_path):
    values = [0.0, 2.0, -1.0, 1.0, 3.0, -2.0, 0.5, 2.5]
    straight = Driver(kind, tmp_path / "straight")
    resumed = Driver(kind, tmp_path / "resumed")
    forgetful = Driver(kind, tmp_path / "forgetful")
    expected = [straight.whole(number, value) for number, value in enumerate(values)]
    got, without = [], []
    for number, value in enumerate(values):
        resumed.begin()
        got.append(resumed.whole(number, value))
        empty = RunFolder.create(tmp_path / f"empty-{number}", {"name": "stubs"})
        forgetful.scheduler = build_scheduler(forgetful.study, empty)
        without.append(forgetful.whole(number, value))
    assert got == expected and "PRUNED" in expected
    assert without == ["COMPLETE"] * len(values)  # so the reports did it


@pytest.mark.parametrize("kind", ["asha", "hyperband"])
def test_a_retried_trial_is_recorded_once_at_each_rung(driver):
    for number in range(2):
        driver.whole(number, 1.0)
    job = driver.hand_out(2)
    driver.report(job, 1.5)
    before = rungs(driver)
    driver.hand_out(2)  # out of memory: another of Tune's trials, from the checkpoint before the step
    driver.seeds_done[job].clear()
    assert driver.report(job, 0.7) == CONTINUE  # the step was judged before
    assert rungs(driver) == before
    driver.begin()
    assert rungs(driver) == before


@pytest.mark.parametrize("kind", STOPPING)
def test_a_stop_that_no_process_recorded_is_recorded_later(driver):
    for number in range(5):
        driver.whole(number, 3.0)
    job = driver.hand_out(5)
    answers = []
    while not answers or answers[-1] != STOP:
        answers.append(driver.report(job, -3.0))
    driver.begin()  # the driver was killed before it had stopped the trial
    driver.hand_out(5)
    again = {"env_steps": STEP, "validation/sharpe": -3.0}
    assert driver.judge(job, again) == STOP


@pytest.mark.parametrize("kind", STOPPING)
def test_a_job_that_was_not_stopped_before_a_resume_is_not_stopped_by_it(driver):
    """Reports are replayed in their order, which is not exactly the one in which they were judged."""
    for number in range(4):
        driver.whole(number, 3.0)
    job = driver.hand_out(4)
    for seed in range(SEEDS - 1):
        driver.report(job, -3.0 if seed < SEEDS - 2 else 90.0, judged=False)
    driver.begin()
    driver.hand_out(4)
    assert driver.report(job, 90.0) == CONTINUE


def idle(driver: Driver, number: int, early: int = SEEDS) -> str:
    """A trial that hardly trades in its first trainings, and leads in all later ones; its state."""
    job_id, name = driver.hand_out(number), driver.study.search.metric
    for seed in range(SEEDS):
        nothing = {name: None if name == ACTIVE else 0.0, TRIPS: 0.2}
        runs = driver.seeds_done.setdefault(job_id, [])
        runs.append({"fold": 0, "seed": seed, **(nothing if seed < early else {name: 9.0, TRIPS: 400.0})})
        trips, values = sum(one[TRIPS] for one in runs) / len(runs), [one[name] for one in runs]
        mean = None if None in values else sum(values) / len(runs)
        row = {"env_steps": STEP * len(runs), name: mean, TRIPS: trips, "runs": list(runs), "runs_done": len(runs)}
        driver.run.trial_folder(job_id).report(row)
        if driver.judge(job_id, row) == STOP:
            return "PRUNED"
    return "COMPLETE"


@pytest.mark.parametrize("objective", ["validation/sharpe", ACTIVE])
@pytest.mark.parametrize("kind", STOPPING)
def test_a_trial_that_does_nothing_is_never_preferred_to_traders_that_lose(kind, objective, tmp_path):
    driver = Driver(kind, tmp_path / "stubs", objective=objective)
    for number in range(4):
        driver.whole(number, -3.0 - 0.1 * number)
    assert idle(driver, 8) == "PRUNED"  # a Sharpe ratio of 0.00 would lead
    assert driver.whole(10, -2.0) == "COMPLETE"
    driver.begin()
    assert idle(driver, 12) == "PRUNED"


@pytest.mark.parametrize("objective", ["validation/sharpe", ACTIVE])
@pytest.mark.parametrize("kind", STOPPING)
def test_where_nothing_trades_nothing_is_stopped_and_the_first_trader_is_not_either(kind, objective, tmp_path):
    driver = Driver(kind, tmp_path / "stubs", objective=objective)
    assert [idle(driver, number) for number in range(4)] == ["COMPLETE"] * 4
    assert driver.whole(4, -3.0) == "COMPLETE"


def test_wilcoxon_never_takes_a_trial_that_does_nothing_for_the_best(tmp_path):
    driver = Driver("wilcoxon", tmp_path / "stubs")
    assert idle(driver, 0) == "COMPLETE" and driver.scheduler.rule.best == {}
    assert driver.whole(1, -3.0) == "COMPLETE" and driver.scheduler.rule.best[0, 0] == -3.0
    assert idle(driver, 2, early=2) == "COMPLETE"  # it is worse in two pairs of eight
    assert driver.scheduler.rule.best[0, 0] == -3.0


def test_hyperbands_brackets_begin_at_different_rungs_and_keep_their_trials(tmp_path):
    driver = Driver("hyperband", tmp_path / "stubs")
    for number in range(8):
        driver.report(driver.hand_out(number), 1.0)
    first, second = (min(rung for rung, _ in bracket._rungs) for bracket in rule(driver)._brackets)
    assert (first, second) == (STEP, 2 * STEP)
    of = {job_id: rule(driver)._brackets.index(bracket) for job_id, bracket in rule(driver)._trial_info.items()}
    assert [of[f"trial-{number:04d}"] for number in range(8)] == [0, 1, 0, 1, 0, 1, 0, 1]
    driver.begin()
    assert of == {job_id: rule(driver)._brackets.index(b) for job_id, b in rule(driver)._trial_info.items()}


def test_wilcoxon_asks_from_the_sixth_pair_on_and_compares_pair_by_pair(tmp_path):
    driver = Driver("wilcoxon", tmp_path / "stubs")
    best = driver.hand_out(0)
    for seed in range(SEEDS):
        assert driver.report(best, 10.0 * seed) == CONTINUE  # its seeds differ by far more than it and the next
    worse = driver.hand_out(1)
    answers = [driver.report(worse, 10.0 * seed - 0.1) for seed in range(6)]
    assert answers == [CONTINUE] * 5 + [STOP]  # 2 ** -6 is below 0.05
    equal = driver.hand_out(2)
    assert [driver.report(equal, 10.0 * seed + (-1) ** seed) for seed in range(SEEDS)] == [CONTINUE] * SEEDS


def test_wilcoxon_is_refused_where_it_could_never_stop_a_trial():
    with pytest.raises(
        SpecError, match="stops a trial after at least 6 of its trainings, and a trial of this study has 1"
    ):
        parse_study({"search": {"scheduler": "wilcoxon"}})
    with pytest.raises(SpecError, match="choose an objective like validation/sharpe"):
        trial = {"seeds": SEEDS}
        search = {"scheduler": "wilcoxon", "objective": "reward", "direction": "maximize"}
        parse_study({"trial": trial, "search": search})
    with pytest.raises(SpecError, match=r"3 pairs never reach p = 0\.05"):
        parse_study({"trial": {"seeds": SEEDS}, "search": {"scheduler": {"kind": "wilcoxon", "min_pairs": 3}}})


def rule(driver: Driver) -> Halving:
    return driver.scheduler.rule


def rungs(driver: Driver) -> list:
    return [[(step, dict(recorded)) for step, recorded in bracket._rungs] for bracket in rule(driver)._brackets]
