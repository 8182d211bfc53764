"""Memory plans: smaller ones need less memory, compute the same, and end; out of memory reads alike everywhere."""

import dataclasses
import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ftray.agent import PPOSpec
from ftray.agent.env_runner import FTEnvRunner
from ftray.agent.memory_errors import out_of_memory_in
from ftray.agent.module import FTPolicy
from ftray.errors import OutOfMemoryError, SpecError, TrainingError
from ftray.nets import FTSpec, MLPSpec
from ftray.runs import TrialFolder
from ftray.spec import to_mapping
from ftray.trial import TrialSpec
from ftray.trial.memory_plan import FULL, MIN_SAMPLES, MemoryPlan
from ftray.trial.out_of_memory import memory_plan_of, never_fitted, step_down
from ftray.trial.run import run_trial
from ftray.vram.gpus import Gpu
from ftray.vram.plan import VramPlan

from .test_run import TRIAL, Reports, run

ENCODERS = st.sampled_from(
    [
        MLPSpec(),
        FTSpec(),
        FTSpec(activation_checkpointing=True),
        FTSpec(pretrained="auto", frozen=True),
        FTSpec(pretrained="auto", frozen=True, fusion="early"),
    ]
)
PPO = st.builds(
    PPOSpec,
    train_batch_size=st.integers(1, 4096),
    minibatch_size=st.integers(1, 2048),
    n_env_runners=st.integers(0, 12),
    envs_per_runner=st.integers(1, 24),
    env_runners_on_gpu=st.booleans(),
)
TRIALS = st.builds(TrialSpec, encoder=ENCODERS, ppo=PPO)


def chain(spec: TrialSpec) -> list[MemoryPlan]:
    plans = [FULL]
    while (smaller := plans[-1].smaller(spec)) is not None:
        assert len(plans) < 40
        plans.append(smaller)
    return plans


@given(TRIALS)
def test_every_chain_of_smaller_plans_ends_and_changes_nothing_that_is_computed(spec):
    plans = chain(spec)
    assert len(set(plans)) == len(plans)
    for plan in plans:
        ppo, encoder = plan.apply(spec).ppo, plan.apply(spec).encoder
        assert (ppo.batch_size, ppo.n_envs, ppo.minibatch) == (spec.ppo.batch_size, spec.ppo.n_envs, spec.ppo.minibatch)
        assert ppo == dataclasses.replace(
            spec.ppo, n_env_runners=ppo.n_env_runners, envs_per_runner=ppo.envs_per_runner
        )
        if isinstance(encoder, FTSpec):
            assert dataclasses.replace(encoder, activation_checkpointing=False) == dataclasses.replace(
                spec.encoder, activation_checkpointing=False
            )
        else:
            assert encoder == spec.encoder
        assert MemoryPlan(**to_mapping(plan)) == plan


@given(TRIALS)
def test_a_step_down_is_always_to_less_at_once(spec):
    plans = chain(spec)
    for before, after in itertools.pairwise(plans):
        assert after.micro_batches >= before.micro_batches
        assert after.apply(spec).ppo.n_env_runners <= before.apply(spec).ppo.n_env_runners
        assert before != after
    for plan in plans[1:]:
        assert plan.micro_batches == 1 or spec.ppo.minibatch // plan.micro_batches >= MIN_SAMPLES


def test_the_steps_are_parts_of_a_minibatch_then_recomputed_blocks_then_env_runners_on_the_gpu():
    spec = TrialSpec(
        encoder=FTSpec(), ppo=PPOSpec(minibatch_size=128, n_env_runners=4, envs_per_runner=6, env_runners_on_gpu=True)
    )
    raised = [plan.describe(spec) for plan in chain(spec)]
    assert raised == [
        "128 samples at once",
        "64 samples at once",
        "32 samples at once",
        "32 samples at once, blocks recomputed",
        "32 samples at once, blocks recomputed, 3 env runners",
        "32 samples at once, blocks recomputed, 2 env runners",
        "32 samples at once, blocks recomputed, 1 env runner",
    ]
    assert chain(spec)[4].apply(spec).ppo.envs_per_runner == 8


def test_only_what_uses_the_gpu_gets_smaller():
    on_cpu = PPOSpec(minibatch_size=64, n_env_runners=4)
    assert chain(TrialSpec(encoder=MLPSpec(), ppo=on_cpu)) == [FULL, MemoryPlan(micro_batches=2)]
    # The vectors of a frozen tower are known for every bar: none of its blocks has a backward pass.
    frozen = FTSpec(pretrained="auto", frozen=True)
    assert chain(TrialSpec(encoder=frozen, ppo=on_cpu)) == [FULL, MemoryPlan(micro_batches=2)]


def test_env_runners_that_cannot_share_the_accounts_are_refused():
    with pytest.raises(SpecError, match="12 accounts cannot be divided among 5 env runners"):
        MemoryPlan(n_env_runners=5).apply(TrialSpec(ppo=PPOSpec(n_env_runners=3, envs_per_runner=4)))


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nmore"), "CUDA out of memory. Tried"),
        (torch.OutOfMemoryError("no sign in here"), "OutOfMemoryError: no sign in here"),
        (RuntimeError("CUDA error: out of memory"), "CUDA error: out of memory"),
        (RuntimeError("ray::Runner.sample()\n  File x\ntorch.OutOfMemoryError: full"), "torch.OutOfMemoryError: full"),
        (RuntimeError("Task was killed due to the node running low on memory\ntorch.OutOfMemoryError"), None),
        (ValueError("something else"), None),
    ],
)
def test_out_of_memory_is_recognised_in_what_other_processes_and_libraries_say(error, line):
    found = out_of_memory_in(error)
    assert found is None if line is None else line in found


def test_a_trials_folder_has_the_predicted_and_observed_memory_and_the_next_plan(tmp_path):
    folder, spec = TrialFolder(tmp_path), TrialSpec(encoder=MLPSpec(), ppo=PPOSpec(minibatch_size=128))
    assert memory_plan_of(folder) == FULL
    plan = VramPlan(Gpu("some GPU", 12.0), learner_gib=1.25, source="table", workers_per_gpu=8)
    memory_plan: MemoryPlan | None = FULL
    while memory_plan is not None:
        assert memory_plan_of(folder) == memory_plan
        memory_plan = step_down(folder, spec, memory_plan, OutOfMemoryError("too much"), plan)
    first, *_, last = folder.out_of_memories()
    assert first["shape"] == to_mapping(FULL) and first["next"] == to_mapping(MemoryPlan(micro_batches=2))
    assert (first["predicted_gib"], first["observed_gib"], first["error"]) == (1.25, None, "too much")
    assert last["next"] is None and memory_plan_of(folder) == MemoryPlan(micro_batches=4)
    tried = never_fitted(folder, spec)
    for samples in (128, 64, 32):
        assert f"{samples} samples at once (1.25 GiB predicted, unknown observed)" in tried


# What follows trains, and RLlib wants a Ray for that.


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return tmp_path_factory.mktemp("shared")


def with_ppo(**ppo: object) -> TrialSpec:
    return dataclasses.replace(TRIAL, ppo=dataclasses.replace(TRIAL.ppo, **ppo))


@pytest.mark.ray
@pytest.mark.usefixtures("cluster")
def test_a_trial_out_of_memory_says_so_keeps_its_checkpoint_and_continues_with_a_smaller_plan(
    tmp_path, shared, monkeypatch
):
    forward, reports = FTPolicy._forward_train, Reports()

    def with_little_memory(module, batch, **given):
        if len(reports) and len(batch["obs"]) > 40:  # it fits in the first iteration alone
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
        return forward(module, batch, **given)

    monkeypatch.setattr(FTPolicy, "_forward_train", with_little_memory)
    with pytest.raises(OutOfMemoryError, match=r"its learner did not with 64 samples at once: .*Tried to allocate 1"):
        run_trial(TRIAL, reports, folder=tmp_path, shared=shared)
    checkpoint = TrialFolder(tmp_path).checkpoint
    assert checkpoint is not None and len(reports) == 1
    smaller = FULL.smaller(TRIAL)
    run_trial(TRIAL, reports, folder=tmp_path, shared=shared, resume=checkpoint, memory_plan=smaller)
    assert [row["iteration"] for row in reports] == [1, 2] and reports[-1]["run_done"]
    assert reports[1]["env_steps"] > reports[0]["env_steps"]


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.usefixtures("cluster")
def test_a_trial_continues_from_its_checkpoint_with_fewer_env_runners(tmp_path, shared):
    two = with_ppo(n_env_runners=2, envs_per_runner=4, cpus_per_env_runner=0.5, env_runners_on_gpu=True)
    half = dataclasses.replace(two, ppo=dataclasses.replace(two.ppo, env_steps=128))
    checkpoint = run(half, tmp_path / "two", shared)[-1]["checkpoint"]
    resumed = run(two, tmp_path / "one", shared, resume=checkpoint, memory_plan=MemoryPlan(n_env_runners=1))
    assert resumed[0]["iteration"] == 2 and resumed[-1]["run_done"] and resumed[0]["env_steps"] > 128


class NeverMade(FTEnvRunner):
    """An env runner whose process finds no memory for the model."""

    def make_module(self) -> None:
        if self.worker_index == 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 5 GiB")
        super().make_module()


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.usefixtures("cluster")
def test_an_env_runner_that_finds_no_memory_for_the_model_ends_the_trial_at_its_start(tmp_path, shared, monkeypatch):
    monkeypatch.setattr("ftray.agent.training.FTEnvRunner", NeverMade)
    spec = with_ppo(n_env_runners=2, envs_per_runner=4, cpus_per_env_runner=0.5)
    with pytest.raises(OutOfMemoryError, match=r"its env runner 2 did not .*Tried to allocate 5 GiB"):
        run(spec, tmp_path, shared)


class ShortOfMemory:
    """A policy's forward pass in a process that has no GPU memory left."""

    def __call__(self, runner):
        def forward(*args: object, **given: object) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB")

        runner.module.forward_exploration = forward


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.usefixtures("cluster")
def test_an_env_runner_out_of_memory_ends_the_trial_at_once_although_the_other_could_fill_in(
    tmp_path, shared, monkeypatch
):
    import ftray.trial.run as running

    spec, reports = with_ppo(n_env_runners=2, envs_per_runner=4, cpus_per_env_runner=0.5), Reports()
    iterate = running.iterate

    def then_too_much(algorithm):
        row = iterate(algorithm)
        algorithm.env_runner_group.foreach_env_runner(ShortOfMemory(), local_env_runner=False, remote_worker_ids=[2])
        return row

    monkeypatch.setattr(running, "iterate", then_too_much)
    with pytest.raises(OutOfMemoryError, match=r"its env runner 2 did not .*Tried to allocate 3 GiB") as raised:
        run_trial(spec, reports, folder=tmp_path, shared=shared)
    assert raised.value.process == "env runner 2" and isinstance(raised.value, TrainingError)
    assert len(reports) == 1
