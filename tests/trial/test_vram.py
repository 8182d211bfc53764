"""The VRAM plan: shares of a GPU, how many trials they make, and caps that leave room for reserve and CUDA context."""

import dataclasses
from fractions import Fraction

import pytest

from ftray.agent.spec import PPOSpec
from ftray.errors import SpecError
from ftray.market import SimulatorSpec
from ftray.nets import PRESETS, FTSpec, MLPSpec
from ftray.pretraining import PretrainingSpec
from ftray.trial import TrialSpec
from ftray.trial.memory_plan import MemoryPlan
from ftray.trial.vram import env_runner, learner, plan_pretraining, plan_trial
from ftray.vram.gpus import MODELS, Gpu, Measured, parse_gpu
from ftray.vram.table import CONTEXT_GIB, GIB, NO_GRAD_CHUNK, TABLE, formula

LITERAL = TrialSpec(encoder=FTSpec(patch_length=1))


def trial(encoder: str) -> TrialSpec:
    return TrialSpec(encoder=PRESETS[encoder])


@pytest.mark.parametrize(
    ("gib", "encoder", "workers"),
    [
        (12.0, FTSpec(), 5),
        (11.76, FTSpec(), 5),
        (16.0, PRESETS["balanced"], 7),
        (15.69, PRESETS["balanced"], 7),
        (40.0, PRESETS["large"], 10),
        (39.38, PRESETS["large"], 10),
        (39.4, FTSpec(d_token=128, n_blocks=4, n_heads=8, encoding_dim=1024), 10),
    ],
)
def test_the_promised_workers_per_gpu_for_nominal_and_for_reported_memory(gib, encoder, workers):
    plan = plan_trial(TrialSpec(encoder=encoder), Gpu("a GPU", gib))
    assert (plan.workers_per_gpu, plan.trials_per_gpu, plan.source) == (workers, workers, "table")
    assert plan.shares.learner == 1 / workers  # exactly: Ray packs k of those on a GPU
    assert plan.shares.env_runner == plan.shares.env_runner_cap_gib == 0.0
    assert plan.shares.planned_gib == gib


@pytest.mark.parametrize("name", MODELS)
def test_all_workers_of_a_gpu_together_stay_within_it_with_their_contexts(name):
    gpu = parse_gpu(name)
    for row in TABLE:
        plan = plan_trial(TrialSpec(encoder=row.worker.encoder), gpu)
        k, cap_gib = plan.workers_per_gpu, plan.shares.learner_cap_gib
        # Only the MLP's row has no room for a context as large as an H100's.
        assert plan.source == "table" or (row.gib == 0.85 and gpu.context_gib > CONTEXT_GIB)
        assert row.gib <= plan.learner_gib <= 0.89 * gpu.gib / k
        assert plan.source != "table" or plan.learner_gib == row.gib
        assert k * (cap_gib + gpu.context_gib) == pytest.approx(0.89 * gpu.gib)
        assert cap_gib * GIB >= formula(learner(TrialSpec(encoder=row.worker.encoder))).allocator


def test_env_runners_on_the_gpu_take_shares_of_their_own():
    ppo = PPOSpec(n_env_runners=3, envs_per_runner=16, env_runners_on_gpu=True)
    spec = TrialSpec(ppo=ppo)
    plan = plan_trial(spec, parse_gpu("12"))
    assert plan.workers_per_gpu == 5 and CONTEXT_GIB < plan.env_runner_gib < 0.85
    m = plan.env_runners_per_gpu
    assert m == int(0.89 * 12 / plan.env_runner_gib) > 5
    assert plan.gpus_per_trial == Fraction(1, 5) + Fraction(3, m)
    assert plan.trials_per_gpu == int(1 / (1 / 5 + 3 / m)) < 5
    assert plan.shares.env_runner == 1 / m
    assert plan.shares.env_runner_cap_gib == pytest.approx(0.89 * 12 / m - CONTEXT_GIB)
    assert env_runner(spec).no_grad == NO_GRAD_CHUNK and env_runner(spec).minibatch == 0
    many = dataclasses.replace(spec, ppo=dataclasses.replace(ppo, envs_per_runner=300))
    assert env_runner(many).no_grad == 300 and env_runner(many).n_samples >= 600
    fewer = plan_trial(spec, parse_gpu("12"), MemoryPlan(n_env_runners=1))
    assert fewer.n_env_runners == 1 and env_runner(spec, MemoryPlan(n_env_runners=1)).no_grad == NO_GRAD_CHUNK


def test_a_local_env_runner_computes_on_the_cpu():
    plan = plan_trial(TrialSpec(ppo=PPOSpec(n_env_runners=0, env_runners_on_gpu=True)), parse_gpu("12"))
    assert (plan.n_env_runners, plan.shares.env_runner) == (0, 0.0)


def test_a_trial_that_spreads_over_several_gpus_fits_on_none_whole():
    spec = TrialSpec(ppo=PPOSpec(n_env_runners=12, env_runners_on_gpu=True), encoder=PRESETS["large"])
    plan = plan_trial(spec, parse_gpu("5"))
    assert plan.workers_per_gpu == 1 and plan.trials_per_gpu == 0 and plan.gpus_per_trial > 1


def test_what_does_not_fit_is_refused_with_what_is_needed_and_what_there_is():
    with pytest.raises(SpecError, match=r"needs 8\.\d\d GiB, and a GPU of 8 GiB has 7\.12 GiB to share out \(of 8\.00"):
        plan_trial(LITERAL, parse_gpu("8"))
    assert plan_trial(LITERAL, parse_gpu("12")).source == "formula"


def test_a_share_must_hold_more_than_a_cuda_context():
    spec = TrialSpec(encoder=MLPSpec())
    measured = (Measured(learner(spec).key, GIB // 4, GIB // 4), Measured("something", GIB, int(1.5 * GIB)))
    with pytest.raises(SpecError, match=r"must hold a CUDA context, 1\.50 GiB"):
        _ = plan_trial(spec, Gpu("odd", 12.0, measured)).shares


def test_a_measured_worker_beats_the_table():
    row = Measured(learner(TrialSpec()).key, GIB // 2, GIB // 4)
    plan = plan_trial(TrialSpec(), Gpu("RTX 3060", 11.76, (row,)))
    assert plan.source == "measured" and plan.learner_gib == pytest.approx(0.25 + 1.15 * 0.5, abs=0.01)
    assert plan.workers_per_gpu == 12
    assert plan.shares.learner_cap_gib == pytest.approx(0.89 * 11.76 / 12 - 0.25)


def test_a_smaller_memory_plan_needs_less_and_keeps_the_share_that_was_too_little():
    gpu = parse_gpu("80")
    plans = [plan_trial(LITERAL, gpu, MemoryPlan(micro_batches=n)) for n in (1, 2, 8)]
    assert plans[0].learner_gib > plans[1].learner_gib > plans[2].learner_gib
    assert len({plan.workers_per_gpu for plan in plans}) == 1
    checkpointed = plan_trial(LITERAL, gpu, MemoryPlan(micro_batches=8, activation_checkpointing=True))
    assert checkpointed.workers_per_gpu == plans[0].workers_per_gpu


def test_a_smaller_memory_plan_fits_where_the_full_one_does_not():
    spec = dataclasses.replace(LITERAL, encoder=FTSpec(patch_length=1, n_blocks=4))
    with pytest.raises(SpecError, match=r"has 12\.46 GiB to share out"):
        plan_trial(spec, parse_gpu("14"))
    assert plan_trial(spec, parse_gpu("14"), MemoryPlan(micro_batches=4)).workers_per_gpu >= 1


def test_the_market_of_a_trial_counts():
    long = dataclasses.replace(LITERAL, market=SimulatorSpec(n_bars=2_000_000))
    assert learner(long).n_bars == 2_000_000
    gpu = parse_gpu("40")
    assert plan_trial(long, gpu).learner_gib - plan_trial(LITERAL, gpu).learner_gib > 2 * 1e6 * 98 * 4 / GIB


def test_pretraining_has_a_plan_too():
    spec = TrialSpec(encoder=FTSpec(pretrained="auto"), pretraining=PretrainingSpec(batch_size=64))
    gpu = parse_gpu("12")
    small, large = (
        plan_pretraining(dataclasses.replace(spec, pretraining=PretrainingSpec(batch_size=n)), gpu) for n in (64, 1024)
    )
    assert CONTEXT_GIB < small.learner_gib < large.learner_gib
    assert small.workers_per_gpu > large.workers_per_gpu >= 1
    with pytest.raises(SpecError, match="a pre-training job needs"):
        plan_pretraining(spec, parse_gpu("0.6"))
