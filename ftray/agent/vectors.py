"""Market vectors: the market tower's output per bar, computed once where it cannot change.

With late fusion the tower is a pure function of the bar: a backtest computes it in large batches before it steps, and a
frozen encoder once for a whole trial.

Legend: T bars of the table, D width of the market vector, B batch.
"""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ftray.agent.ahead import BARS_PER_PASS
from ftray.agent.module import FTPolicy
from ftray.features import Dataset
from ftray.nets import (
    Encoder,
    EncoderSpec,
    build_encoder,
    gather_windows,
    load_market_weights,
    read_checkpoint,
    weights_fingerprint,
)


def market_vectors(encoder: Encoder, table: Tensor, bars: np.ndarray) -> Tensor:
    """The tower's output at the given bars. Shape: table (T, S), bars (B,) → (T, D), NaN at every other bar."""
    vectors = torch.full((len(table), encoder.d_market), torch.nan, device=table.device)
    was_training = encoder.training
    encoder.eval()
    with torch.inference_mode():
        for chunk in torch.from_numpy(np.asarray(bars)).to(table.device).split(BARS_PER_PASS):
            vectors[chunk] = encoder.market(gather_windows(table, chunk, encoder.layout.lookback))
    encoder.train(was_training)
    return vectors


def write_market_vectors(spec: EncoderSpec, weights: Path, dataset: Dataset, folder: Path) -> Path:
    """The vectors of a frozen encoder for every decision bar of train and validation, as a file that all processes map.

    Computed once per weights and dataset (the file's name holds both); never for the test window.
    """
    state = read_checkpoint(weights)["encoder_state_dict"]
    path = folder / f"market_vectors-{dataset.fingerprint[:12]}-{weights_fingerprint(state)[:12]}.npy"
    if path.exists():
        return path
    encoder = build_encoder(spec, dataset.layout)
    load_market_weights(encoder, weights)
    bars = dataset.table.decision_bars((*dataset.windows.train, *dataset.windows.validation))
    table = torch.from_numpy(np.array(dataset.table.values))
    vectors = market_vectors(encoder, table, bars)
    temporary = path.with_name(f".{path.stem}-{os.getpid()}.npy")
    np.save(temporary, vectors.numpy())
    temporary.replace(path)
    return path


def acting(module: FTPolicy, dataset: Dataset, bars: np.ndarray) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """`module.act` for a run over known bars: the market tower works through them in batches, ahead of the steps."""
    if module.market_vectors is not None or not module.encoder.shares_bars:
        return module.act
    vectors = market_vectors(module.encoder, module.table, bars)

    def act(bars: np.ndarray, account: np.ndarray) -> np.ndarray:
        module.market_vectors = vectors
        try:
            return module.act(bars, account)
        finally:
            module.market_vectors = None

    return act
