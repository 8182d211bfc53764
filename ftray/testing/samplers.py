"""The contract of samplers: configurations inside the space, by the seed, in a study that continues, too."""

import math
import warnings
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.trial import TrialState

from ftray.errors import SpecError
from ftray.search.distinct import DistinctSampler
from ftray.search.samplers import Sampler
from ftray.search.space import Space
from ftray.testing.contract import Contract, broken
from ftray.testing.specs import assert_survives_a_file

SPACE = Space(
    {
        "ppo": {"learning_rate": {"log": [1e-5, 1e-2]}, "gamma": {"float": [0.9, 0.999]}, "epochs": {"int": [1, 8]}},
        "encoder": {
            "choice": [
                {"kind": "mlp", "hidden": {"int": [64, 512, 64]}},
                {"kind": "ft", "d_token": {"choice": [32, 64]}, "n_blocks": {"int": [1, 4]}},
            ]
        },
    }
)
ENDS = (TrialState.COMPLETE, TrialState.COMPLETE, TrialState.PRUNED, TrialState.COMPLETE, TrialState.FAIL)
"""How one trial after the other ends."""

N_TRIALS = 10
HARDLY_TRADES = 5
"""Every fifth trial does; the first one, too."""


class SamplerContract(Contract):
    """What a sampler promises.

    sampler: the member. It need not be registered.
    spec: an example of its description, with options that let it begin to learn within ten trials.

        class TestHalton(SamplerContract):
            sampler = HALTON
            spec = HaltonSpec()
    """

    sampler: Sampler
    spec: Any

    def new_study(self) -> optuna.Study:
        return optuna.create_study(direction="maximize")

    def configurations(self, study: optuna.Study, n: int = N_TRIALS, *, seed: int = 0) -> list[dict[str, Any]]:
        """The values of the next `n` trials, each of which ends; as ftray samples them, each configuration once."""
        known = [trial.params for trial in study.get_trials()]
        joint = frozenset(self.sampler.joint(self.spec, SPACE))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # as in a study
            inner = self.sampler.build(self.spec, seed)
        study.sampler = sampler = DistinctSampler(inner, SPACE, joint, known, seed)
        found = []
        for i in range(n):
            trial = study.ask()
            values, _ = SPACE.sample(trial)
            sampler.on_sampled(values)
            state = ENDS[i % len(ENDS)]
            trial.report(_score(values), 1)
            idle = i % HARDLY_TRADES == 0  # complete and infeasible, with the worst value there is
            trial.set_constraint("validation/round_trips >= 10", 10.0 if idle else -90.0)
            score = -math.inf if idle else _score(values)
            study.tell(trial, score if state is TrialState.COMPLETE else None, state=state)
            found.append(values)
        return found

    def test_configurations_lie_in_the_space(self) -> None:
        try:
            for values in self.configurations(self.new_study()):
                SPACE.point(values, ("sampled",))
        except (ValueError, SpecError) as error:
            raise broken(
                "every sampled value must lie in the range of its search parameter",
                f"{type(error).__name__}: {error}",
                "sample from the distributions that Optuna passes to `sample_relative` and `sample_independent`",
            ) from error

    def test_the_same_seed_gives_the_same_configurations(self) -> None:
        first, again = (self.configurations(self.new_study()) for _ in range(2))
        if first != again:
            i = next(i for i, values in enumerate(first) if values != again[i])
            raise broken(
                "the same seed and the same results must give the same configurations: a study can be repeated",
                f"trial {i} is {first[i]} in one study and {again[i]} in another",
                "hand the seed that `build` gets to every generator, and keep no state outside the sampler",
            )

    def test_another_seed_gives_other_configurations(self) -> None:
        one, other = (self.configurations(self.new_study(), seed=seed) for seed in (0, 1))
        if one == other:
            raise broken(
                "another seed must give other configurations: a study that continues is seeded anew",
                f"seeds 0 and 1 both give {one[0]}, and {len(one) - 1} further ones that are the same",
                "hand the seed that `build` gets to Optuna's sampler",
            )

    def test_a_study_continues_whatever_its_trials_ended_as(self) -> None:
        """A new sampler, as in a study that is resumed, knows the trials before by their records alone."""
        study = self.new_study()
        try:
            for seed in (0, N_TRIALS):
                self.configurations(study, seed=seed)
        except Exception as error:
            raise broken(
                "a sampler must go on in a study whose trials are complete, infeasible, pruned or failed",
                f"after {len(study.trials) - 1} trials it raised {type(error).__name__}: {error}",
                "filter by state: `study.get_trials(states=[TrialState.COMPLETE])`; others may have no value, "
                "and that of a trial that hardly trades is infinite",
            ) from error

    def test_values_sampled_jointly_are_search_parameters(self) -> None:
        unknown = set(self.sampler.joint(self.spec, SPACE)) - set(SPACE.params)
        if unknown:
            raise broken(
                "`joint` must give names of search parameters",
                f"{', '.join(sorted(unknown))} is none of {', '.join(SPACE.params)}",
                "take them from the space that it gets: `space.params` or `space.always`",
            )

    def test_the_description_survives_a_file(self) -> None:
        assert_survives_a_file(self.spec, self.sampler.spec_class)


def _score(values: Mapping[str, Any]) -> float:
    return float(values["trial/ppo/gamma"])


def check_sampler(sampler: Sampler, spec: Any) -> None:
    """Holds a sampler to every promise of `SamplerContract`.

    sampler: the member. It need not be registered.
    spec: an example of its description, with options that let it begin to learn within ten trials.

    Raises: AssertionError, which names every promise that it breaks, how, and what to do.
    """
    contract = SamplerContract()
    contract.sampler, contract.spec = sampler, spec
    contract.check()
