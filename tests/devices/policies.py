"""Small policies of every kind, what they observe, and a batch to learn from."""

import dataclasses
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.evaluation.postprocessing import Postprocessing
from torch import Tensor

from ftray.agent.module import FTPolicy
from ftray.agent.vectors import write_market_vectors
from ftray.features import Dataset
from ftray.nets import FTSpec, MLPSpec
from ftray.spec import to_mapping

CPU = torch.device("cpu")
FT = FTSpec(d_token=32, n_blocks=2, n_heads=2, encoding_dim=256, patch_length=3)
ENCODERS = {
    "late fusion": FT,
    "late fusion, blocks recomputed": dataclasses.replace(FT, activation_checkpointing=True),
    "late fusion, frozen": dataclasses.replace(FT, pretrained="auto", frozen=True),
    "early fusion": dataclasses.replace(FT, fusion="early"),
    "mlp": MLPSpec(hidden=64, encoding_dim=64),
}
SHARING = {name: spec for name, spec in ENCODERS.items() if name != "early fusion"}


def policy(data: Path, weights: Path, spec: Any, device: torch.device, **given: Any) -> FTPolicy:
    dataset, given = Dataset.load(data), {"dataset": str(data)} | given
    if getattr(spec, "frozen", False):
        given |= {"weights": str(weights), "market_vectors": str(write_market_vectors(spec, weights, dataset, data))}
    torch.manual_seed(0)
    built = RLModuleSpec(
        module_class=FTPolicy,
        observation_space=gymnasium.spaces.Box(0, 2**24, (dataset.layout.compact_size,), np.float32),
        action_space=gymnasium.spaces.Box(-1, 1, (dataset.layout.n_assets,), np.float32),
        model_config={"encoder": to_mapping(spec), **given},
    ).build()
    torch.nn.init.normal_(built.policy_head[-1].weight, std=0.3)  # type: ignore[union-attr]
    return built.to(device)  # type: ignore[union-attr,return-value]


def observed(dataset: Dataset, n: int = 40) -> np.ndarray:
    """Compact observations; some bars come several times."""
    rng = np.random.default_rng(0)
    bars = np.sort(rng.choice(dataset.table.decision_bars(dataset.windows.train)[:25], n))
    return np.concatenate([bars[:, None], rng.dirichlet(np.ones(dataset.layout.n_account), n)], 1).astype(np.float32)


def full(dataset: Dataset, n: int = 5) -> np.ndarray:
    seen = observed(dataset, n)
    return dataset.table.observation(seen[:, 0].astype(np.int64), seen[:, 1:])


def train_batch(dataset: Dataset, device: torch.device) -> dict[str, Tensor]:
    rng, n, n_assets = np.random.default_rng(1), 40, dataset.layout.n_assets
    columns = {
        Columns.OBS: observed(dataset, n),
        Columns.ACTIONS: rng.normal(size=(n, n_assets)),
        Columns.ACTION_LOGP: rng.normal(size=n) - 2,
        Columns.ACTION_DIST_INPUTS: rng.normal(size=(n, 2 * n_assets)) * 0.1,
        Postprocessing.ADVANTAGES: rng.normal(size=n),
        Postprocessing.VALUE_TARGETS: rng.normal(size=n),
    }
    return {name: torch.from_numpy(column.astype(np.float32)).to(device) for name, column in columns.items()}


def here(result: Any) -> Any:
    """Results as plain values; tensors brought to the CPU."""
    if isinstance(result, Tensor):
        return result.detach().cpu()
    if isinstance(result, dict):
        return {key: here(value) for key, value in result.items()}
    return [here(value) for value in result] if isinstance(result, list | tuple) else result
