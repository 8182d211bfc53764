"""How long one decision of an exported policy takes on one core, at 5,888 floats, and what loading it takes.

    python benchmarks/policy.py --json FILE [--quick]

Three ways to the same action from the same weights: `ftray.load_policy`, its policy.onnx in ONNX Runtime,
and RLlib's own, `RLModule.from_checkpoint` with `forward_inference`. Numpy in, numpy out, one observation at a time,
another one at every call. Each way is a process of its own with one thread; they take turns of 100 calls, so that
whatever else the machine does meets all alike. That they agree is checked before anything is printed. The target is
judged in processor time; wall time is printed, too, and what a busy machine adds is the difference. `--quick` leaves
out RLlib and calls less.
"""

import argparse
import dataclasses
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from measuring import in_processes, machine, reference_layout, table

from ftray.features import ObservationLayout, Scaler
from ftray.nets import PRESETS, EncoderSpec, MLPSpec, Policy, PolicyNetwork, build_encoder, load_policy, policy_head
from ftray.spec import to_mapping

LAYOUT = reference_layout(5_888)
ENCODERS: dict[str, EncoderSpec] = {
    "MLP 512": MLPSpec(),
    **{f"FT {name}": spec for name, spec in PRESETS.items()},
    "FT balanced, patch 12": dataclasses.replace(PRESETS["balanced"], patch_length=12),
}
PROMISED = ("MLP 512", *(f"FT {name}" for name in PRESETS))
LIMIT = 5.0
"""Milliseconds that 99 of 100 decisions must stay under."""
FTRAY, ONNX, RLLIB = "ftray.load_policy", "ONNX Runtime", "RLlib"
CALLS, TURNS, WARM_UP = 100, {False: 20, True: 3}, 10

Decide = Callable[[np.ndarray], np.ndarray]


def export(folder: Path, layout: ObservationLayout = LAYOUT) -> None:
    """A policy folder per encoder, weights drawn at random."""
    import torch

    torch.manual_seed(0)
    scaler = Scaler(np.zeros(layout.n_series), np.ones(layout.n_series), 8.0)
    for name, spec in ENCODERS.items():
        head = policy_head(spec.encoding_dim, layout.n_assets)
        torch.nn.init.normal_(head[-1].weight, std=0.1)  # as it starts, it says nearly nothing
        Policy(PolicyNetwork(build_encoder(spec, layout), head), scaler, {}).save(folder / name, onnx=True)


def with_onnx(folder: Path) -> Decide:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(folder / "policy.onnx", options, providers=["CPUExecutionProvider"])
    return lambda observation: session.run(None, {"observation": observation[None]})[0][0]


def with_rllib(folder: Path) -> Decide:
    """As RLlib's documentation would have it: a module from a checkpoint, its distribution's deterministic sample."""
    import torch
    from gymnasium.spaces import Box
    from ray.rllib.core.columns import Columns
    from ray.rllib.core.rl_module.rl_module import RLModule, RLModuleSpec

    from ftray.agent.module import FTPolicy

    network = load_policy(folder).network
    layout = network.layout
    trained = RLModuleSpec(
        module_class=FTPolicy,
        observation_space=Box(-np.inf, np.inf, (layout.size,)),
        action_space=Box(-1.0, 1.0, (layout.n_assets,)),
        model_config={"encoder": to_mapping(network.encoder.spec), "layout": layout.to_mapping()},
    ).build()
    trained.encoder.load_state_dict(network.encoder.state_dict())
    trained.policy_head.load_state_dict(network.policy_head.state_dict())
    with tempfile.TemporaryDirectory() as checkpoint:
        trained.save_to_path(checkpoint)
        module: Any = RLModule.from_checkpoint(checkpoint)
    distribution = module.get_inference_action_dist_cls()

    def decide(observation: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            answer = module.forward_inference({Columns.OBS: torch.from_numpy(observation[None])})
        sample = distribution.from_logits(answer[Columns.ACTION_DIST_INPUTS]).to_deterministic().sample()
        return np.clip(sample.numpy()[0], -1.0, 1.0)

    return decide


WAYS: dict[str, Callable[[Path], Decide]] = {FTRAY: load_policy, ONNX: with_onnx, RLLIB: with_rllib}


def decisions(way: str, folder: Path, turns: int) -> Iterator[dict[str, Any]]:
    """What one way loads and answers for every encoder; then, turn by turn, milliseconds of each call by encoder."""
    import torch

    torch.set_num_threads(1)
    observations = np.random.default_rng(0).standard_normal((64, LAYOUT.size), dtype=np.float32)
    observations[:, LAYOUT.account], observations[:, LAYOUT.cash] = 0.0, 1.0
    decide, loaded = {}, {}
    for name in ENCODERS:
        start = time.perf_counter()
        decide[name] = WAYS[way](folder / name)
        decide[name](observations[0])
        loaded[name] = 1e3 * (time.perf_counter() - start)
    yield {name: {"loaded": loaded[name], "answers": np.stack([*map(decide[name], observations)])} for name in decide}
    for _ in range(turns):
        yield {name: milliseconds(decide[name], observations) for name in decide}


def milliseconds(decide: Decide, observations: np.ndarray) -> list[tuple[float, float]]:
    """Wall and processor time of each call, the first ones left out: the caches still hold another network."""
    spent = []
    for i in range(-WARM_UP, CALLS):
        observation = observations[i % len(observations)]
        wall, core = time.perf_counter(), time.process_time()
        decide(observation)
        spent.append((1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - core)))
    return spent[WARM_UP:]


def rows_of(measured: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """A row per encoder and way, in milliseconds.

    Raises: AssertionError where two ways come to different actions.
    """
    rows = []
    for name in ENCODERS:
        for way, (first, *turns) in measured.items():
            difference = float(np.abs(first[name]["answers"] - measured[FTRAY][0][name]["answers"]).max())
            assert difference < 1e-4, f"{name}: {way} must act as {FTRAY} does, and differs by {difference:.1e}"
            wall, core = zip(*(call for turn in turns for call in turn[name]), strict=True)
            row = {"name": name, "way": way, "calls": len(wall), "loaded": first[name]["loaded"]}
            row |= {"p50": np.percentile(wall, 50), "p99": np.percentile(wall, 99)}
            row |= {"p50_core": np.percentile(core, 50), "p99_core": np.percentile(core, 99)}
            rows.append(row | {"difference": difference})
    return rows


def verdicts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    measured = {row["name"]: row["p99_core"] for row in rows if row["way"] == FTRAY}
    return [
        {
            "target": f"{name}: p99 under {LIMIT:g} ms of one core",
            "measured": measured[name],
            "met": bool(measured[name] < LIMIT),
        }
        for name in PROMISED
    ]


COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "policy": lambda row: row["name"],
    "through": lambda row: row["way"],
    "p50 of the core": lambda row: f"{row['p50_core']:.2f} ms",
    "p99": lambda row: f"{row['p99_core']:.2f} ms",
    "p50 by the wall": lambda row: f"{row['p50']:.2f} ms",
    "p99 ": lambda row: f"{row['p99']:.2f} ms",
    "loading": lambda row: f"{row['loaded']:,.0f} ms",
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="file to write the results to")
    parser.add_argument("--quick", action="store_true", help="under 100 seconds, without Ray")
    options = parser.parse_args(arguments)
    start, before = time.perf_counter(), machine("cpu", ("torch", "numpy", "onnxruntime"))
    ways = [FTRAY, ONNX] if options.quick else list(WAYS)
    with tempfile.TemporaryDirectory() as folder:
        export(Path(folder))
        results = in_processes(decisions, ways, Path(folder), TURNS[options.quick])
    rows = rows_of(dict(zip(ways, results, strict=True)))
    targets, after = verdicts(rows), machine("cpu", ())
    print(table(COLUMNS, rows))
    print(f"\n{before['device']}; load before {before['load'][0]:.1f}, after {after['load'][0]:.1f}")
    for verdict in targets:
        print(f"{'met   ' if verdict['met'] else 'missed'}  {verdict['target']}, measured {verdict['measured']:.2f} ms")
    if options.json:
        content = {
            "benchmark": "policy",
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "quick": options.quick,
            "machine": before,
            "load_after": after["load"],
            "seconds": time.perf_counter() - start,
            "floats": LAYOUT.size,
            "rows": rows,
            "targets": targets,
        }
        options.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
