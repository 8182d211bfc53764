"""Quality and speed of pre-training on real candles, compared with the baselines that a sceptic would name.

    python benchmarks/pretraining.py --json FILE [--quick] [--device cuda] [--candles FOLDER] [--folder FOLDER]

The first 80 % of the bars train the balanced encoder (the last tenth of them chooses its best epoch), a purge of
lookback + horizon follows, and all figures are measured on the rest, which nothing was fitted to. How many samples are
trained on is set by a clock: what takes 10 minutes at the speed measured first, or 30 seconds with --quick.
"""

import argparse
import dataclasses
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from measuring import Meter, machine
from torch.utils.flop_counter import FlopCounterMode

from ftray.boards.terminal import align
from ftray.features import Dataset, FeatureSpec, build_table
from ftray.market import FilesSpec, Window, Windows, load_market
from ftray.nets import PRESETS, MaskSpec, read_checkpoint
from ftray.plots import describe_pooled, known_returns
from ftray.pretraining import PretrainingSpec, pretrain
from ftray.pretraining.card import MOST_BARS, examine
from ftray.pretraining.model import MaskedModel
from ftray.pretraining.probes import Bars
from ftray.pretraining.samples import draw_samples, labelled_bars
from ftray.pretraining.trainer import Trainer, fresh_encoder, new_model

CANDLES = Path(__file__).parents[2] / "shared" / "data" / "binance_1h"
ENCODER = PRESETS["balanced"]
SPEC = PretrainingSpec(
    batch_size=128,
    learning_rate=3e-3,
    masks=MaskSpec(cells=0.2, spans=0.3, series=0.4, bars=0.1, span_length=20),
    device="cpu",
)
SECONDS, QUICK_SECONDS = 600, 30
LIMITS = {
    ("spans", "interpolation"): 0.65,
    ("cells", "interpolation"): 0.95,
    ("series", "mean"): 0.50,
}
"""Mean squared error of the encoder over that of a baseline, at most."""


def main() -> None:
    given = _arguments()
    started = time.perf_counter()
    dataset = real_candles(given.candles)
    speed = measured_speed(dataset, given.device)
    print(
        f"{speed['samples_per_second']:.0f} samples/s, {speed['share_of_matrix_rate']:.0%} of the matrix-product rate"
    )
    seconds = QUICK_SECONDS if given.quick else SECONDS
    spec = fitted_to_clock(dataset, given.device, speed["samples_per_second"], seconds)
    with tempfile.TemporaryDirectory() as temporary:
        model, history = trained(spec, dataset, given.folder or Path(temporary))
    training_seconds = time.perf_counter() - started
    figures = examined(model, spec, dataset, n_windows=64 if given.quick else 512)
    n_trained = len(history) * (spec.windows_per_epoch or 0)
    result = {
        "quick": given.quick,
        "machine": machine(given.device, ("torch", "numpy")) | {"threads": torch.get_num_threads()},
        "encoder": dataclasses.asdict(ENCODER),
        "pretraining": dataclasses.asdict(spec),
        "windows": {name: list(map(dataset.times, getattr(dataset.windows, name))) for name in ("train", "validation")},
        "speed": speed | {"trained_samples_per_second": n_trained / sum(row["seconds"] for row in history)},
        "claims": claims(figures),
        "figures": figures,
        "history": history,
        "training_seconds": training_seconds,
        "seconds": time.perf_counter() - started,
    }
    show(result)
    given.json.write_text(json.dumps(result, indent=1))


def real_candles(folder: Path) -> Dataset:
    """The first 80 % of the bars as train window, the last 20 % less the purge as validation window, and no test."""
    candles = load_market(FilesSpec(path=str(folder)))
    features, n = FeatureSpec(), len(candles)
    train = Window(0, round(0.8 * n))
    validation = Window(train.stop + features.lookback + SPEC.horizon, n)
    table = build_table(candles, features, train)
    return Dataset(candles, table, Windows((train,), (validation,), Window(n, n)), candles.fingerprint)


def measured_speed(dataset: Dataset, device: str = "cpu", n_batches: int = 12) -> dict[str, float]:
    """Training speed, and its arithmetic as a share of what plain matrix products reach here (best of several).

    torch's counter does not know the CPU's attention kernel, so the share is of layers alone and a little too low.
    """
    spec = dataclasses.replace(SPEC, device=device, windows_per_epoch=n_batches * SPEC.batch_size)
    trainer = Trainer(spec, dataset, draw_samples(dataset, ENCODER, spec), new_model(ENCODER, spec, dataset.layout))
    with FlopCounterMode(display=False) as counter:
        trainer.train_epoch(1, lambda: None)
    start = time.perf_counter()
    trainer.train_epoch(1, lambda: None)
    per_second = n_batches * SPEC.batch_size / (time.perf_counter() - start)
    flops = counter.get_total_flops() / (n_batches * SPEC.batch_size)
    n, meter = (8_192 if device == "cuda" else 1_024), Meter(device)
    a, b = torch.randn(2, n, n, device=device)
    rate = 2 * n**3 / min(meter.seconds(lambda: a @ b) for _ in range(20))
    return {
        "samples_per_second": per_second,
        "flops_per_sample": flops,
        "matrix_product_flops_per_second": rate,
        "share_of_matrix_rate": per_second * flops / rate,
    }


def trained(spec: PretrainingSpec, dataset: Dataset, folder: Path) -> tuple[MaskedModel, list[dict[str, Any]]]:
    """The model of the best epoch, and the history."""
    card = pretrain(ENCODER, spec, dataset, folder, progress=True)
    model = new_model(ENCODER, spec, dataset.layout)
    model.load_checkpoint(read_checkpoint(card.path))
    return model, json.loads((folder / "training_history.json").read_text())


def examined(model: MaskedModel, spec: PretrainingSpec, dataset: Dataset, n_windows: int) -> dict[str, Any]:
    """The encoder card's figures, on the validation window in place of the end of the train window."""
    scored = labelled_bars(dataset, dataset.windows.validation, spec.horizon)
    return examine(
        model,
        fresh_encoder(ENCODER, spec, dataset.layout),
        dataset,
        Bars(draw_samples(dataset, ENCODER, spec)[0].bars, scored),
        horizon=spec.horizon,
        n_windows=n_windows,
        n_return_bars=MOST_BARS,
        batch_size=spec.batch_size,
    )


def fitted_to_clock(dataset: Dataset, device: str, samples_per_second: float, seconds: float) -> PretrainingSpec:
    """The spec with as many windows as the clock allows, in epochs over all windows or over a tenth of the total."""
    n_windows, total = len(draw_samples(dataset, ENCODER, SPEC)[0]), int(samples_per_second * seconds)
    epochs = max(10, round(total / n_windows))
    return dataclasses.replace(SPEC, device=device, epochs=epochs, windows_per_epoch=min(n_windows, total // epochs))


def claims(figures: dict[str, Any]) -> list[dict[str, Any]]:
    """What is claimed, what came out, and whether it holds."""
    found = []
    for (kind, baseline), limit in LIMITS.items():
        scores = figures["reconstruction"][kind]
        ratio = scores["encoder"]["mse"] / scores[baseline]["mse"]
        found.append({"claim": f"{kind}: error / {baseline}", "limit": limit, "value": ratio, "holds": ratio <= limit})
    for name in ("volatility", "regime"):
        gain = figures["probes"][name]["gain"]["random_encoder"]
        found.append(
            {"claim": f"{name}: skill above a random encoder", "limit": 0.0, "value": gain, "holds": gain["low"] > 0}
        )
    return found


def show(result: dict[str, Any]) -> None:
    for kind, scores in result["figures"]["reconstruction"].items():
        print(f"{kind:12}" + "  ".join(f"{name} {score['mse']:.4f}" for name, score in scores.items()))
    for name, found in result["figures"]["probes"].items():
        print(f"{name:12}" + "  ".join(f"{key} {skill:.3f}" for key, skill in found["skill"].items()), found["gain"])
    card = {"figures": result["figures"]}
    print("\n".join([describe_pooled(card), *align(known_returns(card))]))
    print("effective rank", result["figures"]["effective_rank"])
    for claim in result["claims"]:
        print(f"{'holds ' if claim['holds'] else 'MISSED'} {claim['claim']}: {claim['value']} (limit {claim['limit']})")
    print(f"{result['seconds']:.0f} s in all, {result['training_seconds']:.0f} s to the end of training")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="where the result goes")
    parser.add_argument("--quick", action="store_true", help="under 100 seconds: shows that it runs, proves nothing")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--candles", type=Path, default=CANDLES, metavar="FOLDER", help=f"default: {CANDLES}")
    parser.add_argument("--folder", type=Path, metavar="FOLDER", help="keep the pre-training run folder here")
    return parser.parse_args()


if __name__ == "__main__":
    main()
