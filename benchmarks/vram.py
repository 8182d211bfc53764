"""The memory of one worker, row by row of the VRAM table: an actor-critic at 5,888 features with a minibatch of 256."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from measuring import Meter, reference_layout, table


@dataclasses.dataclass(frozen=True)
class Worker:
    """A row of the VRAM table: an actor-critic at 5,888 features, and the GB per worker that are promised."""

    name: str
    encoder: dict[str, Any]
    promised: float | None
    batch: int = 256
    features: int = 5_888


def _ft(d_token: int, n_blocks: int, encoding_dim: int, **more: Any) -> dict[str, Any]:
    heads = {"n_heads": d_token // 16}
    return {"kind": "ft", "d_token": d_token, "n_blocks": n_blocks, "encoding_dim": encoding_dim, **heads, **more}


WORKERS = (
    Worker("mlp 512", {"kind": "mlp"}, 0.85),
    Worker("ft 32 / 1 / 256", _ft(32, 1, 256), 1.2),
    Worker("ft 64 / 2 / 512", _ft(64, 2, 512), 1.8),
    Worker("ft 96 / 3 / 768", _ft(96, 3, 768), 2.5),
    Worker("ft 128 / 4 / 1024", _ft(128, 4, 1024), 3.5),
)
LITERAL = Worker("ft 64 / 2 / 512, patch 1", _ft(64, 2, 512, patch_length=1), None)
"""For a GPU: on a CPU a minibatch takes minutes."""


def worker_memory(worker: Worker, device: str) -> Iterator[dict[str, float | None]]:
    """Bytes that a worker needs for inference, and for a training step: forward, backward and optimiser.

    None where they are more than the GPU has.
    """
    import torch
    from torch import nn

    from ftray.nets import EncoderSpec, build_encoder, policy_head, value_head
    from ftray.spec import parse_member

    meter, layout, spec = Meter(device), reference_layout(worker.features), parse_member(EncoderSpec, worker.encoder)
    with torch.device(device):
        encoder = build_encoder(spec, layout)
        heads = nn.ModuleList([policy_head(spec.encoding_dim, layout.n_assets), value_head(spec.encoding_dim)])
        observation = torch.randn(worker.batch, layout.size)
    optimiser = torch.optim.Adam([*encoder.parameters(), *heads.parameters()])

    def inference() -> None:
        with torch.no_grad():
            heads[0](encoder.encode(observation))

    def training() -> None:
        optimiser.zero_grad()
        encoding = encoder.encode(observation)
        sum(head(encoding).square().mean() for head in heads).backward()  # type: ignore[union-attr]
        optimiser.step()

    needed: dict[str, float | None] = {}
    for name, work in {"inference": inference, "training": training}.items():
        try:
            for _ in range(2):
                meter.seconds(work)
            needed[f"{name}_bytes"] = meter.peak()
        except torch.OutOfMemoryError:
            needed[f"{name}_bytes"] = None
    yield needed


COLUMNS = {
    "worker, minibatch 256": lambda row: row["name"],
    "inference": lambda row: _gb(row["inference_bytes"], "out of memory"),
    "training step": lambda row: _gb(row["training_bytes"], "out of memory"),
    "promised per worker": lambda row: _gb(row["promised"] and row["promised"] * 1e9, "nothing"),
}


def _gb(size: float | None, otherwise: str) -> str:
    return otherwise if size is None else f"{size / 1e9:.2f} GB"


def worker_table(rows: list[dict[str, Any]]) -> str:
    return table(COLUMNS, rows)
