"""What one process needs of a GPU's memory: the VRAM table, and a formula for what the table does not cover.

Takes: a `Worker`, the actor-critic that a process holds and the samples that pass through it at once. Gives: GiB, or
bytes by what they are for. `measuring` compares the formula with a real GPU.

Legend: B samples at once, N tokens, D width, F hidden width of a feed-forward, H heads, S series, L lookback, A assets,
E encoding_dim, T bars of the table.
"""

import dataclasses
import functools
import math
import operator

import torch
from torch import nn

from ftray.features.layout import ObservationLayout
from ftray.nets.families import build_encoder
from ftray.nets.graphs import CAPTURED_BYTES
from ftray.nets.heads import policy_head, value_head
from ftray.nets.spec import ENCODERS, EncoderSpec, FTSpec, MLPSpec
from ftray.spec import to_mapping

GIB = 2**30
FLOAT = 4
"""Bytes of a float32: reinforcement learning computes in nothing shorter, since log-probabilities of learner and env
runners must agree."""

CONTEXT_GIB = 0.5
"""A process's CUDA context with the kernels it loads, where none was measured; GPUs differ by a factor 3."""
WORKSPACE = 64 * 2**20
"""What cuBLAS takes for its products: 32 MiB per handle on Hopper, 8 MiB before."""
SLACK = 1.15
"""PyTorch's allocator keeps memory in blocks of 2 to 20 MiB, and a minibatch may be 5 % larger than asked for."""

NO_GRAD_CHUNK = 128
"""Samples that pass without gradients at once: values of a train batch, market vectors of bars to come."""
REFERENCE_BARS, REFERENCE_SAMPLES = 50_000, 8_192
"""Market and train batch that rows of the table, and measured ones, include: hourly bars of 5.7 years."""


@dataclasses.dataclass(frozen=True)
class Worker:
    """A process that holds an actor-critic on its GPU.

    minibatch: samples that pass with gradients at once; 0 for an env runner, which trains nothing.
    no_grad: samples that pass without gradients at once. n_bars: of the market table.
    n_samples: of the train batch; of an env runner's part of it.
    """

    encoder: EncoderSpec
    layout: ObservationLayout
    minibatch: int = 256
    no_grad: int = NO_GRAD_CHUNK
    n_bars: int = REFERENCE_BARS
    n_samples: int = REFERENCE_SAMPLES

    @property
    def key(self) -> str:
        """Everything that the memory of a worker depends on, in words, except the sizes of market and train batch."""
        seen = f"{self.layout.n_assets} assets × {self.layout.n_indicators} indicators × {self.layout.lookback} bars"
        return f"{self.name}, {seen}, float32"

    @property
    def name(self) -> str:
        """Encoder and minibatch in a few words."""
        e = self.encoder
        samples = f"minibatch {self.minibatch}" if self.minibatch else f"acting, {self.no_grad} at once"
        if isinstance(e, MLPSpec):
            return f"mlp {e.hidden}/{e.encoding_dim}, {samples}"
        if not isinstance(e, FTSpec):
            source = ENCODERS.sources([e.kind])
            fields = [f"{name}={value}" for name, value in to_mapping(e).items() if name != "kind"]
            return ", ".join([e.kind, *fields, *source.values(), samples])
        patch = min(e.patch_length, self.layout.lookback)
        shape = f"ft {e.d_token}/{e.n_blocks}/{e.n_heads}/{e.encoding_dim} patch {patch}"
        ways = [e.fusion] * (e.fusion != "late") + [f"readout {e.readout}"] * (e.readout != "cls")
        ways += ["frozen"] * e.frozen + ["checkpointed"] * e.activation_checkpointing
        return ", ".join([shape, *ways, samples])

    @property
    def keeps_vectors(self) -> bool:
        """Whether a frozen market tower never runs: its output lies on the device, bar by bar."""
        return isinstance(self.encoder, FTSpec) and self.encoder.frozen and self.encoder.fusion == "late"


@dataclasses.dataclass(frozen=True)
class Need:
    """Bytes on the device, by what they are for; what the allocator wastes is in `allocator`.

    data: market table, market vectors of a backtest or a frozen encoder, train batch.
    """

    weights: int = 0
    gradients: int = 0
    moments: int = 0
    activations: int = 0
    data: int = 0

    @property
    def allocator(self) -> int:
        """What PyTorch reserves; the CUDA context comes on top."""
        return round(SLACK * sum(dataclasses.astuple(self))) + WORKSPACE

    def gib(self, context_gib: float = CONTEXT_GIB) -> float:
        """The whole process, CUDA context included."""
        return self.allocator / GIB + context_gib


def formula(worker: Worker) -> Need:
    """What a worker needs: a step of its optimiser, the passes without gradients, and the data it holds."""
    fixed, trained = parameters(worker)
    steps, no_grad = step_bytes(worker) if worker.minibatch else 0, no_grad_bytes(worker)
    if not worker.minibatch:
        fixed, trained = fixed + trained, 0
    return Need(
        weights=FLOAT * (fixed + trained),
        gradients=FLOAT * trained,
        moments=2 * FLOAT * trained,
        # A graph keeps what its step takes; blocks that are only cached go to whoever needs them.
        activations=steps + no_grad if 0 < steps <= CAPTURED_BYTES else max(steps, no_grad),
        data=data_bytes(worker),
    )


@functools.lru_cache(maxsize=256)
def parameters(worker: Worker) -> tuple[int, int]:
    """The numbers of frozen and of trained parameters of encoder and heads, counted without allocating any."""
    e, n_assets = worker.encoder, worker.layout.n_assets
    with torch.device("meta"):
        encoder = build_encoder(e, worker.layout)
        heads = nn.ModuleList([policy_head(e.encoding_dim, n_assets), value_head(e.encoding_dim)])
    frozen = sum(p.numel() for p in encoder.market_parameters()) if getattr(e, "frozen", False) else 0
    return frozen, sum(p.numel() for p in [*encoder.parameters(), *heads.parameters()]) - frozen


def step_bytes(worker: Worker) -> int:
    """Activations kept for a backward pass, and the gradients of activations that are alive at its peak."""
    tower = 0 if worker.keeps_vectors else tower_floats(worker.encoder, worker.layout)
    return FLOAT * worker.minibatch * (tower + head_floats(worker.encoder, worker.layout))


def no_grad_bytes(worker: Worker) -> int:
    """The widest place of a pass that keeps nothing for a backward pass."""
    e, tower = worker.encoder, 0
    if isinstance(e, FTSpec) and not worker.keeps_vectors:
        streams = 9 if e.n_blocks > 1 or e.readout != "cls" else 4
        tower = 2 * cell_floats(e, worker.layout) + streams * n_tokens(e, worker.layout) * e.d_token
    elif isinstance(e, MLPSpec):
        tower = 2 * worker.layout.n_features + 2 * e.hidden
    elif not isinstance(e, FTSpec):
        tower = tower_floats(e, worker.layout)
    return FLOAT * worker.no_grad * (tower + head_floats(e, worker.layout))


def data_bytes(worker: Worker) -> int:
    """The market table, a market vector per bar, and the train batch with the minibatch that is cut from it; in an env
    runner, the market vectors of the samples to come."""
    layout, d_market = worker.layout, vector_width(worker.encoder, worker.layout)
    per_bar = layout.n_series + (d_market if worker.minibatch or worker.keeps_vectors else 0)
    train_batch, ahead = 2 * (layout.compact_size + 3 * layout.n_assets + 4), layout.compact_size + 2 * d_market
    per_sample = train_batch if worker.minibatch else ahead
    return FLOAT * (worker.n_bars * per_bar + worker.n_samples * per_sample)


@functools.lru_cache(maxsize=256)
def vector_width(encoder: EncoderSpec, layout: ObservationLayout) -> int:
    """Floats of the market vector that samples of one bar share; 0 where they share none."""
    with torch.device("meta"):
        made = build_encoder(encoder, layout)
    return made.d_market if made.shares_bars else 0


def n_tokens(encoder: FTSpec, layout: ObservationLayout) -> int:
    """[CLS], the patches of all series and, with early fusion, the account."""
    patches = layout.n_series * math.ceil(layout.lookback / min(encoder.patch_length, layout.lookback))
    return 1 + patches + (layout.n_account if encoder.fusion == "early" else 0)


def cell_floats(encoder: FTSpec, layout: ObservationLayout) -> int:
    """The cells of a window, padded to whole patches."""
    length = min(encoder.patch_length, layout.lookback)
    return layout.n_series * math.ceil(layout.lookback / length) * length


@functools.lru_cache(maxsize=256)
def tower_floats(encoder: EncoderSpec, layout: ObservationLayout) -> int:
    """Floats per sample that the market tower's step keeps at its peak; of a plug-in's encoder, what its class says.

    Every term of the FT-Transformer's is the size of a tensor in `transformer` that autograd keeps (a token's stream is
    N × D), and the last one what backward holds on top of them: the gradients inside one block.
    """
    if isinstance(encoder, MLPSpec):
        return 2 * layout.n_features + 4 * encoder.hidden
    if not isinstance(encoder, FTSpec):
        return ENCODERS[encoder.kind].step_floats(encoder, layout)
    stream = n_tokens(encoder, layout) * encoder.d_token
    n_full, block = encoder.n_blocks - (encoder.readout == "cls"), block_floats(encoder, layout)
    tokens = 2 * cell_floats(encoder, layout) + stream
    last = readout_floats(encoder, layout)
    gradients = (6 if n_full else 4) * stream
    if encoder.activation_checkpointing:  # the blocks' inputs, and one block recomputed
        return tokens + n_full * stream + (block if n_full else last) + gradients
    # The first block has no normalisation: what it keeps is its input.
    return tokens + n_full * block - (stream if n_full else 0) + last + gradients


def readout_floats(encoder: FTSpec, layout: ObservationLayout) -> int:
    """Floats per sample that autograd keeps of what reads the market vector, its queries over the tokens themselves.

    With `cls` that is the last block, where [CLS] alone queries; with others a query per asset behind the last block,
    over its normalised tokens.
    """
    stream, queries = n_tokens(encoder, layout) * encoder.d_token, encoder.n_readouts(layout.n_assets)
    return stream * (1 if encoder.readout == "cls" else 2) + (8 * encoder.n_heads + 16) * encoder.d_token * queries


def block_floats(encoder: FTSpec, layout: ObservationLayout) -> int:
    """Floats per sample that autograd keeps of one block whose tokens are all read.

    Both normalised inputs, query, key, value, their mixture before and after its heads are joined, both
    sums; value, gate and product of the feed-forward; means, deviations and the attention's normalisers per token.
    CUDA's attention for float32 wants heads of a multiple of 4; for others PyTorch falls back to one that holds maps.
    """
    n, d, n_heads = n_tokens(encoder, layout), encoder.d_token, encoder.n_heads
    maps = 3 * n_heads * n * n if d // n_heads % 4 else 0
    return 9 * n * d + 3 * n * (d * 4 // 3) + n * (4 + n_heads) + maps


def head_floats(encoder: EncoderSpec, layout: ObservationLayout) -> int:
    """Floats per sample behind the market vector: fusion, projection, both heads, the loss, and their gradients."""
    behind = 10 * encoder.encoding_dim + 256
    if isinstance(encoder, MLPSpec):
        return 4 * encoder.hidden + behind
    if isinstance(encoder, FTSpec):
        return 4 * (encoder.market_width(layout.n_assets) + encoder.d_token) + behind
    return behind  # `step_floats` has the fusion


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the VRAM table: a learner at the reference's 5,888 floats, and the GiB that it may take."""

    worker: Worker
    gib: float


REFERENCE = ObservationLayout(tuple("ABCDEFG"), tuple(f"indicator {i}" for i in range(14)), 60)
"""7 assets, 14 indicators, 60 bars: 5,888 floats."""


def _ft(d_token: int, n_blocks: int, encoding_dim: int) -> Worker:
    spec = FTSpec(d_token=d_token, n_blocks=n_blocks, n_heads=d_token // 16, encoding_dim=encoding_dim)
    return Worker(spec, REFERENCE)


TABLE = (
    Row(Worker(MLPSpec(hidden=512, encoding_dim=512), REFERENCE), 0.85),
    Row(_ft(32, 1, 256), 1.2),
    Row(_ft(64, 2, 512), 1.8),
    Row(_ft(96, 3, 768), 2.5),
    Row(_ft(128, 4, 1024), 3.5),
)


def predicted(worker: Worker, context_gib: float = CONTEXT_GIB) -> tuple[float, str]:
    """GiB that a worker needs, CUDA context included, and where the number comes from: `table` or `formula`.

    A learner takes the smallest row that covers it in every dimension, or the row at the table's edge; the formula,
    where that says more: for a learner beyond the edge, and on a GPU whose context alone takes most of a row. The
    table's rows are learners' of this package's encoders: all others take the formula.
    """
    if not worker.minibatch:
        return formula(worker).gib(context_gib), "formula"
    rows = [(_dimensions(row.worker), row.gib) for row in TABLE if row.worker.encoder.kind == worker.encoder.kind]
    if not rows:
        return formula(worker).gib(context_gib), "formula"
    size = _dimensions(worker)
    edge = [max(ends) for ends in zip(*(dimensions for dimensions, _ in rows), strict=True)]
    inside = tuple(map(min, size, edge))
    from_table = min(gib for dimensions, gib in rows if all(map(operator.le, inside, dimensions)))
    from_table += beyond_reference(worker)
    from_formula = formula(worker).gib(context_gib)
    return (from_table, "table") if from_table >= from_formula else (from_formula, "formula")


def _dimensions(worker: Worker) -> tuple[int, ...]:
    e, shared = worker.encoder, (worker.layout.size, worker.minibatch, worker.encoder.encoding_dim)
    if isinstance(e, MLPSpec):
        return (*shared, e.hidden)
    return (*shared, e.d_token, e.n_blocks, n_tokens(e, worker.layout))


def beyond_reference(worker: Worker) -> float:
    """GiB of market and train batch that a row of the table, or a measured one, does not include."""
    reference = dataclasses.replace(worker, n_bars=REFERENCE_BARS, n_samples=REFERENCE_SAMPLES)
    return SLACK * max(0, data_bytes(worker) - data_bytes(reference)) / GIB
