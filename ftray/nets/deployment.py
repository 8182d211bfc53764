"""`Policy`: a trained policy to deploy, numpy in and numpy out, and the folder that holds it. No Ray, no pickle.

    policy.json    the format's number, layout, encoder, scaler, data hash, versions, where it comes from; hashes of all
                   that, and of the plug-ins that its indicators and its encoder are from
    weights.npz    the network's weights
    policy.onnx    the same network for other runtimes; where there is none, policy.json says why (`onnx_left_out`)

Legend: B batch, A assets.
"""

import json
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from ftray.errors import DataError, SpecError, WeightsError
from ftray.features.history import interval_of
from ftray.features.layout import ObservationLayout, check_accounts
from ftray.features.raw import raw_features
from ftray.features.scaling import Scaler
from ftray.features.spec import FeatureSpec
from ftray.files import replace_folder, sha256
from ftray.market import Candles
from ftray.nets.families import build_encoder
from ftray.nets.heads import policy_head
from ftray.nets.live_candles import check_candles, check_length
from ftray.nets.misfit import misfits
from ftray.nets.onnx_process import FACTS, ONNX, exporting_onnx
from ftray.nets.policy import PolicyNetwork
from ftray.nets.policy_facts import FORMAT, PARTS, check_plugins, plugins_of, read_facts, versions
from ftray.nets.spec import EncoderSpec
from ftray.numeric import real_numbers
from ftray.outputs import check_output_folder
from ftray.plugins import check_loaded, load_plugins
from ftray.spec import fingerprint, parse_member, to_mapping

WEIGHTS = "weights.npz"


class Policy:
    """A trained policy to deploy: `policy(observation)` is an action. numpy in, numpy out; without Ray, without pickle.

    network: what computes it.
    scaler: what turned raw features into the observations that it was trained on.
    facts: where it comes from, as plain values: `dataset` (hash), `trial` (resolved spec), `candles` and `windows`
        (what it has seen, see `ftray.features.history`), `versions`, and whatever else.
    folder: that it was loaded from; None for one that was not.
    """

    def __init__(self, network: PolicyNetwork, scaler: Scaler, facts: Mapping[str, Any], folder: Path | None = None):
        self.network, self.scaler, self.facts, self.folder = network.eval(), scaler, dict(facts), folder

    @property
    def layout(self) -> ObservationLayout:
        """Where everything is in an observation; `layout.symbols` are the assets that it trades."""
        return self.network.layout

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        """The action for one observation or a batch: a number per asset in [-1, 1].

        The target weight of an asset is max(a, 0) / max(1, sum of those). The no-trade zone of its training
        (`trading.no_trade`) is applied already, around the holdings that it observes.

        observation: (size,) or (B, size), as `layout` says. Gives (A,) or (B, A) float32.

        Raises: WeightsError for an observation of another size, and for a batch of none; DataError for one that is no
            array of finite real numbers, whose features are not scaled, or whose account is not cash and holdings as
            fractions of equity.
        """
        observation = real_numbers(observation, "an observation")
        if observation.shape[-1:] != (self.layout.size,) or observation.ndim > 2 or not observation.size:
            what = f"this policy observes {self.layout.size} floats, got the shape {observation.shape}"
            raise WeightsError(what if observation.size else f"{what}: a batch of none")
        if not np.isfinite(observation).all():
            raise DataError("an observation must be finite; look for bars without a full lookback of known features")
        accounts = observation[..., self.layout.account]
        check_accounts(accounts, *accounts.shape)
        largest = np.abs(observation[..., self.layout.features]).max(initial=0.0)
        if largest > self.scaler.clip + 1e-3:
            raise DataError(
                f"features must be scaled, and clipped at {self.scaler.clip:g}; got {largest:g}: `observe` scales them"
            )
        with torch.inference_mode():
            batch = torch.from_numpy(np.atleast_2d(observation).astype(np.float32, copy=False))
            return self.network(batch).numpy().reshape(*observation.shape[:-1], -1)

    def observe(self, candles: Candles, account: ArrayLike | None = None) -> np.ndarray:
        """What it observes after the last of some candles, as in training. Gives (size,) float32.

        candles: of its assets, in their order; the lookback, and what indicators need before it.
        account: (1 + A,) cash and each holding as fractions of equity; by default all in cash.

        Raises: PluginError for indicators of a plug-in that is not loaded; WeightsError for other assets; DataError for
            bars of another interval (those of a policy of ftray 0.1 whose market was a plug-in's cannot be compared),
            out of order or not over yet, for prices that no market has, where the last bars are too few or a gap lies
            among them, and for an account that is not cash and holdings as fractions of equity.
        """
        check_loaded(self.facts.get("plugins") or {}, "this policy")
        layout = self.layout
        all_cash = [1.0] + [0.0] * layout.n_assets
        held = check_accounts(all_cash if account is None else account, layout.n_account)
        check_candles(candles, layout.symbols, interval_of(self.facts))
        spec = FeatureSpec(lookback=layout.lookback, indicators=layout.indicators)
        check_length(candles, spec.reach)
        rows = self.scaler(raw_features(candles, spec))[-layout.lookback :]
        if not np.isfinite(rows).all():
            series = layout.series_name(int(np.flatnonzero(~np.isfinite(rows).all(axis=0))[0]))
            raise DataError(f"every indicator must be finite in the last {layout.lookback} bars, and {series} is not")
        return np.concatenate([held, rows.T.ravel()]).astype(np.float32)

    def save(self, folder: Path | str, *, onnx: bool = False) -> Path:
        """Writes the folder, whole or not at all, in place of an older one; its path.

        folder: where `load_policy` finds it.
        onnx: whether to add policy.onnx, which takes some seconds. Where it cannot be written the folder is whole
            without it, and `onnx_left_out` in policy.json says why.

        Raises: OutputError for a place that cannot be written.
        """
        folder = check_output_folder(folder)
        with replace_folder(folder) as new:
            state = {name: value.cpu().numpy() for name, value in self.network.state_dict().items()}
            np.savez(new / WEIGHTS, allow_pickle=False, **state)
            facts = {
                "versions": versions(),
                **self.facts,
                "format": FORMAT,
                "layout": self.layout.to_mapping(),
                "encoder": to_mapping(self.network.encoder.spec),
                "scaler": self.scaler.to_mapping(),
                "actions": {"no_trade": self.network.no_trade},
                "onnx_left_out": "not asked for",
            }
            if plugins := plugins_of(self.network.encoder.spec, self.layout):
                facts["plugins"] = plugins
            facts["sha256"] = {WEIGHTS: sha256(new / WEIGHTS)} | {name: fingerprint(facts[name]) for name in PARTS}
            (new / FACTS).write_text(json.dumps(facts, indent=1))
        if onnx:
            with exporting_onnx(folder):
                pass
        return folder

    @classmethod
    def load(cls, folder: Path | str) -> "Policy":
        """The policy in a folder; see `load_policy`.

        folder: a trial's `policy/`.

        Raises: WeightsError that says what is missing, damaged or different.
        """
        folder = Path(folder)
        facts = read_facts(folder)
        hashes, parts = facts.pop("sha256"), {name: facts.pop(name) for name in PARTS}
        facts.pop("onnx_left_out", None)
        check_plugins(folder, facts.get("plugins", {}), parts["encoder"])
        scaler, network = _build(folder / FACTS, parts)
        _check_files(folder, hashes)
        _load_weights(network, folder / WEIGHTS)
        for name, part in parts.items():
            if fingerprint(part) != hashes.get(name):
                raise WeightsError(
                    f"{folder / FACTS} is not what was written: {name} was changed afterwards, and the weights were "
                    "trained with what stood there before. Export the policy again"
                )
        return cls(network, scaler, facts, folder)


def load_policy(folder: Path | str, *, plugins: Iterable[str] = ()) -> Policy:
    """The policy in a trial's `policy/` folder: `policy(observation)` is an action. Needs no Ray.

    folder: its path; `study.policy_path(trial)` has it.
    plugins: modules to import before, see `ftray.load_plugins`: those that its encoder and its indicators are from.
        What the folder names is never imported unasked.

    Raises: WeightsError that says what is missing, damaged or different; PluginError for a plug-in that is missing or
        has changed.
    """
    load_plugins(plugins)
    return Policy.load(folder)


def _build(path: Path, parts: Mapping[str, Any]) -> tuple[Scaler, PolicyNetwork]:
    """What the entries of policy.json describe, weights still to come."""
    try:
        layout = ObservationLayout.from_mapping(parts["layout"])
    except (LookupError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: layout must state symbols, indicators and lookback: {error!r}") from error
    if min(layout.n_assets, layout.n_indicators, layout.lookback) < 1:
        raise WeightsError(f"{path}: layout must have a symbol, an indicator and a bar at least, got {parts['layout']}")
    try:
        scaler = Scaler.from_mapping(parts["scaler"])
    except (LookupError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: scaler must state center, scale and clip as numbers: {error!r}") from error
    if not scaler.center.shape == scaler.scale.shape == (layout.n_series,):
        raise WeightsError(
            f"{path}: scaler must hold one center and one scale for each of the layout's {layout.n_series} series, "
            f"got {scaler.center.size} and {scaler.scale.size}"
        )
    try:
        spec = parse_member(EncoderSpec, parts["encoder"], path=("encoder",))
    except SpecError as error:
        raise WeightsError(f"{path}: {error}") from error
    no_trade = parts["actions"].get("no_trade")
    if not isinstance(no_trade, int | float) or not 0.0 <= no_trade <= 1.0:
        raise WeightsError(f"{path}: actions must state no_trade, a fraction of equity, got {no_trade!r}")
    with torch.device("meta"):  # the file brings the weights: none are sampled, and a wrong shape allocates nothing
        head = policy_head(spec.encoding_dim, layout.n_assets)
        network = PolicyNetwork(build_encoder(spec, layout), head, float(no_trade))
    return scaler, network


def _check_files(folder: Path, hashes: Mapping[str, Any]) -> None:
    """All files are there, with the bytes that were written."""
    for name in (WEIGHTS, ONNX) if ONNX in hashes else (WEIGHTS,):
        try:
            found = sha256(folder / name)
        except FileNotFoundError:
            raise WeightsError(f"{folder} is not whole: {name} is missing. Copy the folder again") from None
        if found != hashes.get(name):
            raise WeightsError(
                f"{folder / name} is damaged: its bytes are not the ones that were written (SHA-256 {found[:12]}, and "
                f"{FACTS} says {str(hashes.get(name))[:12]}). Copy the folder again"
            )


def _load_weights(network: PolicyNetwork, path: Path) -> None:
    """Every weight of the network from the file, and nothing else."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    except (ValueError, TypeError, OSError, AttributeError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{path} holds no arrays of weights: {error}") from error
    expected = network.state_dict()
    if problems := misfits(found, expected):
        raise WeightsError(
            f"{path} does not fit the layout and the encoder that {FACTS} describes: {'; '.join(problems)}. Copy the "
            "folder again, or export the policy again"
        )
    network.load_state_dict(found, assign=True)
