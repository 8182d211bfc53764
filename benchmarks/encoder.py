"""Time and memory of the encoders, the authors' FT-Transformer and an MLP, at 106, 988 and 5,888 features.

    python benchmarks/encoder.py --json FILE [--quick] [--device cuda]

Every case is a process of its own, with one thread; the processes take turns, so that whatever else the machine does
meets all of them alike, and medians are compared. What seconds and bytes are on which device, `measuring.Meter` says.
`--quick` leaves out what takes longest and repeats less.
"""

import argparse
import dataclasses
import functools
import json
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from measuring import Meter, in_processes, machine, reference_layout, table
from vram import LITERAL, WORKERS, worker_memory, worker_row, worker_table

FT, RTDL, MLP = "ft", "rtdl", "mlp 512"
ROUNDS, SECONDS = {False: 11, True: 5}, {False: 30.0, True: 2.0}
"""At most so many repetitions, and none that starts after so many seconds of a case's own, by `quick`."""
PACKAGES = ("torch", "numpy", "einops", "rtdl_revisiting_models")
MATRIX = {"cpu": 1_024, "cuda": 8_192}
"""Rows and columns of the matrices whose product measures what the machine can do."""


@dataclasses.dataclass(frozen=True)
class Case:
    """A network (the FT-Transformer and its rival: balanced) and `batch` samples on `bars` unique bars (0: all)."""

    model: str
    features: int
    batch: int
    patch_length: int = 0
    bars: int = 0

    @property
    def name(self) -> str:
        name = f"{self.model} patch {self.patch_length}" if self.patch_length else self.model
        return f"{name}, {self.batch // self.bars} accounts per bar" if self.bars else name


OURS, OURS_SHARED = Case(FT, 5_888, 128, 60), Case(FT, 5_888, 128, 60, bars=32)
BASELINE, BASELINE_SHARED = Case(MLP, 5_888, 128), Case(MLP, 5_888, 128, bars=32)
LITERAL_CASE, KNOWN = Case(FT, 5_888, 8, 1), Case(RTDL, 988, 8)
QUICK = (
    OURS,
    BASELINE,
    OURS_SHARED,
    BASELINE_SHARED,
    Case(FT, 5_888, 128, 12),
    LITERAL_CASE,
    KNOWN,
    Case(FT, 988, 128, 60),
)
REST = (
    Case(RTDL, 5_888, 1),
    Case(FT, 988, 128, 12),
    Case(FT, 988, 32, 1),
    Case(MLP, 988, 128),
    Case(FT, 106, 128, 60),
    Case(FT, 106, 128, 12),
    Case(FT, 106, 128, 1),
    Case(RTDL, 106, 128),
    Case(MLP, 106, 128),
)


def build(case: Case) -> tuple[Any, Callable[[], Any]]:
    """A case's network, and a call that encodes its batch; on torch's default device."""
    import rtdl_revisiting_models
    import torch

    from ftray.nets import FTSpec, MLPSpec, build_encoder

    layout, bars = reference_layout(case.features), case.bars or case.batch
    windows, account = torch.randn(bars, layout.n_series, layout.lookback), torch.rand(case.batch, layout.n_account)
    if case.model == RTDL:
        network = rtdl_revisiting_models.FTTransformer(
            n_cont_features=layout.size,
            cat_cardinalities=[],
            d_out=512,
            n_blocks=2,
            d_block=64,
            attention_n_heads=4,
            attention_dropout=0.0,
            ffn_d_hidden=None,
            ffn_d_hidden_multiplier=4 / 3,
            ffn_dropout=0.0,
            residual_dropout=0.0,
        )
        observation = torch.cat([account, windows.flatten(1)], dim=1)
        return network, lambda: network(observation, None)
    encoder = build_encoder(FTSpec(patch_length=case.patch_length) if case.model == FT else MLPSpec(), layout)
    bar_of = torch.arange(case.batch) % bars
    if case.bars:
        return encoder, lambda: encoder.fuse(encoder.market(windows)[bar_of], account)
    return encoder, lambda: encoder(windows, account)


def timings(case: Case, device: str, quick: bool) -> Iterator[dict[str, float]]:
    """What a case needs, then its seconds per sample, one repetition at a time."""
    import torch

    from ftray import nets  # noqa: F401  # part of the bare process

    torch.set_num_threads(1)
    meter = Meter(device)
    with torch.device(device):
        network, encode = build(case)
        matrix = torch.randn(MATRIX[device], MATRIX[device])
    forward, both = torch.no_grad()(encode), functools.partial(_forward_and_backward, network, encode)
    first, forward_bytes = meter.seconds(forward), meter.peak()
    seconds = [first, meter.seconds(both)]
    yield {
        "forward_bytes": forward_bytes,
        "both_bytes": meter.peak(),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        **_flops(case),
    }
    calls = [int(0.05 / each) + 1 for each in seconds]  # enough for the clock
    is_slow, spent = seconds[1] > 2.0, 0.0  # a slow case's first call is as good as any
    for repetition in range(ROUNDS[quick]):
        if repetition or not is_slow:
            seconds = [meter.seconds(forward, calls[0]), meter.seconds(both, calls[1])]
        rate = 2 * MATRIX[device] ** 3 / meter.seconds(lambda: matrix @ matrix)
        yield {"forward": seconds[0] / case.batch, "both": seconds[1] / case.batch, "rate": rate}
        spent += sum(seconds)
        if spent > SECONDS[quick]:
            return


def _forward_and_backward(network: Any, encode: Callable[[], Any]) -> None:
    network.zero_grad()
    encode().square().mean().backward()


def _flops(case: Case) -> dict[str, float]:
    """Floating-point operations per sample, counted over shapes alone."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    counts = {}
    with torch.device("meta"):
        network, encode = build(case)
    works = {"forward": encode, "both": functools.partial(_forward_and_backward, network, encode)}
    for name, work in works.items():
        with FlopCounterMode(display=False) as counter:
            work()
        counts[f"{name}_flops"] = counter.get_total_flops() / case.batch
    return counts


def row_of(case: Case, results: list[dict[str, float]]) -> dict[str, Any]:
    """A case's line: medians over its repetitions, seconds and operations per sample, bytes of the whole batch."""
    needs, *repetitions = results
    row = {"name": case.name, **dataclasses.asdict(case), **needs, "repetitions": len(repetitions)}
    for work in ("forward", "both"):
        row[f"{work}_seconds"] = statistics.median(each[work] for each in repetitions)
        shares = (needs[f"{work}_flops"] / each[work] / each["rate"] for each in repetitions)
        row[f"{work}_share"] = statistics.median(shares)
    row["samples_per_second"] = 1.0 / row["both_seconds"]
    row["matrix_rate"] = statistics.median(each["rate"] for each in repetitions)
    return row


def targets(rows: dict[Case, dict[str, Any]]) -> list[dict[str, Any]]:
    """What was promised for one core of a CPU, what was measured, and whether it is met."""

    def times(a: Case, b: Case) -> float:
        return rows[a]["both_seconds"] / rows[b]["both_seconds"]

    measured = [
        ("ours at 5,888 features, times faster than rtdl at 988", times(KNOWN, OURS), 60.0, "at least"),
        ("ours over the MLP's time, one account per bar", times(OURS, BASELINE), 8.0, "under"),
        ("ours over the MLP's time, four accounts per bar", times(OURS_SHARED, BASELINE), 2.0, "under"),
        ("the same, over an MLP that shares its bars too", times(OURS_SHARED, BASELINE_SHARED), 2.0, "under"),
        ("GB at patch_length 1, batch 8, 5,888 features", rows[LITERAL_CASE]["both_bytes"] / 1e9, 0.6, "under"),
    ]
    return [
        {
            "target": f"{what}: {sense} {limit:g}",
            "measured": value,
            "met": value >= limit if sense == "at least" else value < limit,
        }
        for what, value, limit, sense in measured
    ]


COLUMNS = {
    "encoder": lambda row: row["name"],
    "features": lambda row: f"{row['features']:,}",
    "batch": lambda row: f"{row['batch']}",
    "parameters": lambda row: f"{row['parameters'] / 1e6:.2f} M",
    "forward": lambda row: f"{1e3 * row['forward_seconds']:.3f} ms",
    "+ backward": lambda row: f"{1e3 * row['both_seconds']:.3f} ms",
    "samples/s": lambda row: f"{row['samples_per_second']:,.1f}",
    "of matrix rate": lambda row: f"{row['both_share']:.0%}",
    "memory forward": lambda row: f"{row['forward_bytes'] / 1e6:,.0f} MB",
    "memory + backward": lambda row: f"{row['both_bytes'] / 1e6:,.0f} MB",
}


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="file to write the results to")
    parser.add_argument("--quick", action="store_true", help="under 100 seconds")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    options = _options(arguments)
    start = time.perf_counter()
    before = machine(options.device, PACKAGES)
    cases = QUICK if options.quick else (*QUICK, *REST)
    by_turns = options.device == "cpu"  # a GPU has no neighbours to average out, and a context per process to hold
    measured = in_processes(timings, cases, options.device, options.quick, by_turns=by_turns)
    rows = {case: row_of(case, results) for case, results in zip(cases, measured, strict=True)}
    print(table(COLUMNS, list(rows.values())))
    rate = statistics.median(row["matrix_rate"] for row in rows.values())
    load = before["load"][0]
    print(f"\n{before['device']}; a matrix product runs at {rate / 1e9:,.0f} GFLOP/s; load before the run {load:.1f}")
    verdicts = targets(rows) if options.device == "cpu" else []
    for verdict in verdicts:
        print(f"{'met   ' if verdict['met'] else 'missed'}  {verdict['target']}, measured {verdict['measured']:.3g}")
    workers = []
    if options.device == "cuda" or not options.quick:
        asked = (*WORKERS, LITERAL) if options.device == "cuda" else WORKERS
        needs = in_processes(worker_memory, asked, options.device, by_turns=False)
        workers = [worker_row(worker, need) for worker, (need,) in zip(asked, needs, strict=True)]
        print(f"\n{worker_table(workers)}")
    if options.json:
        content = {
            "benchmark": "encoder",
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "quick": options.quick,
            "machine": before,
            "seconds": time.perf_counter() - start,
            "rows": list(rows.values()),
            "targets": verdicts,
            "workers": workers,
        }
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
