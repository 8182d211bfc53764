import dataclasses
import json
from pathlib import Path

import pytest

from ftray.errors import SpecError
from ftray.features import ObservationLayout
from ftray.nets import EncoderSpec, MaskSpec
from ftray.pretraining import PretrainingSpec, encoder_fingerprint
from ftray.pretraining.spec import check_foresight, tower_of
from ftray.spec import parse, parse_member, to_mapping
from tests.pretraining.conftest import ENCODER, SPEC, WITH_RETURNS

RUNS = Path(__file__).parents[1] / "runs"


def named(dataset, encoder=ENCODER, spec=SPEC, data="data"):
    return encoder_fingerprint(data, dataset.layout, encoder, spec)


@pytest.mark.parametrize(
    "change", [{"d_token": 64}, {"n_blocks": 2}, {"n_heads": 4}, {"patch_length": 2}, {"readout": "assets"}]
)
def test_the_fingerprint_changes_with_the_market_tower(dataset, change):
    assert named(dataset, dataclasses.replace(ENCODER, **change)) != named(dataset)


@pytest.mark.parametrize("change", [{"seed": 1}, {"dropout": 0.2}, {"epochs": 4}, {"masks": MaskSpec(cells=1)}])
def test_the_fingerprint_changes_with_the_training(dataset, change):
    assert named(dataset, spec=dataclasses.replace(SPEC, **change)) != named(dataset)


def test_the_fingerprint_changes_with_the_data(dataset):
    assert named(dataset, data="other data") != named(dataset)


@pytest.mark.parametrize(
    "change",
    [
        {"encoding_dim": 512},
        {"pretrained": "auto", "frozen": True},
        {"activation_checkpointing": True},
        {"fusion": "early"},
    ],
)
def test_trials_that_differ_above_the_market_tower_share_a_job(dataset, change):
    assert named(dataset, dataclasses.replace(ENCODER, **change)) == named(dataset)


def test_where_the_job_runs_is_no_part_of_its_name(dataset):
    elsewhere = dataclasses.replace(SPEC, device="auto", cpus=4, checkpoint_every=1)
    assert named(dataset, spec=elsewhere) == named(dataset)


def test_patches_beyond_the_lookback_are_the_same_patch(dataset):
    whole, beyond = (dataclasses.replace(ENCODER, patch_length=length) for length in (8, 60))
    assert named(dataset, whole) == named(dataset, beyond)


def test_nothing_to_learn_is_refused():
    with pytest.raises(SpecError, match="nothing to learn"):
        PretrainingSpec(mask_ratio=0.0, pooled_weight=0.0)
    PretrainingSpec(mask_ratio=0.0, pooled_weight=0.0, return_weight=1.0)


def test_weights_keep_the_name_that_they_had_before_returns_were_learned():
    for path in sorted(RUNS.glob("*/encoders/*/config.json")):
        config = json.loads(path.read_text())
        layout, encoder = ObservationLayout.from_mapping(config["layout"]), parse_member(EncoderSpec, config["encoder"])
        spec = parse(PretrainingSpec, config["pretraining"])
        assert encoder_fingerprint(config["dataset"], layout, encoder, spec) == path.parent.name


def test_a_tower_of_an_earlier_version_reads_cls(dataset):
    stored = to_mapping(ENCODER)
    del stored["readout"]
    assert tower_of(stored, dataset.layout) == tower_of(ENCODER, dataset.layout)
    by_assets = dataclasses.replace(ENCODER, readout="assets")
    assert tower_of(to_mapping(by_assets), dataset.layout) == tower_of(by_assets, dataset.layout)
    assert tower_of(by_assets, dataset.layout) != tower_of(ENCODER, dataset.layout)


def test_horizons_are_part_of_the_name_where_returns_are_learned(dataset):
    def named_with(horizons, **changes):
        encoder = dataclasses.replace(ENCODER, horizons=horizons)
        return named(dataset, encoder, dataclasses.replace(SPEC, **changes))

    assert named_with((2,)) == named_with((3,)) == named(dataset)
    assert len({named(dataset), *(named_with(horizons, return_weight=0.1) for horizons in ((2,), (3,)))}) == 3
    assert WITH_RETURNS.reach(ENCODER) == 9 and SPEC.reach(ENCODER) == SPEC.horizon


def test_an_encoder_that_gives_forecasts_has_a_name_of_its_own_and_must_learn_them(dataset):
    forecaster = dataclasses.replace(ENCODER, readout="forecasts")
    assert named(dataset, forecaster, WITH_RETURNS) != named(dataset, ENCODER, WITH_RETURNS)
    check_foresight(forecaster, WITH_RETURNS)
    with pytest.raises(SpecError, match="set it above 0"):
        check_foresight(forecaster, SPEC)


def test_a_spec_comes_back_from_its_mapping():
    assert parse(PretrainingSpec, to_mapping(SPEC)) == SPEC
    with pytest.raises(SpecError, match=r"mask_ratio: must be between 0 and 0\.5"):
        parse(PretrainingSpec, {"mask_ratio": 0.6})
