"""Each promise of a sampler can be broken, and whoever breaks it learns how."""

import dataclasses
from typing import Any

import pytest
from optuna.samplers import RandomSampler

from ftray.search.samplers import SAMPLERS, RandomSpec, Sampler
from ftray.testing import SamplerContract, check_sampler

RANDOM = SAMPLERS["random"]


def made(sampler: type[RandomSampler], **changes: Any) -> Sampler:
    return dataclasses.replace(RANDOM, build=lambda spec, seed: sampler(seed=seed), **changes)


class OutOfRange(RandomSampler):
    def sample_independent(self, study, trial, name, distribution):
        value = super().sample_independent(study, trial, name, distribution)
        return 2.0 if name.endswith("gamma") else value


class Unseeded(RandomSampler):
    def __init__(self, seed: int):
        super().__init__()


class AlwaysSeeded(RandomSampler):
    def __init__(self, seed: int):
        super().__init__(seed=0)


class TrustingEveryTrial(RandomSampler):
    """Looks for the best trial, as if none had been pruned or had failed."""

    def before_trial(self, study, trial):
        super().before_trial(study, trial)
        self.best = max((past.value for past in study.get_trials()[:-1]), default=0.0)


BROKEN = {
    "a value out of its range": (
        made(OutOfRange),
        "test_configurations_lie_in_the_space",
        "SpecError: .*gamma: must be a number from .*, got 2.0.*sample from the distributions that Optuna passes",
    ),
    "no seed": (
        made(Unseeded),
        "test_the_same_seed_gives_the_same_configurations",
        "trial 0 is .* in one study and .* hand the seed",
    ),
    "a seed of its own": (
        made(AlwaysSeeded),
        "test_another_seed_gives_other_configurations",
        "seeds 0 and 1 both give .* and 9 further ones that are the same",
    ),
    "a failed trial that has no value": (
        made(TrustingEveryTrial),
        "test_a_study_continues_whatever_its_trials_ended_as",
        r"after 5 trials it raised TypeError: .*`study.get_trials\(states=\[TrialState.COMPLETE\]\)`",
    ),
    "names that are none": (
        made(RandomSampler, joint=lambda spec, space: {"trial/ppo/gama"}),
        "test_values_sampled_jointly_are_search_parameters",
        "trial/ppo/gama is none of trial/ppo/learning_rate, .*`space.always`",
    ),
    "a description that is no spec": (
        made(RandomSampler, spec_class=dict),
        "test_the_description_survives_a_file",
        "must be a spec with a kind",
    ),
}


@pytest.mark.parametrize(("sampler", "promise", "words"), BROKEN.values(), ids=BROKEN)
def test_the_contract_catches(sampler, promise, words):
    contract = SamplerContract()
    contract.sampler, contract.spec = sampler, RandomSpec()
    with pytest.raises(AssertionError, match=f"(?s)must: .*{words}"):
        getattr(contract, promise)()


def test_every_promise_can_be_broken():
    assert {promise for _, promise, _ in BROKEN.values()} == set(SamplerContract.promises())


def test_a_check_names_every_broken_promise_and_passes_a_member_that_keeps_them():
    check_sampler(RANDOM, RandomSpec())
    with pytest.raises(AssertionError, match=r"(?s)^1 of 6 promises are broken\nanother seed gives other"):
        check_sampler(made(AlwaysSeeded), RandomSpec())
