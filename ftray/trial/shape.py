"""Shapes: how a trial is worked off, apart from what it computes. A smaller one needs less memory for the same figures.

Takes: a `TrialSpec`, and what ran out of memory. Gives: the specs of a smaller shape, as long as there is one.
"""

import dataclasses

from ftray.agent.spec import PPOSpec
from ftray.errors import SpecError
from ftray.nets import EncoderSpec, FTSpec
from ftray.trial.spec import TrialSpec

LEAST_SAMPLES = 32
"""Samples of a minibatch that are worked off at once, at least: below, weights and context are what fills a GPU."""


@dataclasses.dataclass(frozen=True)
class Shape:
    """How a trial is worked off. It is no part of what the trial is: figures of different shapes are comparable.

    micro_batches: parts that a minibatch is worked off in, gradients accumulated.
    activation_checkpointing: a transformer's blocks are computed once more in the backward pass, and not kept for it.
    n_env_runners: fewer than the spec's; each then has more accounts, so that their number stays. None: the spec's.
    """

    micro_batches: int = 1
    activation_checkpointing: bool = False
    n_env_runners: int | None = None

    def smaller(self, spec: TrialSpec) -> "Shape | None":
        """One step down; None where there is no smaller shape.

        First the parts of a minibatch halve, then blocks are recomputed, then env runners that hold the model on the
        GPU become fewer.
        """
        if spec.ppo.minibatch // (2 * self.micro_batches) >= LEAST_SAMPLES:
            return dataclasses.replace(self, micro_batches=2 * self.micro_batches)
        if self.encoder(spec.encoder) != self._checkpointed(spec.encoder):
            return dataclasses.replace(self, activation_checkpointing=True)
        ppo = self.ppo(spec.ppo)
        fewer = [n for n in range(1, ppo.n_env_runners) if ppo.n_envs % n == 0]
        if spec.ppo.env_runners_on_gpu and fewer:
            return dataclasses.replace(self, n_env_runners=fewer[-1])
        return None

    def ppo(self, ppo: PPOSpec) -> PPOSpec:
        """The training in this shape: the same accounts and batches, dealt out to fewer env runners."""
        n = self.n_env_runners
        if n is None or n == ppo.n_env_runners:
            return ppo
        if ppo.n_envs % max(1, n):
            raise SpecError(f"{ppo.n_envs} accounts cannot be dealt out to {n} env runners: it must divide them")
        return dataclasses.replace(ppo, n_env_runners=n, envs_per_runner=ppo.n_envs // max(1, n))

    def encoder(self, encoder: EncoderSpec) -> EncoderSpec:
        """The encoder in this shape; its weights are the same."""
        return self._checkpointed(encoder) if self.activation_checkpointing else encoder

    def describe(self, spec: TrialSpec) -> str:
        """A shape in a few words: `64 samples at once, blocks recomputed, 2 env runners`."""
        words = [f"{-(-spec.ppo.minibatch // self.micro_batches)} samples at once"]
        if getattr(self.encoder(spec.encoder), "activation_checkpointing", False):
            words.append("blocks recomputed")
        if self.n_env_runners is not None:
            words.append(f"{self.n_env_runners} env runners" if self.n_env_runners != 1 else "1 env runner")
        return ", ".join(words)

    @staticmethod
    def _checkpointed(encoder: EncoderSpec) -> EncoderSpec:
        """With blocks recomputed; as it is, where no block has a backward pass: its vectors are known for every bar."""
        if not isinstance(encoder, FTSpec) or (encoder.frozen and encoder.fusion == "late"):
            return encoder
        return dataclasses.replace(encoder, activation_checkpointing=True)


WHOLE = Shape()
"""What a trial begins with: whole minibatches, nothing computed twice, the spec's own env runners."""
