"""`FTPolicy`: the actor-critic that RLlib trains: one encoder of the family, a policy head and a value head.

Takes compact observations `[bar index, cash, holdings]` and gathers the market windows from the feature table, which
every process maps from the same file: what crosses processes is 600 times smaller than the full observation. Takes full
observations as well, from whatever environment gives them.

Legend: B batch, A assets, S series, L lookback, D width of the market vector.
"""

import contextlib
import math
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, ValueFunctionAPI
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor
from torch.nn import functional as F

from ftray.agent.devices import cap_gpu_memory
from ftray.agent.prefetch import BARS_PER_PASS, MarketPrefetch
from ftray.agent.spec import LOG_STD_RANGE
from ftray.errors import SpecError
from ftray.features import Dataset, ObservationLayout
from ftray.nets import EncoderSpec, build_encoder, gather_windows, load_market_weights, policy_head, value_head
from ftray.plugins import load_carried
from ftray.spec import nearest, parse_member

KEYS = {
    "encoder",
    "dataset",
    "layout",
    "weights",
    "market_vectors",
    "dropout",
    "log_std",
    "min_log_std",
    "learner_cap_gib",
    "env_runner_cap_gib",
    "planned_gib",
    "plugins",
}
RLLIB_KEYS = {"vf_share_layers"}
"""What RLlib adds on its own."""


class FTPolicy(TorchRLModule, InferenceOnlyAPI, ValueFunctionAPI):
    """An encoder with a policy head (mean and log standard deviation per asset) and a value head, as RLlib's RLModule.

    RLlib makes it: `RLModuleSpec(module_class=ftray.FTPolicy, model_config={...})`. `model_config` needs `encoder`, and
    `dataset` or `layout`:

    encoder: the mapping of an encoder's spec, like `{"kind": "ft", "d_token": 32}`.
    dataset: folder of a saved `Dataset`, for compact observations, whose windows the module gathers itself.
    layout: mapping of an `ObservationLayout`, for full observations.
    weights: path of a pre-training checkpoint that the market tower starts from; optional.
    market_vectors: path of an .npy of (bars, D) float32, for a frozen encoder: what its market tower gives for every
        bar; optional.
    dropout, log_std, min_log_std: those of `PPOSpec`, with its defaults.
    learner_cap_gib, env_runner_cap_gib: GiB of GPU memory that a process may allocate; 0, the default, does not limit
        it.
    planned_gib: GiB of the GPU that these caps were planned for; a smaller GPU is refused. Optional.
    plugins: what `ftray.plugins.carried` gives, where the encoder or the indicators are a plug-in's. Optional.

    Raises: SpecError for another key; WeightsError for weights that do not fit.
    """

    def setup(self) -> None:
        given = self.model_config
        check_keys(given)
        load_carried(given.get("plugins", ()))
        cap = "env_runner_cap_gib" if self.inference_only else "learner_cap_gib"
        cap_gpu_memory(given.get(cap, 0.0), given.get("planned_gib", 0.0))
        dataset = Dataset.load(Path(given["dataset"])) if given.get("dataset") else None
        layout = dataset.layout if dataset else ObservationLayout.from_mapping(given["layout"])
        spec = parse_member(EncoderSpec, given["encoder"])
        self.encoder = build_encoder(spec, layout)
        self.policy_head = policy_head(spec.encoding_dim, layout.n_assets, given.get("log_std", 0.0))
        self._dropout, self._min_log_std = given.get("dropout", 0.0), given.get("min_log_std", LOG_STD_RANGE[0])
        self.value_head = value_head(spec.encoding_dim)
        if given.get("weights") and not self.inference_only:  # env runners get them by weight sync
            load_market_weights(self.encoder, given["weights"])
        if getattr(spec, "frozen", False):
            for parameter in self.encoder.tower.parameters():
                parameter.requires_grad_(False)
        # Never persistent: RLlib sends the state dict to every env runner in every iteration, and a persistent
        # buffer over a read-only memory map crashes them at the first sync.
        self.register_buffer("table", mapped(dataset.table.values) if dataset else None, persistent=False)
        vectors = given.get("market_vectors")
        self.register_buffer(
            "market_vectors", mapped(np.load(vectors, mmap_mode="r")) if vectors else None, persistent=False
        )
        self._prefetch: MarketPrefetch | None = None
        self._by_itself = self._borrows_vectors = False
        if self.inference_only:
            self.eval()

    def train(self, mode: bool = True) -> "FTPolicy":
        """RLlib toggles eval() and train() around every forward pass; walking the whole tree each time costs as much
        as a small encoder's forward pass."""
        return self if self.training == mode else super().train(mode)

    def get_non_inference_attributes(self) -> list[str]:
        return []  # env runners note the value of what they see: the encoding is at hand, and costs a pass later on

    def encode(self, observations: Tensor) -> Tensor:
        """Encodings of compact or full observations. Shape: (B, 2 + A) or (B, size) → (B, encoding_dim).

        observations: float32; `[bar index, cash, holdings]`, or as `ObservationLayout` says.
        """
        layout = self.encoder.layout
        if observations.shape[-1] == layout.size:
            return self.encoder.encode(observations)
        bars, account = observations[:, layout.compact_bar].long(), observations[:, layout.compact_account]
        if self.market_vectors is not None:
            return self.encoder.fuse(self.market_vectors[bars], account)
        if self._prefetch is not None:
            return self.encoder.fuse(self._prefetch.at(bars), account)
        if not self.encoder.shares_bars:
            return self.encoder(self.windows(bars), account)
        if self._by_itself:
            return self.encoder.fuse(self._market(bars), account)
        # Accounts that share a bar stand side by side, in a vector environment as in a minibatch: nothing to sort.
        unique, inverse = bars.unique_consecutive(return_inverse=True)
        return self.encoder.fuse(self._market(unique)[inverse], account)

    @contextlib.contextmanager
    def prefetching(self, observations: np.ndarray, n_steps: int) -> Iterator[None]:
        """Within the block, `encode` takes the market vectors of these accounts' next steps from a prefetched batch.

        Shape: observations (E, 2 + A) or (E, size), for which there is nothing to prefetch.
        """
        layout = self.encoder.layout
        if self.market_vectors is None and self.encoder.shares_bars and observations.shape[-1] == layout.compact_size:
            bars = torch.from_numpy(observations[:, layout.compact_bar]).long().to(self.table.device)
            with torch.inference_mode():
                self._prefetch = MarketPrefetch(self._market, bars, n_steps, last_bar=len(self.table) - 1)
        try:
            yield
        finally:
            self._prefetch = None

    def borrow_vectors(self, vectors: Tensor) -> None:
        """Takes the market vectors of the weights that the module holds now, until it gets others. Shape: (T, D)."""
        self.market_vectors = vectors.to(next(self.parameters()).device)
        self._borrows_vectors = True

    def set_state(self, state: Any) -> None:
        """New weights make borrowed vectors stale: without fresh ones the module computes its own."""
        super().set_state(state)
        if self._borrows_vectors:
            self.market_vectors, self._borrows_vectors = None, False

    @contextlib.contextmanager
    def without_deduplication(self) -> Iterator[None]:
        """Within the block the market tower runs once per sample: how many different bars there are is not asked.

        Asking waits for the GPU, and shapes that depend on the answer cannot be part of a CUDA graph.
        """
        self._by_itself = True
        try:
            yield
        finally:
            self._by_itself = False

    def _market(self, bars: Tensor) -> Tensor:
        return self.encoder.market(self.windows(bars))

    def groups(self, observations: np.ndarray) -> np.ndarray:
        """What samples have in common: their bar; nothing, where observations are full. Shape: (B, ...) → (B,)."""
        compact = observations.shape[-1] == self.encoder.layout.compact_size
        return observations[:, self.encoder.layout.compact_bar] if compact else np.arange(len(observations))

    def n_passes(self, observations: Tensor) -> int:
        """In how many parts a minibatch is processed fastest: several where a pass exceeds a CPU's cache."""
        at_once = self.encoder.bars_per_pass
        if at_once is None or self.market_vectors is not None or observations.device.type != "cpu":
            return 1
        compact = self.encoder.shares_bars and observations.shape[-1] == self.encoder.layout.compact_size
        bars = observations[:, self.encoder.layout.compact_bar].unique_consecutive() if compact else observations
        return math.ceil(len(bars) / at_once)

    def windows(self, bars: Tensor) -> Tensor:
        """The market windows that end with the given bars. Shape: (B,) → (B, S, L)."""
        return gather_windows(self.table, bars, self.encoder.layout.lookback)

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        encoding = self.encode(batch[Columns.OBS])
        values = self.value_head(encoding).squeeze(-1)
        return {Columns.ACTION_DIST_INPUTS: self._policy(encoding), Columns.VF_PREDS: values}

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        encoding = self.encode(batch[Columns.OBS])  # handed on, or the loss would run the encoder a second time
        if self._dropout:  # in the loss's passes alone: the values of a train batch are those of the whole network
            encoding = F.dropout(encoding, self._dropout)
        return {Columns.ACTION_DIST_INPUTS: self._policy(encoding), Columns.EMBEDDINGS: encoding}

    def compute_values(self, batch: dict[str, Any], embeddings: Tensor | None = None) -> Tensor:
        if embeddings is not None:
            return self.value_head(embeddings).squeeze(-1)
        # Advantage estimation asks for the values of the whole train batch at once, with gradients on and in
        # training mode: out of memory for a transformer. Chunked and without gradients it is the same numbers.
        with torch.no_grad():
            chunks = batch[Columns.OBS].split(BARS_PER_PASS)
            return torch.cat([self.value_head(self.encode(chunk)).squeeze(-1) for chunk in chunks])

    def values_of(self, observations: Tensor) -> Tensor:
        """Values of K observations at one bar each, which share its market vector. Shape: (B, K, 2 + A) → (B, K)."""
        with torch.no_grad():
            parts = observations.to(next(self.parameters()).device).split(BARS_PER_PASS)
            return torch.cat([self.value_head(self.encode(part.flatten(0, 1))).view(part.shape[:2]) for part in parts])

    def act(self, bars: np.ndarray, account: np.ndarray) -> np.ndarray:
        """The deterministic action: the mean of the action distribution, clipped. For `backtest`, with a `dataset`.

        bars: (E,) indices.
        account: (E, 1 + A) cash and holdings as fractions of equity. Gives (E, A) in [-1, 1].
        """
        with torch.inference_mode():
            observations = torch.from_numpy(np.concatenate([bars[:, None], account], axis=1).astype(np.float32))
            mean = self._policy(self.encode(observations.to(self.table.device))).chunk(2, dim=-1)[0]
            return mean.clamp(-1.0, 1.0).cpu().numpy()

    def _policy(self, encoding: Tensor) -> Tensor:
        mean, log_std = self.policy_head(encoding).chunk(2, dim=-1)
        return torch.cat([mean, log_std.clamp(self._min_log_std, LOG_STD_RANGE[1])], dim=-1)


def check_keys(model_config: Mapping[str, Any]) -> None:
    """Raises: SpecError for a key that `FTPolicy` does not know: RLlib hands a misspelt one on without a word."""
    for key in set(model_config) - KEYS - RLLIB_KEYS:
        raise SpecError(f"FTPolicy knows no {key!r} in model_config; {nearest(key, KEYS)}")
    if not model_config.get("dataset") and not model_config.get("layout"):
        raise SpecError("FTPolicy needs `dataset` (compact observations) or `layout` (full ones) in model_config")


def mapped(array: np.ndarray) -> Tensor:
    """A tensor over a memory-mapped array, pages shared with every other process on the node; never written to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)
