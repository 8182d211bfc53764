"""Samplers: how the next configuration is drawn. A family told apart by `kind`, each with its own options.

What a scheduler stopped teaches tpe alone; cmaes, gp and nsga2 learn from trials that came to their end.

Takes: what a study file says about its sampler, its space, what was drawn before. Gives: an Optuna sampler that draws
whole configurations and none a second time. Knows Optuna, neither Ray nor torch.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from ftray.errors import MissingDependencyError, SpecError
from ftray.search.space import Hole, Space
from ftray.spec import Between, Count, spec

TRIES = 100
"""Random configurations tried in place of one that was drawn before, until a space counts as exhausted."""


@spec
class TpeSpec:
    """Tree-structured Parzen estimator (Bergstra et al. 2011; Watanabe 2023): the all-rounder.

    multivariate: values are drawn together; otherwise each by itself.
    group: values of one branch of a conditional space are drawn together as well.
    constant_liar: keeps away from what is running, for many jobs at once.
    n_startup_trials: drawn at random before it begins.
    """

    kind: Literal["tpe"] = "tpe"
    multivariate: bool = True
    group: bool = True
    constant_liar: bool = True
    n_startup_trials: Count = 10

    def check(self) -> None:
        if self.group and not self.multivariate:
            raise SpecError(
                "draws values together, which multivariate: false does not: set group: false too", ("group",)
            )


@spec
class RandomSpec:
    """Uniform over every range: the yardstick."""

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

    population_size: trials per generation; the first generation is drawn at random. Trials are dear here, so it is
        smaller than the usual 50.
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
"""Samplers that note each trial's generation, and count a trial only from such a note."""


def check_sampler(sampler: Sampler, n_objectives: int, n_constraints: int) -> None:
    """Refuses what a sampler cannot do at all. Random sampling heeds nothing, and nobody expects it to.

    Raises: SpecError.
    """
    if isinstance(sampler, CmaEsSpec) and n_objectives > 1:
        raise SpecError(f"cmaes takes one objective, got {n_objectives}; take nsga2, tpe or gp", ("search", "sampler"))
    if isinstance(sampler, CmaEsSpec) and n_constraints:
        raise SpecError("cmaes knows no constraints; take tpe, gp or nsga2", ("search", "sampler"))


def drawn_apart(sampler: Sampler, space: Space) -> tuple[str, ...]:
    """The holes that a sampler draws each by itself, without a look at the values beside it.

    Such a value comes from a one-dimensional TPE (tpe, cmaes, gp) or uniformly at random (nsga2, random).
    """
    match sampler:
        case RandomSpec() | TpeSpec(multivariate=False):
            apart = set(space.holes)
        case TpeSpec(group=True):
            apart = set()
        case CmaEsSpec():
            numbers = {
                n for n, hole in space.holes.items() if not isinstance(hole.distribution, CategoricalDistribution)
            }
            apart = set(space.holes) - (space.always & numbers)
        case _:
            apart = set(space.holes) - space.always
    return tuple(name for name in space.holes if name in apart)


def build_sampler(sampler: Sampler, space: Space, drawn: Sequence[Mapping[str, Any]], seed: int) -> "Distinct":
    """The sampler of a study that has drawn so much already.

    It is seeded by how much: a resumed study must not repeat its first suggestions.

    Raises: MissingDependencyError with the install line.
    """
    seed += len(drawn)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        inner = _optunas(sampler, seed)
    together = frozenset(space.holes) - frozenset(drawn_apart(sampler, space))
    return Distinct(inner, space, together, drawn, seed)


def _optunas(sampler: Sampler, seed: int) -> BaseSampler:
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
                independent_sampler=_one_by_one(seed),
                warn_independent_sampling=False,  # `drawn_apart` tells
            )
        case GpSpec():
            return GPSampler(
                seed=seed,
                n_startup_trials=sampler.n_startup_trials,
                deterministic_objective=sampler.deterministic,
                independent_sampler=_one_by_one(seed),
                warn_independent_sampling=False,
            )
        case Nsga2Spec():
            return NSGAIISampler(seed=seed, population_size=sampler.population_size, crossover_prob=sampler.crossover)


def _one_by_one(seed: int) -> TPESampler:
    return TPESampler(seed=seed, multivariate=False)


class Distinct(BaseSampler):
    """Another sampler, asked for whole configurations; one that was drawn before is replaced by one drawn at random.

    Training is seeded by its configuration, so a second run of it would tell nothing. Values that a hand-written point
    fixes stay fixed, and a point that fixes all of them is taken however often it is written. Where `TRIES` random
    configurations are all known, the space counts as exhausted, and the repetition stands.
    """

    def __init__(
        self,
        inner: BaseSampler,
        space: Space,
        together: frozenset[str],
        drawn: Iterable[Mapping[str, Any]],
        seed: int,
    ):
        """together: the holes that `inner` draws together; it would draw others too, until it has seen them missing."""
        self.inner, self.space, self.together = inner, space, together
        self._known = {frozenset(values.items()) for values in drawn}
        self._random = RandomSampler(seed=seed + 1_000_003)  # another stream than the inner sampler's own
        self._joint: dict[str, BaseDistribution] = {}

    def drew(self, values: Mapping[str, Any]) -> None:
        """Notes what came of a draw."""
        self._known.add(frozenset(values.items()))

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        found = self.inner.infer_relative_search_space(study, trial)
        self._joint = {name: d for name, d in found.items() if name in self.together}
        return {name: hole.distribution for name, hole in self.space.holes.items()}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        fixed = trial.system_attrs.get("fixed_params", {})
        joint = self.inner.sample_relative(study, trial, self._joint)

        def by_itself(sampler: BaseSampler) -> Callable[[Hole], Any]:
            return lambda hole: sampler.sample_independent(study, trial, hole.name, hole.distribution)

        def whole(known: Mapping[str, Any], otherwise: Callable[[Hole], Any]) -> dict[str, Any]:
            values, _ = self.space.choose(lambda hole: known[hole.name] if hole.name in known else otherwise(hole))
            return values

        values = whole({**joint, **fixed}, by_itself(self.inner))
        for _ in range(TRIES):
            if frozenset(values.items()) not in self._known or values.keys() <= fixed.keys():
                break
            values = whole(fixed, by_itself(self._random))
        return values

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Not asked: every value is in the configuration drawn above."""
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
