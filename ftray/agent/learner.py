"""The learner: PPO's, except that its optimiser carries only what trains."""

from typing import Any

from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner


class FTLearner(PPOTorchLearner):
    """PPO's learner whose optimiser leaves frozen parameters out (RLlib's own lists them all)."""

    def get_parameters(self, module: Any) -> list[Any]:
        return [parameter for parameter in super().get_parameters(module) if parameter.requires_grad]
