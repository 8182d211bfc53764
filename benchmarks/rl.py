"""Speed of PPO with ftray's encoders, compared with RLlib as it comes and Stable-Baselines3, on real candles.

    python benchmarks/rl.py --json FILE [--quick] [--device cuda] [--runners N] [--threads N] [--profile] [--candles F]

7 assets, 14 indicators, lookback 60: 5,888 floats. The same dataset, accounts, batch, minibatch, epochs and widths for
all. Each contender is a process of its own, with as many torch threads as the others, one after the other and several
times round; its first iteration warms up, and medians of the next ones are compared. `learning` is what the learner
takes, `sampling` all the rest of an iteration: steps, weight sync, metrics. The values and advantages of a batch are
learning in ftray and RLlib, sampling in Stable-Baselines3.

MLP-512 is a standard MLP over all floats of every sample; where it says `shared`, its first layer runs once per bar of
a minibatch. RLlib and Stable-Baselines3 train one network for the policy and another for the value; `one network` is
shared by both, as ftray's is. Training from scratch costs what fine-tuning does; towers are random, which costs the
same.

`--runners`: env runners of RLlib and ftray; 0, the default, samples in the trial's own process, as Stable-Baselines3
does, which is left out otherwise; CPU-seconds are those of a trial's own process. `--profile` runs no race: it
prints the largest costs of one iteration. `--quick` takes fewer bars, a smaller batch, fewer contenders and turns.
`--device cuda` runs ftray alone, its learner on the GPU and its env runners on the CPU.
"""

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from contenders import ITERATIONS, RLLIB, SB3, Contender, Setting, algorithm_of
from costs import costs_of
from measuring import in_processes, table
from trainings import (
    arguments,
    quiet_ray,
    random_tower,
    real_candles,
    shared_ray,
    surroundings,
    write,
)

from ftray.agent import PPOSpec
from ftray.features import FeatureSpec, dataset_of
from ftray.market import WindowsSpec
from ftray.nets import PRESETS
from ftray.vram.plan import NO_GPU, GpuShares

ROUNDS, TURNS = {"cpu": 3, "cuda": 1}, {"cpu": 2, "cuda": 5}
"""How often each contender has its turn (once with `--quick`), and how many iterations it then shows, by device: a GPU
that one process has to itself has no neighbours to average out."""
BATCH, QUICK_BATCH, QUICK_BARS, N_ACCOUNTS = 2_048, 512, 4_000, 32

MLP, MLP_4 = Contender("MLP-512"), Contender("MLP-512, 4 accounts per bar", accounts_per_bar=4)
BALANCED = Contender("FT balanced, fine-tuned", encoder="balanced", tower="tuned")
BALANCED_4 = dataclasses.replace(BALANCED, name=f"{BALANCED.name}, 4 accounts per bar", accounts_per_bar=4)
FROZEN = Contender("FT balanced, frozen", encoder="balanced", tower="frozen")
PLAIN, STABLE = Contender("plain RLlib", RLLIB), Contender("Stable-Baselines3", SB3)
QUICK = (MLP, BALANCED_4, BALANCED, FROZEN, PLAIN, STABLE, MLP_4)
REST = (
    Contender("MLP-512 shared", shared=True),
    Contender("MLP-512 shared, 4 accounts per bar", shared=True, accounts_per_bar=4),
    Contender("FT small, fine-tuned", encoder="small", tower="tuned"),
    Contender("FT small, frozen", encoder="small", tower="frozen"),
    Contender("FT large, fine-tuned", encoder="large", tower="tuned"),
    Contender("FT large, frozen", encoder="large", tower="frozen"),
    Contender("plain RLlib, one network", RLLIB, shared=True),
    Contender("Stable-Baselines3, one network", SB3, shared=True),
)
SAMPLERS = (
    Contender("ftray", width=64, shared=True),  # as it comes: weights stand still while it samples, so it looks ahead
    Contender("plain RLlib", RLLIB, width=64),
    Contender("ftray, step by step", width=64),
)
PROFILED = (MLP, BALANCED, BALANCED_4, FROZEN, PLAIN, STABLE)
SMALL, LARGE = (next(who for who in REST if who.name == f"FT {size}, fine-tuned") for size in ("small", "large"))
ON_GPU = (MLP, SMALL, BALANCED, LARGE, FROZEN)
SHARE = GpuShares(learner=0.1)
"""What a learner books here, where it has the GPU to itself."""


def prepared(folder: Path, candles_folder: Path, contenders: tuple[Contender, ...], given: Any) -> tuple[Any, ...]:
    """The setting, and what the caches of frozen encoders took to build, in seconds by preset."""
    from ftray.agent.vectors import write_market_vectors

    candles = real_candles(candles_folder, QUICK_BARS if given.quick else None)
    dataset, gpus = dataset_of(candles, WindowsSpec(), FeatureSpec()), SHARE if given.device == "cuda" else NO_GPU
    towers, seconds = {}, {}
    for preset in sorted({contender.encoder for contender in contenders} - {"mlp"}):
        weights, vectors = random_tower(PRESETS[preset], dataset, folder / f"{preset}.pth"), None
        if any(contender.encoder == preset and contender.tower == "frozen" for contender in contenders):
            start = time.perf_counter()
            vectors = write_market_vectors(PRESETS[preset], weights, dataset, folder, gpus)
            seconds[preset] = time.perf_counter() - start
        towers[preset] = weights, vectors
    ppo = PPOSpec(
        train_batch_size=QUICK_BATCH if given.quick else BATCH,
        n_env_runners=given.runners,
        envs_per_runner=N_ACCOUNTS // max(1, given.runners),
        cpus_per_env_runner=0.1,  # those of all contenders run at once, most of them idle
    )
    setting = Setting(dataset.save(folder / "dataset"), towers, ppo, given.threads, given.quick, gpus)
    return setting, dataset, seconds


def iterations(contender: Contender, setting: Setting) -> Iterator[dict[str, float]]:
    """What it took to start, then one iteration at a time; the first one warms up and counts as start."""
    import torch

    torch.set_num_threads(setting.threads)
    with quiet_ray():
        start = time.perf_counter()
        iteration = ITERATIONS[contender.who](contender, setting)
        iteration()
        yield {"start_seconds": time.perf_counter() - start}
        for _ in range(TURNS[setting.gpus.device]):
            processor = time.process_time()
            yield iteration() | {"processor": time.process_time() - processor}


def samplings(contender: Contender, setting: Setting) -> Iterator[dict[str, float]]:
    """Steps and processor seconds of an env runner alone, in-process, one thread; the first turn warms up."""
    import torch

    torch.set_num_threads(1)
    with quiet_ray():
        runner = algorithm_of(contender, setting).env_runner
        for turn in range(2 * TURNS["cpu"] + 1):
            start, steps = time.process_time(), 0
            while steps < 4 * BATCH:
                steps += sum(len(episode) for episode in runner.sample(num_timesteps=BATCH))
            if turn:
                yield {"steps": steps, "processor": time.process_time() - start}


def profiles(contender: Contender, setting: Setting) -> Iterator[dict[str, float]]:
    """Own seconds of one iteration, by what they are for; the first iteration warms up."""
    import torch

    torch.set_num_threads(setting.threads)
    with quiet_ray():
        iteration = ITERATIONS[contender.who](contender, setting)
        iteration()
        yield costs_of(iteration)


def row_of(contender: Contender, results: list[dict[str, float]]) -> dict[str, Any]:
    """A contender's line: medians over its iterations; seconds are of wall time, `processor_seconds` of the CPU's."""
    start, turns = results[0], [result for result in results if "seconds" in result]

    def median(of: Callable[[dict[str, float]], float]) -> float:
        return statistics.median(map(of, turns))

    return {
        **dataclasses.asdict(contender),
        **start,
        "steps_per_second": median(lambda turn: turn["steps"] / turn["seconds"]),
        "seconds": median(lambda turn: turn["seconds"]),
        "sampling_seconds": median(lambda turn: turn["seconds"] - turn["learning"]),
        "learning_seconds": median(lambda turn: turn["learning"]),
        "processor_seconds": median(lambda turn: turn["processor"]),
        "lowest_seconds": min(turn["seconds"] for turn in turns),
        "highest_seconds": max(turn["seconds"] for turn in turns),
        "iterations": len(turns),
    }


def sampling_row(contender: Contender, results: list[dict[str, float]]) -> dict[str, Any]:
    rates = sorted(turn["steps"] / turn["processor"] for turn in results)
    figures = {"steps_per_processor_second": statistics.median(rates), "lowest": rates[0], "highest": rates[-1]}
    return {"name": contender.name, **figures, "turns": len(rates)}


def targets(rows: dict[str, dict[str, Any]], samplers: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """What was promised, what was measured, and whether it is met; left out: who did not run."""

    def rate(a: Contender, b: Contender) -> float:
        return rows[a.name]["steps_per_second"] / rows[b.name]["steps_per_second"]

    def times(a: Contender, b: Contender) -> float:
        return rows[a.name]["seconds"] / rows[b.name]["seconds"]

    def sampling(a: Contender, b: Contender) -> float:
        return samplers[a.name]["steps_per_processor_second"] / samplers[b.name]["steps_per_processor_second"]

    if not samplers:  # on a GPU
        promised = [
            (f"{who.name}: wall time over MLP-512's", times, who, MLP, limit, "at most")
            for who, limit in ((SMALL, 1.05), (BALANCED, 1.10), (LARGE, 1.20), (FROZEN, 1.0))
        ]
        return _verdicts(promised, rows, samplers, sampling)
    promised = [
        ("steps/s of MLP-512 over plain RLlib's", rate, MLP, PLAIN, 1.3, "at least"),
        ("steps/s of MLP-512 over Stable-Baselines3's", rate, MLP, STABLE, 2.0, "at least"),
        ("sampling alone, steps per CPU-second over plain RLlib's", sampling, *SAMPLERS[:2], 4.0, "at least"),
        ("FT balanced, fine-tuned: wall time over MLP-512's", times, BALANCED, MLP, 4.0, "at most"),
        ("the same, both at 4 accounts per bar", times, BALANCED_4, MLP_4, 1.5, "at most"),
        ("FT balanced, frozen: wall time over MLP-512's", times, FROZEN, MLP, 0.8, "at most"),
    ]
    return _verdicts(promised, rows, samplers, sampling)


def _verdicts(promised: list[Any], rows: Any, samplers: Any, sampling: Any) -> list[dict[str, Any]]:
    found = []
    for what, measure, a, b, limit, sense in promised:
        known = samplers if measure is sampling else rows
        if a.name in known and b.name in known:
            value = measure(a, b)
            met = value >= limit if sense == "at least" else value <= limit
            found.append({"target": f"{what}: {sense} {limit:g}", "measured": value, "met": met})
    return found


def with_ratios(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each row with its wall time over MLP-512's at one account per bar, and its processor time over that one's."""
    base = next(row for row in rows if row["name"] == MLP.name)
    ratios = {"times_the_mlp": "seconds", "processor_times_the_mlp": "processor_seconds"}
    return [row | {name: row[of] / base[of] for name, of in ratios.items()} for row in rows]


COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "PPO with": lambda row: row["name"],
    "steps/s": lambda row: f"{row['steps_per_second']:,.0f}",
    "s per iteration": lambda row: f"{row['seconds']:.2f}",
    "sampling": lambda row: f"{row['sampling_seconds']:.2f}",
    "learning": lambda row: f"{row['learning_seconds']:.2f}",
    "× MLP-512": lambda row: f"{row['times_the_mlp']:.2f}",
    "CPU-seconds": lambda row: f"{row['processor_seconds']:.2f}",
    "× its CPU": lambda row: f"{row['processor_times_the_mlp']:.2f}",
    "turns": lambda row: str(row["iterations"]),
}
SAMPLER_COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "sampling alone, MLP-64, 32 accounts": lambda row: row["name"],
    "steps per CPU-second": lambda row: f"{row['steps_per_processor_second']:,.0f}",
    "lowest": lambda row: f"{row['lowest']:,.0f}",
    "highest": lambda row: f"{row['highest']:,.0f}",
}


def cost_lines(name: str, costs: dict[str, float]) -> str:
    """The five largest costs of an iteration, and what is left."""
    total, ranked = sum(costs.values()), sorted(costs.items(), key=lambda cost: -cost[1])
    lines = [f"{name}: {total:.2f} s in one iteration, under a profiler"]
    lines += [f"  {seconds:6.2f} s  {seconds / total:4.0%}  {what}" for what, seconds in ranked[:5]]
    left = sum(seconds for _, seconds in ranked[5:])
    return "\n".join([*lines, f"  {left:6.2f} s  {left / total:4.0%}  all the rest"])


def in_rounds(
    work: Callable[..., Iterator[Any]], contenders: tuple[Contender, ...], setting: Setting
) -> list[list[Any]]:
    """What `work` yields for each contender: one after the other, each in a process of its own, several times round.

    None waits while another works: memory that idles goes cold, and warming it up would be measured as its speed.
    """
    n = 1 if setting.quick else ROUNDS[setting.gpus.device]
    rounds = [in_processes(work, contenders, setting, by_turns=False) for _ in range(n)]
    return [[result for one in rounds for result in one[i]] for i in range(len(contenders))]


def race(contenders: tuple[Contender, ...], setting: Setting) -> dict[str, Any]:
    """All figures, printed as they come."""
    measured = in_rounds(iterations, contenders, setting)
    rows = with_ratios([row_of(who, results) for who, results in zip(contenders, measured, strict=True)])
    print(table(COLUMNS, rows), end="\n\n")
    samplers: list[dict[str, Any]] = []
    if PLAIN in contenders:  # env runners compute on the CPU, whatever the learner does
        alone = dataclasses.replace(setting, ppo=dataclasses.replace(setting.ppo, n_env_runners=0, envs_per_runner=32))
        sampled = in_rounds(samplings, SAMPLERS, alone)
        samplers = [sampling_row(who, results) for who, results in zip(SAMPLERS, sampled, strict=True)]
        print(table(SAMPLER_COLUMNS, samplers), end="\n\n")
    verdicts = targets({row["name"]: row for row in rows}, {row["name"]: row for row in samplers})
    for verdict in verdicts:
        print(f"{'met   ' if verdict['met'] else 'missed'}  {verdict['target']}, measured {verdict['measured']:.2f}")
    return {"rows": rows, "sampling": samplers, "targets": verdicts}


def profile(contenders: tuple[Contender, ...], setting: Setting) -> dict[str, Any]:
    measured = in_processes(profiles, contenders, setting, by_turns=False)
    for who, (costs,) in zip(contenders, measured, strict=True):
        print(cost_lines(who.name, costs))
    return {"profiles": {who.name: costs for who, (costs,) in zip(contenders, measured, strict=True)}}


def main(given: list[str] | None = None, contenders: tuple[Contender, ...] = ()) -> None:
    """contenders: who runs, in place of those that the options name."""
    count = {"type": int, "metavar": "N"}
    options = arguments(
        __doc__,
        given,
        runners=count | {"default": 0, "help": "env runners of RLlib and ftray; default: 0, in-process"},
        threads=count | {"default": 2, "help": "torch threads of every contender's own process; default: 2"},
        device={"choices": ["cpu", "cuda"], "default": "cpu", "help": "where learners compute; default: cpu"},
        profile={"action": "store_true", "help": "tell the largest costs of one iteration instead"},
    )
    started, before = time.perf_counter(), surroundings(options.device)
    if not contenders:
        contenders = PROFILED if options.profile else QUICK if options.quick else (*QUICK, *REST)
        contenders = ON_GPU if options.device == "cuda" else contenders
    contenders = tuple(who for who in contenders if not (options.runners and who.who == SB3))
    with tempfile.TemporaryDirectory() as folder:
        setting, dataset, caches = prepared(Path(folder), options.candles, contenders, options)
        with shared_ray():
            found = (profile if options.profile else race)(contenders, setting)
    layout, ppo = dataset.layout, setting.ppo
    print(
        f"\n{before['device']}; {layout.size:,} floats, {len(dataset.candles):,} bars; {ppo.n_envs} accounts, batch "
        f"{ppo.batch_size:,}, minibatch {ppo.minibatch}, {ppo.epochs} epochs; {options.runners} env runners, "
        f"{options.threads} torch threads; load before {before['load'][0]:.1f}"
    )
    print("caches of frozen encoders, built once: " + ", ".join(f"{name} {s:.0f} s" for name, s in caches.items()))
    write(
        options.json,
        "rl",
        quick=options.quick,
        machine=before | {"threads": options.threads, "runners": options.runners},
        seconds=time.perf_counter() - started,
        candles=options.candles.name if options.candles.is_dir() else "simulator",
        dataset={"fingerprint": dataset.fingerprint, "bars": len(dataset.candles), "floats": layout.size},
        ppo=dataclasses.asdict(ppo),
        cache_seconds=caches,
        **found,
    )


if __name__ == "__main__":
    main()
