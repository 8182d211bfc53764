"""The agent: an encoder of `ftray.nets` as RLlib's module, trained by its PPO.

Takes specs, a prepared dataset and perhaps pre-trained weights; gives a PPO algorithm (`training`), its module
(`module`) and plain metrics. Describing one needs no Ray, so only the spec is imported here.
"""

from ftray.agent.spec import PPOSpec

__all__ = ["PPOSpec"]
