"""`FTPolicy`: the actor-critic that RLlib trains: one encoder of the family, a policy head and a value head.

Takes compact observations `[bar index, cash, holdings]` and gathers the market windows from the feature table, which
every process maps from the same file: what crosses processes is 600 times smaller than the full observation.

Legend: B batch, A assets, S series, L lookback, D width of the market vector.
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, ValueFunctionAPI
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor

from ftray.features import Dataset
from ftray.nets import EncoderSpec, build_encoder, gather_windows, load_market_weights, policy_head, value_head
from ftray.spec import parse_member

LOG_STD_RANGE = (-5.0, 1.0)
"""RLlib's Gaussian does not clamp its log standard deviation; without a clamp one bad batch ends a run."""

VALUE_CHUNK = 512
"""Observations per forward pass when values of a whole train batch are wanted: bounds memory, changes nothing."""


class FTPolicy(TorchRLModule, InferenceOnlyAPI, ValueFunctionAPI):
    """Encoder → policy head (mean and log standard deviation per asset) and value head.

    `model_config`: `encoder` (mapping of an `EncoderSpec`), `dataset` (folder), `weights` (a pre-training checkpoint or
    None) and `market_vectors` (an .npy of (bars, D), for a frozen encoder: the market tower's output for every bar).
    """

    def setup(self) -> None:
        dataset = Dataset.load(Path(self.model_config["dataset"]))
        spec = parse_member(EncoderSpec, self.model_config["encoder"])
        self.encoder = build_encoder(spec, dataset.layout)
        width, n_assets = spec.encoding_dim, dataset.layout.n_assets
        self.policy_head = policy_head(width, n_assets)
        self.value_head = value_head(width)
        if self.model_config.get("weights") and not self.inference_only:  # env runners get them by weight sync
            load_market_weights(self.encoder, self.model_config["weights"])
        if getattr(spec, "frozen", False):
            for parameter in self.encoder.tower.parameters():
                parameter.requires_grad_(False)
        # Never persistent: RLlib sends the state dict to every env runner in every iteration, and a persistent
        # buffer over a read-only memory map crashes them at the first sync.
        self.register_buffer("table", _mapped(dataset.table.values), persistent=False)
        vectors = self.model_config.get("market_vectors")
        self.register_buffer(
            "market_vectors", _mapped(np.load(vectors, mmap_mode="r")) if vectors else None, persistent=False
        )
        if self.inference_only:
            self.eval()

    def train(self, mode: bool = True) -> "FTPolicy":
        """RLlib toggles eval() and train() around every forward pass; walking the whole tree each time costs as much
        as a small encoder's forward pass."""
        return self if self.training == mode else super().train(mode)

    def get_non_inference_attributes(self) -> list[str]:
        return ["value_head"]

    def encode(self, observations: Tensor) -> Tensor:
        """Encodings of compact observations. Shape: (B, 2 + A) → (B, encoding_dim)."""
        layout = self.encoder.layout
        bars, account = observations[:, layout.compact_bar].long(), observations[:, layout.compact_account]
        if self.market_vectors is not None:
            return self.encoder.fuse(self.market_vectors[bars], account)
        if not self.encoder.shares_bars:
            return self.encoder(self.windows(bars), account)
        unique, inverse = bars.unique(return_inverse=True)
        return self.encoder.fuse(self.encoder.market(self.windows(unique))[inverse], account)

    def windows(self, bars: Tensor) -> Tensor:
        """The market windows that end with the given bars. Shape: (B,) → (B, S, L)."""
        return gather_windows(self.table, bars, self.encoder.layout.lookback)

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {Columns.ACTION_DIST_INPUTS: self._policy(self.encode(batch[Columns.OBS]))}

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        encoding = self.encode(batch[Columns.OBS])  # handed on, or the loss would run the encoder a second time
        return {Columns.ACTION_DIST_INPUTS: self._policy(encoding), Columns.EMBEDDINGS: encoding}

    def compute_values(self, batch: dict[str, Any], embeddings: Tensor | None = None) -> Tensor:
        if embeddings is not None:
            return self.value_head(embeddings).squeeze(-1)
        # Advantage estimation asks for the values of the whole train batch at once, with gradients on and in
        # training mode: out of memory for a transformer. Chunked and without gradients it is the same numbers.
        with torch.no_grad():
            chunks = batch[Columns.OBS].split(VALUE_CHUNK)
            return torch.cat([self.value_head(self.encode(chunk)).squeeze(-1) for chunk in chunks])

    def act(self, bars: np.ndarray, account: np.ndarray) -> np.ndarray:
        """The deterministic action. Shape: bars (E,), account (E, 1 + A) → (E, A) in [-1, 1]."""
        with torch.inference_mode():
            observations = torch.from_numpy(np.concatenate([bars[:, None], account], axis=1).astype(np.float32))
            mean = self._policy(self.encode(observations.to(self.table.device))).chunk(2, dim=-1)[0]
            return mean.clamp(-1.0, 1.0).cpu().numpy()

    def _policy(self, encoding: Tensor) -> Tensor:
        mean, log_std = self.policy_head(encoding).chunk(2, dim=-1)
        return torch.cat([mean, log_std.clamp(*LOG_STD_RANGE)], dim=-1)


def _mapped(array: np.ndarray) -> Tensor:
    """A tensor over a memory-mapped array, pages shared with every other process on the node; never written to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)
