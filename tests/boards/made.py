"""Studies made of events alone, as their trials would have written them: as many trials as a test needs."""

import random
from pathlib import Path
from typing import Any

import numpy as np

from ftray.runs import RunFolder
from ftray.tables.bars import BarRecord, write_bars, write_benchmarks

MLP = {"kind": "mlp", "hidden": 128, "encoding_dim": 64}
FT = {
    "kind": "ft",
    "d_token": 32,
    "n_blocks": 1,
    "n_heads": 2,
    "patch_length": 24,
    "pretrained": "auto",
    "frozen": True,
}
TRIAL = {
    "encoder": {"choice": [MLP, FT]},
    "ppo": {"learning_rate": {"log": [1e-5, 1e-3]}, "gamma": {"float": [0.9, 0.99]}},
}
UNTRUSTED = "ValueError: <script>document.title = 'taken'</script><img src=x onerror=\"document.title='taken'\">"


def made_study(location: Path | str, n_trials: int, n_reports: int = 10, n_bars: int = 0, **search: Any) -> RunFolder:
    """A study that runs: its trials have ended, every 20th FAILED, but for the last one, which runs.

    n_bars: of returns that each ended trial, and equal-weight, leaves. Figures are drawn at random with a seed: the
    same call makes the same study.
    """
    run = RunFolder.create(location, {"name": Path(location).name, "trial": TRIAL, "search": search})
    chance = random.Random(1)
    run.append_event("study_started", n_trials=n_trials)
    measures = {name.removeprefix("validation/"): value for name, value in validated(0.3, 0.4).items()}
    run.record_benchmarks({"equal_weight": measures})
    if n_bars:
        write_benchmarks(run.path, 0, {"equal_weight": bar_record(n_bars, chance)})
    for number in range(n_trials):
        trial = f"trial-{number:04}"
        encoder = chance.choice([MLP, FT])
        values = {
            "trial/encoder/kind": "mlp" if encoder is MLP else "ft",
            "trial/ppo/learning_rate": 10 ** chance.uniform(-5, -3),
            "trial/ppo/gamma": chance.uniform(0.9, 0.99),
        }
        run.add_trial(trial, number, "trial", values, {"encoder": encoder})
        run.trial_started(trial)
        run.trial_folder(trial).started(host=f"host-{number % 3}", cpu="a processor", gpu="A10G", pid=1)
        skill = chance.gauss(0, 1)
        for step in range(1, n_reports + 1):
            is_last = step == n_reports and number < n_trials - 1
            if is_last and n_bars:
                write_bars(run.trial_folder(trial).folder, 0, 0, bar_record(n_bars, chance))
            report(run, trial, step, skill * step / n_reports + chance.gauss(0, 0.1), is_last)
        if number < n_trials - 1:
            end(run, trial, "FAILED" if number % 20 == 19 else "COMPLETE")
    return run


def report(run: RunFolder, trial: str, step: int, sharpe: float, is_last: bool = False) -> None:
    """One more report of a trial. is_last: of its one run."""
    costs = {"cost/cpu_seconds": 60.0 * step, "cost/gpu_seconds": 30.0 * step}
    memory = {"vram/planned_gib": 1.8, "vram/used_gib": 1.5}
    own = {"env_steps": 1_000 * step, "fold": 0, "seed": 0, **validated(sharpe, 0.2)}
    run.trial_folder(trial).report({**own, **costs, **memory, **({"runs": [own]} if is_last else {})})


def end(run: RunFolder, trial: str, state: Any) -> None:
    run.trial_ended(trial, state, error=f"{UNTRUSTED} in {trial}\nand more of it" if state == "FAILED" else None)


def bar_record(n_bars: int, chance: random.Random) -> BarRecord:
    """A portfolio on hourly bars: a quarter of its cash in either asset, bought at the first bar, BTC sold halfway."""
    returns = np.array([chance.gauss(0, 0.01) for _ in range(n_bars)])
    equity = 10_000 * np.cumprod(1 + returns)
    starts = np.datetime64("2024-01-01T01", "h") + np.arange(n_bars)
    half, (fee, slippage) = n_bars // 2, (6.25, 1.25)
    costs = np.isin(np.arange(n_bars), [0, half]).astype(float)
    costs[0] *= 2
    left = -(2_500 + equity[-1] - 10_000 + 3 * (fee + slippage) + 100.0)  # of ETH, so that the profits add up
    return BarRecord(
        times=starts + 1,
        returns=returns,
        equity=equity,
        exposure=np.full(n_bars, 0.5),
        turnover=costs / 4,
        fees=fee * costs,
        slippage=slippage * costs,
        regimes=np.arange(n_bars) * 3 // n_bars,
        symbols=("BTC", "ETH"),
        weights=np.full((n_bars, 2), 0.25),
        fills={
            "time": np.array([starts[0], starts[0], starts[half], starts[-1] + 1]),
            "symbol": ["BTC", "ETH", "BTC", "ETH"],
            "cause": ["order", "order", "order", "end"],
            "notional": [2_500.0, 2_500.0, -2_400.0, left],
            "units": [25.0, 50.0, -25.0, -50.0],
            "price": [100.0, 50.0, 96.0, -left / 50.0],
            "fee": [fee, fee, fee, 0.0],
            "slippage": [slippage, slippage, slippage, 0.0],
        },
    )


def validated(sharpe: float, drawdown: float) -> dict[str, float]:
    figures = {
        "sharpe": sharpe,
        "total_return": sharpe / 10,
        "max_drawdown": drawdown,
        "turnover": 9.0,
        "exposure": 0.5,
    }
    figures |= {"n_bars": 8_760.0, "years": 1.0, "skewness": 0.0, "kurtosis": 3.0}
    return {f"validation/{name}": value for name, value in figures.items()}
