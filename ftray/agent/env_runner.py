"""The env runner: RLlib's, except that it reports why it failed.

RLlib's own ends its process a minute after the first exception, and RLlib starts a new one: the trial sees a dead
actor, or nothing at all while other env runners fill in, and the reason is a line in some log.
"""

from typing import Any

from ray.rllib.algorithms.ppo import PPO

from ftray.agent.memory_errors import out_of_memory_in
from ftray.agent.names import name_process
from ftray.agent.sampling import ArrayEnvRunner
from ftray.errors import OutOfMemoryError, TrainingError

PATIENCE = 5.0
"""Seconds for an env runner out of service to say why; one that was killed is silent until it has been replaced."""


class FTEnvRunner(ArrayEnvRunner):
    """RLlib's env runner, which outlives its exceptions to be asked about them.

    complaint: the last exception, in words.
    """

    complaint: str | None = None

    def __repr__(self) -> str:
        return f"{self.config.env_config['trial']} env runner {self.worker_index}"

    def apply(self, func: Any, *args: Any, **given: Any) -> Any:
        if self.worker_index:  # without remote env runners, number 0 lives in the trial's own process
            name_process(self, repr(self))
        try:
            return func(self, *args, **given)
        except Exception as error:
            self.complaint = f"{type(error).__module__}.{type(error).__qualname__}: {error}"
            raise


def check_env_runners(algorithm: PPO) -> None:
    """Stops a trial whose env runners raise errors; RLlib replaces one that was killed.

    Raises: OutOfMemoryError, or TrainingError with what the env runner said.
    """
    group = algorithm.env_runner_group
    if group is None or group.num_healthy_remote_env_runners() == group.num_remote_env_runners():
        return
    answers: Any = group._worker_manager.foreach_actor(
        lambda runner: runner.complaint, healthy_only=False, timeout_seconds=PATIENCE
    )
    for answer in answers:
        said = answer.get()  # of an env runner that could not even be made: Ray's error, with the reason in its text
        memory = out_of_memory_in(said)
        if memory is not None:
            raise OutOfMemoryError(memory, f"env runner {answer.actor_id}")
        if answer.ok and said is not None:
            raise TrainingError(f"env runner {answer.actor_id} failed: {said}")
