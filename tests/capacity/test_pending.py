"""A request that cannot be met: a study reports the request and the resources, and does not wait forever."""

from collections.abc import Iterator

import pytest
import ray
from ray.tune import PlacementGroupFactory
from ray.tune.experiment import Trial

from ftray.capacity.pending import PendingLimit
from ftray.errors import NeverPlacedError
from ftray.study import parse_study
from ftray.study.run import run_study
from tests.study.played import play
from tests.study.tiny import TINY

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]

MLP = TINY["trial"]["encoder"]["choice"][0]


def study_of(**search: object):
    trial = TINY["trial"] | {"encoder": MLP, "ppo": TINY["trial"]["ppo"] | {"learning_rate": 1e-3}}
    return parse_study({"name": "waiting", "trial": trial, "search": {"n_trials": 1, **search}})


@pytest.fixture
def elsewhere() -> Iterator[None]:
    """Both CPUs in other hands, as when a node has gone."""

    @ray.remote(num_cpus=2)
    class Other:
        def there(self) -> bool:
            return True

    other = Other.remote()
    assert ray.get(other.there.remote())
    yield other
    ray.kill(other)


@pytest.mark.long
def test_room_that_vanished_ends_a_study_with_the_reason_and_the_same_command_continues_it(elsewhere, tmp_path):
    with pytest.raises(NeverPlacedError) as raised:
        run_study(study_of(pending_timeout=2), tmp_path, say=lambda line: None)
    text = str(raised.value)
    assert "1 waited 2 s for them while none ran. trial-0000 asks for [{'CPU': 1.0}] (PACK)" in text
    assert "cluster has 1 nodes with 2 CPU (0 free)" in text and "the same command continues" in text
    ray.kill(elsewhere)
    run = run_study(study_of(), tmp_path, say=lambda line: None, trial_fn=play)
    (trial,) = run.records()
    assert trial.state == "COMPLETE" and run.is_done
    assert all(group["state"] == "REMOVED" for group in ray.util.placement_group_table().values())


def test_a_request_that_grew_too_large_for_the_cluster_ends_a_study_too(tmp_path, monkeypatch):
    from ftray.capacity.placement import Placement
    from ftray.study import jobs, run

    placement = jobs.placement
    monkeypatch.setattr(jobs, "placed", lambda config: Placement([{"CPU": 1.0}, {"CPU": 64.0}]))
    monkeypatch.setattr(run, "trainable", lambda trial_fn=None: ray.tune.with_resources(jobs.run_job, placement))
    with pytest.raises(NeverPlacedError, match=r"trial-0000 asks for \[\{'CPU': 1.0\}, \{'CPU': 64.0\}\]"):
        run_study(study_of(pending_timeout=2), tmp_path, say=lambda line: None)


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def trials(*states: str) -> list[Trial]:
    made = [Trial("waits", stub=True, config={"id": f"trial-{i:04d}"}) for i in range(len(states))]
    for trial, state in zip(made, states, strict=True):
        trial.placement_group_factory = PlacementGroupFactory([{"CPU": 3.0}])
        trial.set_status(state)
    return made


def test_a_job_may_wait_for_others_to_end_however_long():
    clock = Clock()
    limit = PendingLimit(100, clock)
    for clock.seconds, states in [
        (0.0, ["RUNNING", "PENDING"]),
        (1000.0, ["RUNNING", "PENDING"]),
        (1001.0, ["TERMINATED", "PENDING"]),  # only now nothing runs
        (1100.0, ["TERMINATED", "PENDING"]),
        (1100.5, ["TERMINATED", "RUNNING", "PENDING"]),
        (1150.0, ["TERMINATED", "TERMINATED", "PENDING"]),
        (1200.0, ["TERMINATED", "TERMINATED", "TERMINATED"]),
        (1300.0, ["TERMINATED", "TERMINATED", "PENDING"]),
        (1399.0, ["TERMINATED", "TERMINATED", "PENDING"]),
    ]:
        limit.on_step_end(0, trials(*states))
    clock.seconds = 1400.0
    with pytest.raises(NeverPlacedError, match=r"and 2 waited 100 s .* trial-0001 asks for \[\{'CPU': 3.0\}\]"):
        limit.on_step_end(0, trials("TERMINATED", "PENDING", "PENDING"))


def test_the_limit_is_no_part_of_what_a_study_is():
    assert study_of().identity == study_of(pending_timeout=7).identity
    assert study_of().search.pending_timeout == 1_800
