"""What a pre-training job needs of a GPU's memory: a formula over `MaskedModel` and the exam at its end.

Legend: B samples at once, N tokens, D width, S series, L lookback, A assets, T bars of the table.
"""

import torch

from ftray.features import ObservationLayout
from ftray.nets import FTSpec, FTTransformer
from ftray.nets.graphs import CAPTURED_BYTES
from ftray.pretraining.card import exam_size
from ftray.pretraining.model import MaskedModel
from ftray.pretraining.spec import PretrainingSpec, tower_spec
from ftray.vram.table import FLOAT, Need, block_floats, cell_floats, n_tokens, readout_floats


def pretraining_need(encoder: FTSpec, spec: PretrainingSpec, layout: ObservationLayout, n_bars: int) -> Need:
    """The bytes of a job on a GPU; in float32, of which autocast's bfloat16 halves what it can."""
    tower, n_returns = tower_spec(encoder), spec.n_returns(encoder, layout.n_assets)
    with torch.device("meta"):
        n_weights = sum(p.numel() for p in MaskedModel(FTTransformer(tower, layout), n_returns).parameters())
    step = step_bytes(tower, spec, layout)
    if step <= CAPTURED_BYTES:
        step *= 2  # the graph keeps its activations; an epoch's last, smaller batch has its own in addition
    n_windows = exam_size(spec.epochs * min(spec.windows_per_epoch or n_bars, n_bars))
    return Need(
        weights=2 * FLOAT * n_weights,  # the fresh encoder that the card compares with, or autocast's copies
        gradients=FLOAT * n_weights,
        moments=3 * FLOAT * n_weights,  # AdamW works on all tensors at once, and holds new and old moments at once
        activations=max(step, exam_bytes(n_windows, layout)),
        data=FLOAT * n_bars * (layout.n_series + 2 * (2 + layout.n_assets + n_returns)),
    )


def step_bytes(tower: FTSpec, spec: PretrainingSpec, layout: ObservationLayout) -> int:
    """Activations that a step keeps at its peak."""
    return FLOAT * spec.batch_size * step_floats(tower, layout)


def exam_bytes(n_windows: int, layout: ObservationLayout) -> int:
    """What the card's exam holds: windows, thrice as float64 while principal components are fitted to them, and n × n
    products of them."""
    n = 4 * n_windows
    return n * layout.n_features * (FLOAT + 3 * 8) + 5 * 8 * n * n


def step_floats(encoder: FTSpec, layout: ObservationLayout) -> int:
    """Floats per window that a step keeps at its peak.

    Every token of every block is read. Windows, masks, shown and predicted cells and their errors are some twenty times
    the cells; value and mask rows make two sums of tokens; dropout keeps a byte per cell that it may drop.
    """
    stream = n_tokens(encoder, layout) * encoder.d_token
    block, cells = block_floats(encoder, layout) + stream, cell_floats(encoder, layout)
    kept = encoder.n_blocks * (stream if encoder.activation_checkpointing else block)
    recomputed = block if encoder.activation_checkpointing else 0
    read = 0 if encoder.readout == "cls" else readout_floats(encoder, layout)
    return 20 * cells + 5 * stream + kept + recomputed + read + 8 * stream
