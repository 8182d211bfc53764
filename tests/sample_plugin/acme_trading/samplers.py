"""`halton`: points that fill the space evenly from the first trial on; it learns nothing, and is a strong baseline."""

from typing import Literal

import optuna

from ftray.search.samplers import SAMPLERS, Sampler
from ftray.spec import spec


@spec
class HaltonSpec:
    """A scrambled Halton sequence has no options."""

    kind: Literal["halton"] = "halton"


def build(spec: HaltonSpec, seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.QMCSampler(qmc_type="halton", scramble=True, seed=seed)


HALTON = Sampler(HaltonSpec, build)
SAMPLERS.register(HALTON)
