"""Samplers: how the next configuration is sampled. A family of specs, named by `kind`, each with its own options.

tpe learns from trials that a scheduler pruned, too; cmaes, gp and nsga2 learn from complete trials alone.

Takes: what a study file says about its sampler, its space, the values sampled before. Gives: an Optuna sampler that
samples whole configurations, and each of them once. Needs Optuna, neither Ray nor torch.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from ftray.errors import MissingDependencyError, SpecError
from ftray.search.space import Param, Space
from ftray.spec import Between, Count, spec

TRIES = 100
"""Random configurations tried in place of a repeated one, until a space counts as exhausted."""


@spec
class TpeSpec:
    """Tree-structured Parzen estimator (Bergstra et al. 2011; Watanabe 2023): the all-rounder.

    multivariate: whether values are sampled jointly; otherwise each independently of the others.
    group: whether values of one branch of a conditional space are sampled jointly as well; needs `multivariate`.
    constant_liar: whether it avoids the configurations of running trials, for many jobs at once.
    n_startup_trials: trials sampled at random before it begins.
    """

    kind: Literal["tpe"] = "tpe"
    multivariate: bool = True
    group: bool = True
    constant_liar: bool = True
    n_startup_trials: Count = 10

    def check(self) -> None:
        if self.group and not self.multivariate:
            raise SpecError(
                "samples values jointly, which multivariate: false does not: set group: false too", ("group",)
            )


@spec
class RandomSpec:
    """Uniform over every range: the baseline of other samplers."""

    kind: Literal["random"] = "random"


@spec
class CmaEsSpec:
    """Covariance matrix adaptation (Hansen 2016), for numbers and one objective; needs the extra `samplers`.

    n_startup_trials: trials sampled at random before it begins.
    population_size: trials per generation; None lets the number of values decide (4 + 3 log n).
    """

    kind: Literal["cmaes"] = "cmaes"
    n_startup_trials: Count = 1
    population_size: Annotated[int, Between(5)] | None = None


@spec
class GpSpec:
    """Bayesian optimisation on a Gaussian process: strong on few trials, slower with each (seconds from hundreds on).

    n_startup_trials: trials sampled at random before it begins.
    deterministic: whether the objective has no noise.
    """

    kind: Literal["gp"] = "gp"
    n_startup_trials: Count = 10
    deterministic: bool = False


@spec
class Nsga2Spec:
    """Genetic search for several objectives (Deb et al. 2002).

    population_size: trials per generation; the first generation is sampled at random. The default is below Optuna's
        50, because trials are expensive here.
    crossover: probability that a trial mixes two earlier ones.
    """

    kind: Literal["nsga2"] = "nsga2"
    population_size: Annotated[int, Between(2)] = 20
    crossover: Annotated[float, Between(0.0, 1.0)] = 0.9


Sampler = TpeSpec | RandomSpec | CmaEsSpec | GpSpec | Nsga2Spec

SAMPLERS: dict[str, type] = {
    "tpe": TpeSpec,
    "random": RandomSpec,
    "cmaes": CmaEsSpec,
    "gp": GpSpec,
    "nsga2": Nsga2Spec,
}

BY_GENERATION = (CmaEsSpec, Nsga2Spec)
"""Samplers that store each trial's generation with it, and ignore trials without one."""


def check_sampler(sampler: Sampler, n_objectives: int, n_constraints: int) -> None:
    """Refuses what a sampler cannot do. Random sampling ignores objectives and constraints, as expected.

    Raises: SpecError.
    """
    if isinstance(sampler, CmaEsSpec) and n_objectives > 1:
        raise SpecError(f"cmaes takes one objective, got {n_objectives}; take nsga2, tpe or gp", ("search", "sampler"))
    if isinstance(sampler, CmaEsSpec) and n_constraints:
        raise SpecError("cmaes knows no constraints; take tpe, gp or nsga2", ("search", "sampler"))


def sampled_independently(sampler: Sampler, space: Space) -> tuple[str, ...]:
    """The search parameters whose values a sampler samples independently of all others.

    Such a value comes from a one-dimensional TPE (tpe, cmaes, gp) or uniformly at random (nsga2, random).
    """
    match sampler:
        case RandomSpec() | TpeSpec(multivariate=False):
            independent = set(space.params)
        case TpeSpec(group=True):
            independent = set()
        case CmaEsSpec():
            numbers = {
                n for n, param in space.params.items() if not isinstance(param.distribution, CategoricalDistribution)
            }
            independent = set(space.params) - (space.always & numbers)
        case _:
            independent = set(space.params) - space.always
    return tuple(name for name in space.params if name in independent)


def build_sampler(sampler: Sampler, space: Space, sampled: Sequence[Mapping[str, Any]], seed: int) -> "DistinctSampler":
    """The sampler of a study that has sampled these configurations already.

    Their number goes into its seed: a resumed study must not repeat its first suggestions.

    Raises: MissingDependencyError with the install line.
    """
    seed += len(sampled)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        inner = _optuna_sampler(sampler, seed)
    joint = frozenset(space.params) - frozenset(sampled_independently(sampler, space))
    return DistinctSampler(inner, space, joint, sampled, seed)


def _optuna_sampler(sampler: Sampler, seed: int) -> BaseSampler:
    match sampler:
        case TpeSpec():
            return TPESampler(
                seed=seed,
                multivariate=sampler.multivariate,
                group=sampler.group,
                constant_liar=sampler.constant_liar,
                n_startup_trials=sampler.n_startup_trials,
            )
        case RandomSpec():
            return RandomSampler(seed=seed)
        case CmaEsSpec():
            try:
                import cmaes  # noqa: F401  # Optuna imports it in the middle of a study
            except ImportError:
                raise MissingDependencyError(
                    "the sampler cmaes needs the package `cmaes`: pip install 'ftray[samplers]'"
                ) from None
            return CmaEsSampler(
                seed=seed,
                n_startup_trials=sampler.n_startup_trials,
                popsize=sampler.population_size,
                independent_sampler=_independent(seed),
                warn_independent_sampling=False,  # `ftray check` lists them
            )
        case GpSpec():
            return GPSampler(
                seed=seed,
                n_startup_trials=sampler.n_startup_trials,
                deterministic_objective=sampler.deterministic,
                independent_sampler=_independent(seed),
                warn_independent_sampling=False,
            )
        case Nsga2Spec():
            return NSGAIISampler(seed=seed, population_size=sampler.population_size, crossover_prob=sampler.crossover)


def _independent(seed: int) -> TPESampler:
    return TPESampler(seed=seed, multivariate=False)


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
        self.inner.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        self.inner.reseed_rng()
        self._random.reseed_rng()
