"""Samplers: how the next configuration is sampled. A family of specs, named by `kind`, each with its own options.

tpe learns from trials that a scheduler pruned, too; cmaes, gp and nsga2 learn from complete trials alone.

Takes: what a study file says about its sampler, its space, the values sampled before. Gives: an Optuna sampler that
samples whole configurations, and each of them once. Needs Optuna, neither Ray nor torch.
"""

import dataclasses
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Annotated, Any, Literal

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler

from ftray.errors import MissingDependencyError, SpecError
from ftray.families import Family
from ftray.search.distinct import DistinctSampler
from ftray.search.space import Space
from ftray.spec import Between, Count, spec


@spec
class TpeSpec:
    """Tree-structured Parzen estimator (Bergstra et al. 2011; Watanabe 2023): the all-rounder.

    multivariate: values are sampled jointly; otherwise each independently of the others.
    group: values of one branch of a conditional space are sampled jointly as well.
    constant_liar: avoids the configurations of running trials, for many jobs at once.
    n_startup_trials: sampled at random before it begins.
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

    population_size: trials per generation; None lets the number of values decide (4 + 3 log n).
    """

    kind: Literal["cmaes"] = "cmaes"
    n_startup_trials: Count = 1
    population_size: Annotated[int, Between(5)] | None = None


@spec
class GpSpec:
    """Bayesian optimisation on a Gaussian process: strong on few trials, slower with each (seconds from hundreds on).

    deterministic: the objective has no noise.
    """

    kind: Literal["gp"] = "gp"
    n_startup_trials: Count = 10
    deterministic: bool = False


@spec
class Nsga2Spec:
    """Genetic search for several objectives (Deb et al. 2002).

    population_size: trials per generation; the first generation is sampled at random. The default is below Optuna's
        50, because trials are expensive here.
    """

    kind: Literal["nsga2"] = "nsga2"
    population_size: Annotated[int, Between(2)] = 20
    crossover: Annotated[float, Between(0.0, 1.0)] = 0.9


def _everything(spec: Any, space: Space) -> Collection[str]:
    return space.params


def _nothing(spec: Any, space: Space) -> Collection[str]:
    return ()


def _always_there(spec: Any, space: Space) -> Collection[str]:
    return space.always


def _any(spec: Any, n_objectives: int, n_constraints: int) -> None:
    return None


@dataclasses.dataclass(frozen=True)
class Sampler:
    """One member of the family.

    spec_class: the class of its specs, whose `kind` names it.
    build: a spec and a seed → the Optuna sampler.
    joint: a spec and a space → the search parameters that it may sample jointly. By default those that every
        configuration has: most of Optuna's samplers leave out conditional ones.
    check: a spec, the number of objectives and of constraints; raises SpecError for what it cannot do.
    by_generation: it stores each trial's generation with it, and ignores trials without one.
    """

    spec_class: Any
    build: Callable[[Any, int], BaseSampler]
    joint: Callable[[Any, Space], Collection[str]] = _always_there
    check: Callable[[Any, int, int], None] = _any
    by_generation: bool = False


def _build_tpe(spec: TpeSpec, seed: int) -> BaseSampler:
    return TPESampler(
        seed=seed,
        multivariate=spec.multivariate,
        group=spec.group,
        constant_liar=spec.constant_liar,
        n_startup_trials=spec.n_startup_trials,
    )


def _joint_of_tpe(spec: TpeSpec, space: Space) -> Collection[str]:
    return (_everything if spec.group else _always_there if spec.multivariate else _nothing)(spec, space)


def _build_random(spec: RandomSpec, seed: int) -> BaseSampler:
    return RandomSampler(seed=seed)


def _build_cmaes(spec: CmaEsSpec, seed: int) -> BaseSampler:
    try:
        import cmaes  # noqa: F401  # Optuna imports it in the middle of a study
    except ImportError:
        raise MissingDependencyError(
            "the sampler cmaes needs the package `cmaes`: pip install 'ftray[samplers]'"
        ) from None
    return CmaEsSampler(
        seed=seed,
        n_startup_trials=spec.n_startup_trials,
        popsize=spec.population_size,
        independent_sampler=_independent(seed),
        warn_independent_sampling=False,  # `ftray check` lists them
    )


def _joint_of_cmaes(spec: CmaEsSpec, space: Space) -> Collection[str]:
    params = {name: space.params[name].distribution for name in space.always}
    return {name for name, distribution in params.items() if not isinstance(distribution, CategoricalDistribution)}


def _check_cmaes(spec: CmaEsSpec, n_objectives: int, n_constraints: int) -> None:
    if n_objectives > 1:
        raise SpecError(f"cmaes takes one objective, got {n_objectives}; take nsga2, tpe or gp")
    if n_constraints:
        raise SpecError("cmaes knows no constraints; take tpe, gp or nsga2")


def _build_gp(spec: GpSpec, seed: int) -> BaseSampler:
    return GPSampler(
        seed=seed,
        n_startup_trials=spec.n_startup_trials,
        deterministic_objective=spec.deterministic,
        independent_sampler=_independent(seed),
        warn_independent_sampling=False,
    )


def _build_nsga2(spec: Nsga2Spec, seed: int) -> BaseSampler:
    return NSGAIISampler(seed=seed, population_size=spec.population_size, crossover_prob=spec.crossover)


SAMPLERS: Family[Sampler] = Family(
    "sampler",
    Sampler(TpeSpec, _build_tpe, _joint_of_tpe),
    Sampler(RandomSpec, _build_random, _nothing),
    Sampler(CmaEsSpec, _build_cmaes, _joint_of_cmaes, _check_cmaes, by_generation=True),
    Sampler(GpSpec, _build_gp),
    Sampler(Nsga2Spec, _build_nsga2, by_generation=True),
)

SamplerSpec = Annotated[TpeSpec | RandomSpec | CmaEsSpec | GpSpec | Nsga2Spec, SAMPLERS]


def check_sampler(spec: SamplerSpec, n_objectives: int, n_constraints: int) -> None:
    """Refuses what a sampler cannot do. Random sampling ignores objectives and constraints, as expected.

    Raises: SpecError.
    """
    try:
        SAMPLERS[spec.kind].check(spec, n_objectives, n_constraints)
    except SpecError as error:
        raise error.within("search", "sampler") from None


def sampled_independently(spec: SamplerSpec, space: Space) -> tuple[str, ...]:
    """The search parameters whose values a sampler samples independently of all others.

    Such a value comes from a one-dimensional TPE (tpe, cmaes, gp) or uniformly at random (nsga2, random).
    """
    joint = SAMPLERS[spec.kind].joint(spec, space)
    return tuple(name for name in space.params if name not in joint)


def build_sampler(spec: SamplerSpec, space: Space, sampled: Sequence[Mapping[str, Any]], seed: int) -> DistinctSampler:
    """The sampler of a study that has sampled these configurations already.

    Their number goes into its seed: a resumed study must not repeat its first suggestions.

    Raises: MissingDependencyError with the install line.
    """
    seed += len(sampled)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        inner = SAMPLERS[spec.kind].build(spec, seed)
    joint = frozenset(space.params) - frozenset(sampled_independently(spec, space))
    return DistinctSampler(inner, space, joint, sampled, seed)


def _independent(seed: int) -> TPESampler:
    return TPESampler(seed=seed, multivariate=False)
