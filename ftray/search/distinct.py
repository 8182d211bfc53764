"""`DistinctSampler`: whole configurations from another sampler, each of them once.

Takes: an Optuna sampler, a space, the values sampled before. Gives: an Optuna sampler.
"""

import contextlib
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState

from ftray.search.space import Param, Space

TRIES = 100
"""Random configurations tried in place of a repeated one, until a space counts as exhausted."""


class DistinctSampler(BaseSampler):
    """Samples whole configurations from another sampler, and replaces a repeated one by a random one.

    Training is seeded by its configuration, so a repetition would show nothing new. Values that a hand-written point
    fixes stay fixed, and a point that fixes all of them is never replaced. Where `TRIES` random
    configurations are all known, the space counts as exhausted, and the repetition is kept.
    """

    def __init__(
        self,
        inner: BaseSampler,
        space: Space,
        joint: frozenset[str],
        sampled: Iterable[Mapping[str, Any]],
        seed: int,
    ):
        """joint: the search parameters that `inner` may sample jointly. Otherwise it would add conditional ones for as
        long as every trial happens to have them."""
        self.inner, self.space, self.joint = inner, space, joint
        self._known = {frozenset(values.items()) for values in sampled}
        self._random = RandomSampler(seed=seed + 1_000_003)  # another stream than the inner sampler's own
        self._relative: dict[str, BaseDistribution] = {}

    def on_sampled(self, values: Mapping[str, Any]) -> None:
        """Remembers a configuration, so that it is not sampled again."""
        self._known.add(frozenset(values.items()))

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        found = self.inner.infer_relative_search_space(study, trial)
        self._relative = {name: d for name, d in found.items() if name in self.joint}
        return {name: param.distribution for name, param in self.space.params.items()}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        fixed = trial.system_attrs.get("fixed_params", {})
        with _as_intended():
            relative = self.inner.sample_relative(study, trial, self._relative)

        def completed(known: Mapping[str, Any], sampler: BaseSampler) -> dict[str, Any]:
            def choice(param: Param) -> Any:
                if param.name in known:
                    return known[param.name]
                return sampler.sample_independent(study, trial, param.name, param.distribution)

            return self.space.choose(choice)[0]

        values = completed({**relative, **fixed}, self.inner)
        for _ in range(TRIES):
            if frozenset(values.items()) not in self._known or values.keys() <= fixed.keys():
                break
            values = completed(fixed, self._random)
        return values

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Optuna never calls this: `sample_relative` has every value."""
        return self.inner.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self.inner.before_trial(study, trial)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        with _as_intended():
            self.inner.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        self.inner.reseed_rng()
        self._random.reseed_rng()


@contextlib.contextmanager
def _as_intended() -> Iterator[None]:
    """Without Optuna's warnings of what every study has: a constraint, the least number of round trips, and the worst
    of all values where a trial misses it. cmaes goes by that value alone, gp takes it for the worst finite one."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Constraints have been set, but CmaEsSampler")
        warnings.filterwarnings("ignore", message="Clip non-finite values")
        yield
