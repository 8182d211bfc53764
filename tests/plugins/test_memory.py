"""What a plug-in's encoder needs of a GPU: counted, or as its class says."""

import pytest

from ftray.errors import SpecError
from ftray.features import ObservationLayout
from ftray.nets import ENCODERS, FTSpec, MLPSpec
from ftray.study import load_study
from ftray.trial.vram import plan_trial
from ftray.vram.gpus import parse_gpu
from ftray.vram.table import REFERENCE, Worker, formula, head_floats, predicted, tower_floats

from .outside import MEMBERS, study_file, write

LAYOUT = ObservationLayout(("ONE", "TWO"), ("close", "gap"), 8)
KNOWN = (
    MLPSpec(),
    MLPSpec(hidden=1024),
    FTSpec(),
    FTSpec(n_blocks=1),
    FTSpec(patch_length=12),
    FTSpec(fusion="early"),
    FTSpec(n_blocks=3, activation_checkpointing=True),
)
"""Encoders whose memory a formula has, which was compared with a GPU."""


@pytest.mark.parametrize("spec", KNOWN, ids=str)
def test_what_is_counted_is_on_the_safe_side_of_what_is_known(spec):
    counted = ENCODERS[spec.kind].step_floats(spec, REFERENCE)
    behind = head_floats(MLPSpec(hidden=64, encoding_dim=spec.encoding_dim), REFERENCE) - 4 * 64
    known = tower_floats(spec, REFERENCE) + head_floats(spec, REFERENCE) - behind
    assert known <= counted <= 8 * known


def test_a_study_with_a_plug_ins_encoder_has_a_vram_plan(tmp_path):
    write(tmp_path)
    study = load_study(study_file(tmp_path, "my_members"))
    small, large = ({"hidden": 8}, {"hidden": 256})
    for trial in study.corner_trials:
        plan = plan_trial(trial, parse_gpu("T4"))
        assert plan.source == ("formula" if trial.encoder.kind == "gru" else "table") and plan.workers_per_gpu > 1
    gru = ENCODERS["gru"].spec_class
    workers = [Worker(gru(**options), LAYOUT) for options in (small, large)]
    gib = [predicted(worker)[0] for worker in workers]
    assert gib[0] < gib[1]
    names = [worker.key for worker in workers]
    assert names[0].startswith(f"gru, hidden=8, encoding_dim=16, {study.plugins['my_members']}, minibatch 256, ")
    assert names[0] != names[1]


def test_a_class_may_say_what_it_needs(tmp_path):
    said = "    spec_class, shares_bars = GruSpec, True\n\n    @classmethod\n    def step_floats(cls, spec, layout):\n"
    write(
        tmp_path,
        source=MEMBERS.replace("    spec_class, shares_bars = GruSpec, True\n", f"{said}        return 10**6\n"),
    )
    study = load_study(study_file(tmp_path, "my_members"))
    gru = next(trial.encoder for trial in study.corner_trials if trial.encoder.kind == "gru")
    assert formula(Worker(gru, LAYOUT)).activations > 256 * 4 * 10**6


def test_an_encoder_that_cannot_be_counted_is_asked_to_say_what_it_needs(tmp_path):
    write(tmp_path, source=MEMBERS.replace("self.tower(windows", "self.tower(windows + windows.sum().item()"))
    study = load_study(study_file(tmp_path, "my_members"))
    gru = next(trial.encoder for trial in study.corner_trials if trial.encoder.kind == "gru")
    with pytest.raises(SpecError, match=r"does not run there .*: give its class a `step_floats`"):
        formula(Worker(gru, LAYOUT))
