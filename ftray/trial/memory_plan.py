"""Memory plans: how a trial computes, apart from what it computes. A smaller one needs less memory for equal metrics.

Takes: a `TrialSpec`. Gives: the spec under a memory plan, and the next smaller plan as long as there is one.
"""

import dataclasses

from ftray.agent.spec import PPOSpec
from ftray.errors import SpecError
from ftray.nets import EncoderSpec, FTSpec
from ftray.trial.spec import TrialSpec

MIN_SAMPLES = 32
"""The fewest samples of a minibatch to compute at once: with fewer, weights and context take most of a GPU."""


@dataclasses.dataclass(frozen=True)
class MemoryPlan:
    """How a trial computes. It is not part of the trial's identity: metrics under different plans are comparable.

    micro_batches: parts into which a minibatch is split, gradients accumulated.
    activation_checkpointing: a transformer's blocks are computed again in the backward pass instead of being stored.
    n_env_runners: fewer than the spec's; each then has more accounts, so that their number stays. None: the spec's.
    """

    micro_batches: int = 1
    activation_checkpointing: bool = False
    n_env_runners: int | None = None

    def smaller(self, spec: TrialSpec) -> "MemoryPlan | None":
        """The next smaller plan; None if there is none.

        First the parts of a minibatch halve, then blocks are recomputed, then env runners that hold the model on the
        GPU become fewer.
        """
        if spec.ppo.minibatch // (2 * self.micro_batches) >= MIN_SAMPLES:
            return dataclasses.replace(self, micro_batches=2 * self.micro_batches)
        if self._encoder(spec.encoder) != self._checkpointed(spec.encoder):
            return dataclasses.replace(self, activation_checkpointing=True)
        ppo = self._ppo(spec.ppo)
        fewer = [n for n in range(1, ppo.n_env_runners) if ppo.n_envs % n == 0]
        if spec.ppo.env_runners_on_gpu and fewer:
            return dataclasses.replace(self, n_env_runners=fewer[-1])
        return None

    def apply(self, spec: TrialSpec) -> TrialSpec:
        """The spec to train with under this plan; weights and identity are those of `spec`."""
        return dataclasses.replace(spec, ppo=self._ppo(spec.ppo), encoder=self._encoder(spec.encoder))

    def describe(self, spec: TrialSpec) -> str:
        """A plan in a few words: `64 samples at once, blocks recomputed, 2 env runners`."""
        words = [f"{-(-spec.ppo.minibatch // self.micro_batches)} samples at once"]
        if getattr(self._encoder(spec.encoder), "activation_checkpointing", False):
            words.append("blocks recomputed")
        if self.n_env_runners is not None:
            words.append(f"{self.n_env_runners} env runners" if self.n_env_runners != 1 else "1 env runner")
        return ", ".join(words)

    def _ppo(self, ppo: PPOSpec) -> PPOSpec:
        """The same accounts and batches, divided among fewer env runners."""
        n = self.n_env_runners
        if n is None or n == ppo.n_env_runners:
            return ppo
        if ppo.n_envs % max(1, n):
            raise SpecError(
                f"{ppo.n_envs} accounts cannot be divided among {n} env runners: the number must divide them"
            )
        return dataclasses.replace(ppo, n_env_runners=n, envs_per_runner=ppo.n_envs // max(1, n))

    def _encoder(self, encoder: EncoderSpec) -> EncoderSpec:
        return self._checkpointed(encoder) if self.activation_checkpointing else encoder

    @staticmethod
    def _checkpointed(encoder: EncoderSpec) -> EncoderSpec:
        """With blocks recomputed; unchanged if no block has a backward pass, as its vectors are known for every bar."""
        if not isinstance(encoder, FTSpec) or (encoder.frozen and encoder.fusion == "late"):
            return encoder
        return dataclasses.replace(encoder, activation_checkpointing=True)


FULL = MemoryPlan()
"""The plan that a trial begins with: whole minibatches, nothing computed twice, the spec's own env runners."""
