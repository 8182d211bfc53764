"""What is wrong with a policy folder is said: each way of being wrong, and its message."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ftray.errors import WeightsError
from ftray.nets import exporting_onnx, load_policy

from .test_deployment import facts_of, policy_of, sha256
from .test_onnx_process import python


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """A folder with a file for policy.onnx, to copy; its content is not read."""
    folder = policy_of("mlp").save(tmp_path_factory.mktemp("exported") / "policy")
    with exporting_onnx(folder, python("open(file, 'wb').write(bytes(1000))")):
        pass
    return folder


@pytest.fixture
def folder(tmp_path) -> Path:
    return policy_of("ft").save(tmp_path / "policy")


def write_facts(folder: Path, facts: dict[str, Any]) -> None:
    (folder / "policy.json").write_text(json.dumps(facts))


def write_weights(folder: Path, state: dict[str, np.ndarray]) -> None:
    """Other weights under their right hash."""
    np.savez(folder / "weights.npz", **state)
    facts = facts_of(folder)
    facts["sha256"]["weights.npz"] = sha256(folder / "weights.npz")
    write_facts(folder, facts)


def facts_with(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: write_facts(folder, facts_of(folder) | changes)


def facts_without(name: str) -> Callable[[Path], None]:
    return lambda folder: write_facts(folder, {key: value for key, value in facts_of(folder).items() if key != name})


def part_with(part: str, **changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        facts = facts_of(folder)
        write_facts(folder, facts | {part: facts[part] | changes})

    return change


def text(content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "policy.json").write_text(content)


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def truncated(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-7])


def one_bit_changed(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)

    return change


def weights_with(**changes: Any) -> Callable[[Path], None]:
    """Some arrays replaced, added or (None) left out, as if they had been exported so."""

    def change(folder: Path) -> None:
        with np.load(folder / "weights.npz") as arrays:
            state = dict(arrays) | {name.replace("__", "."): value for name, value in changes.items()}
        write_weights(folder, {name: value for name, value in state.items() if value is not None})

    return change


def no_archive(folder: Path) -> None:
    (folder / "weights.npz").write_text("no archive")
    write_facts(folder, facts_of(folder) | {"sha256": {"weights.npz": sha256(folder / "weights.npz")}})


CANDLES = {"fingerprint": "abc", "interval": "1h", "n_bars": 9, "first": "2024-01-01", "last": "2024-01-02"}
SIDES = ("pretraining", "train", "validation", "test")
SEEN = {side: [["2024-01-01T00:00:00", "2024-01-01T05:00:00"]] for side in SIDES}

WRONG = {
    "no facts": (without("policy.json"), r"policy holds no policy: policy\.json is missing"),
    "no JSON": (text("{"), r"policy\.json is damaged, or no JSON"),
    "no text": (lambda folder: (folder / "policy.json").write_bytes(b"\xff\xfe\x00"), r"policy\.json is damaged"),
    "no mapping": (text("[1]"), r"policy\.json describes no policy: it must state its `format`, a number"),
    "no format": (facts_without("format"), r"policy\.json describes no policy"),
    "another format": (
        facts_with(format=99, versions={"ftray": "7.0"}),
        r"policy format 99, written with \{'ftray': '7\.0'\}, and this ftray reads format 3: export the policy again",
    ),
    "no scaler": (facts_without("scaler"), r"must hold a mapping under scaler, and does not"),
    "no hashes": (facts_without("sha256"), r"must hold a mapping under sha256, and does not"),
    "no layout, no encoder": (
        lambda folder: (facts_without("layout")(folder), facts_without("encoder")(folder)),
        r"must hold a mapping under layout, encoder, and does not",
    ),
    "a layout of something else": (facts_with(layout=[1]), r"must hold a mapping under layout"),
    "a layout without a lookback": (
        facts_with(layout={"symbols": ["A"], "indicators": ["b"]}),
        r"layout must state .*",
    ),
    "a layout of no bars": (
        part_with("layout", lookback=0),
        r"layout must have .* a bar at least, got .*'lookback': 0",
    ),
    "a misspelt field": (
        part_with("encoder", d_toke=64),
        r"policy\.json: encoder\.d_toke: no such key; did you mean 'd_token'\?",
    ),
    "a value out of range": (part_with("encoder", n_blocks=9), r"encoder\.n_blocks: must be between 1 and 4, got 9"),
    "another family": (part_with("encoder", kind="lstm"), r"encoder\.kind: must be one of ft, mlp; got 'lstm'"),
    "candles that are no mapping": (facts_with(candles=[1], windows={}), r"must hold a mapping under candles"),
    "candles without an interval": (
        facts_with(candles=CANDLES | {"interval": None}, windows=SEEN),
        r"does not say what the policy has seen: `candles` must state fingerprint, interval, n_bars, first and last",
    ),
    "an interval that is none": (facts_with(candles=CANDLES | {"interval": "1x"}, windows=SEEN), r"interval: must be"),
    "half a bar": (
        facts_with(candles=CANDLES | {"n_bars": 1.5}, windows=SEEN),
        r"n_bars must be a whole number",
    ),
    "a first bar that is no time": (facts_with(candles=CANDLES | {"first": "soon"}, windows=SEEN), r"what .* has seen"),
    "a first bar that is a number": (facts_with(candles=CANDLES | {"first": 5}, windows=SEEN), r"what .* has seen"),
    "no test window": (
        facts_with(candles=CANDLES, windows={side: SEEN[side] for side in SIDES[:3]}),
        r"`windows` the times of pretraining, train, validation, test: 'test' is missing",
    ),
    "a window without an end": (
        facts_with(candles=CANDLES, windows=SEEN | {"test": [["2024-01-01"]]}),
        r"what .* has seen",
    ),
    "a trial that is no mapping": (facts_with(trial="trial-0000"), r"must hold a mapping under trial"),
    "plug-ins that are no mapping": (facts_with(plugins=["acme"]), r"must hold a mapping under plugins"),
    "hashes that are no mapping, of format 2": (facts_with(format=2, sha256=[]), r"must hold a mapping under sha256"),
    "a scaler of text": (part_with("scaler", clip="much"), r"scaler must state center, scale and clip as numbers"),
    "a scaler of another market": (part_with("scaler", scale=[1.0]), r"layout's 6 series, got 6 and 1"),
    "no weights": (without("weights.npz"), r"is not whole: weights\.npz is missing"),
    "weights cut short": (truncated("weights.npz"), r"weights\.npz is damaged: .*\(SHA-256 \w{12}, and .* \w{12}\)"),
    "a bit in the weights": (one_bit_changed("weights.npz"), r"weights\.npz is damaged"),
    "weights that are no archive": (no_archive, r"weights\.npz holds no arrays of weights"),
    "a weight of another shape": (
        weights_with(encoder__tower__cls=np.zeros(64, np.float32)),
        r"weights\.npz does not fit .*: d_token 64 there, 32 here\.",
    ),
    "a weight less": (weights_with(encoder__tower__cls=None), r"missing from the weights: encoder\.tower\.cls"),
    "a weight more": (weights_with(memory=np.zeros(1)), r"unexpected in the weights: memory"),
    "a wider encoder": (
        part_with("encoder", d_token=64),
        r"weights\.npz does not fit .*: d_token 32 there, 64 here\.",
    ),
    "a longer lookback": (
        part_with("layout", lookback=9),
        r"weights\.npz does not fit .*: lookback 8 there, 9 here\.",
    ),
    "symbols exchanged": (
        part_with("layout", symbols=["ETH", "BTC"]),
        r"policy\.json is not what was written: layout was changed afterwards",
    ),
    "heads of the same widths": (part_with("encoder", n_heads=4), r"not what was written: encoder was changed"),
    "another scale": (part_with("scaler", scale=[2.0] * 5 + [2.1]), r"not what was written: scaler was changed"),
}


@pytest.mark.parametrize(("damage", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_with_a_folder_is_said(damage, message, folder):
    load_policy(folder)
    damage(folder)
    with pytest.raises(WeightsError, match=message) as caught:
        load_policy(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without("policy.onnx"), r"is not whole: policy\.onnx is missing"),
        (truncated("policy.onnx"), r"policy\.onnx is damaged"),
        (one_bit_changed("policy.onnx"), r"policy\.onnx is damaged"),
    ],
)
def test_what_is_wrong_with_the_onnx_file_is_said(damage, message, exported, tmp_path):
    folder = shutil.copytree(exported, tmp_path / "policy")
    load_policy(folder)
    damage(folder)
    with pytest.raises(WeightsError, match=message):
        load_policy(folder)


def test_candles_and_windows_as_they_are_written_load(folder):
    facts_with(candles=CANDLES, windows=SEEN)(folder)
    assert load_policy(folder).facts["candles"] == CANDLES


def test_a_folder_that_is_not_there_is_said_to_be_so(tmp_path):
    with pytest.raises(WeightsError, match="nowhere holds no policy: there is no such folder"):
        load_policy(tmp_path / "nowhere")


def test_nothing_in_a_folder_is_unpickled(folder, monkeypatch):
    """Not even where its hash is right: whoever can write the weights can write their hash."""

    def unpickled(*_, **__):
        raise AssertionError("a policy folder was unpickled")

    write_weights(folder, {"encoder.tower.cls": np.array([{"an": "object"}], dtype=object)})
    for loads in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, loads, unpickled)
    with pytest.raises(WeightsError, match=r"weights\.npz holds no arrays of weights: Object arrays cannot be loaded"):
        load_policy(folder)
