"""`Policy`: a trained policy to deploy, numpy in and numpy out, and the folder that holds it. No Ray, no pickle.

    policy.json    the format's number, layout, encoder, scaler, data hash, versions, where it comes from
    weights.npz    the network's weights

Legend: B batch, A assets.
"""

import hashlib
import json
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ftray.errors import DataError, WeightsError
from ftray.features.layout import ObservationLayout
from ftray.features.table import Scaler
from ftray.nets.heads import policy_head
from ftray.nets.policy import PolicyNetwork
from ftray.nets.spec import EncoderSpec
from ftray.spec import parse_member, to_mapping

FORMAT = 1
FACTS, WEIGHTS = "policy.json", "weights.npz"


class Policy:
    """Decides: `policy(observation) -> action`.

    network: what computes it. scaler: what turned raw features into the observations it was trained on.
    facts: where it comes from, as plain values: `dataset` (hash), `trial` (resolved spec), `torch`, and whatever else.
    """

    def __init__(self, network: PolicyNetwork, scaler: Scaler, facts: Mapping[str, Any]):
        self.network, self.scaler, self.facts = network.eval(), scaler, dict(facts)

    @property
    def layout(self) -> ObservationLayout:
        return self.network.layout

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        """The action for one observation or a batch. Shape: (size,) → (A,) or (B, size) → (B, A), in [-1, 1].

        Raises: WeightsError for an observation of another size; DataError for one that is not finite.
        """
        observation = np.asarray(observation, dtype=np.float32)
        if observation.shape[-1:] != (self.layout.size,):
            raise WeightsError(f"this policy observes {self.layout.size} floats, got the shape {observation.shape}")
        if not np.isfinite(observation).all():
            raise DataError("an observation must be finite; look for bars without a full lookback of known features")
        with torch.inference_mode():
            batch = torch.from_numpy(np.atleast_2d(observation))
            return self.network(batch).numpy().reshape(*observation.shape[:-1], -1)

    def save(self, folder: Path | str) -> Path:
        """Writes the folder, whole or not at all, in place of an older one."""
        folder = Path(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            new.chmod(0o755)
            state = {name: value.cpu().numpy() for name, value in self.network.state_dict().items()}
            np.savez(new / WEIGHTS, allow_pickle=False, **state)
            facts = {
                **self.facts,
                "format": FORMAT,
                "layout": self.layout.to_mapping(),
                "encoder": to_mapping(self.network.encoder.spec),
                "scaler": self.scaler.to_mapping(),
                "weights_sha256": _sha256(new / WEIGHTS),
            }
            (new / FACTS).write_text(json.dumps(facts, indent=1))
            shutil.rmtree(folder, ignore_errors=True)
            new.rename(folder)
        finally:
            shutil.rmtree(new, ignore_errors=True)
        return folder

    @classmethod
    def load(cls, folder: Path | str) -> "Policy":
        """The policy in a folder.

        Raises: WeightsError that says what is missing, damaged or different.
        """
        folder = Path(folder)
        try:
            facts = json.loads((folder / FACTS).read_text())
            if facts.pop("format") != FORMAT:
                raise WeightsError(f"{folder} was written by another version of ftray; export the policy again")
            if facts.pop("weights_sha256") != _sha256(folder / WEIGHTS):
                raise WeightsError(f"{folder / WEIGHTS} is damaged: its bytes are not the ones that were written")
            layout = ObservationLayout.from_mapping(facts.pop("layout"))
            scaler = Scaler.from_mapping(facts.pop("scaler"))
            network = _network(facts.pop("encoder"), layout)
            with np.load(folder / WEIGHTS, allow_pickle=False) as arrays:
                network.load_state_dict({name: torch.from_numpy(arrays[name]) for name in arrays.files})
        except FileNotFoundError as error:
            raise WeightsError(f"{folder} holds no policy: {Path(error.filename).name} is missing") from None
        except (KeyError, ValueError, RuntimeError, OSError, zipfile.BadZipFile) as error:
            raise WeightsError(f"{folder} holds no policy that can be read: {error}") from error
        return cls(network, scaler, facts)


def load_policy(folder: Path | str) -> Policy:
    """The policy in a trial's `policy/` folder: `policy(observation) -> action`, without Ray.

    Raises: WeightsError that says what is missing, damaged or different.
    """
    return Policy.load(folder)


def _network(encoder: Mapping[str, Any], layout: ObservationLayout) -> PolicyNetwork:
    from ftray.nets import build_encoder

    spec = parse_member(EncoderSpec, encoder)
    return PolicyNetwork(build_encoder(spec, layout), policy_head(spec.encoding_dim, layout.n_assets))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
