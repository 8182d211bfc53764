"""Verbs that backtest trained policies."""

import argparse
from pathlib import Path

from ftray.cli.terminal import Add, add_verb, live, location


def add_verbs(add: Add) -> None:
    verb = add_verb(add, backtest, "backtest a trained policy and the benchmarks on a window")
    verb.add_argument(
        "path", type=location, metavar="RUN|POLICY", help="a run folder (its best trial), or a policy folder"
    )
    verb.add_argument("--trial", metavar="ID", help="a trial of the run, like trial-0003 (default: the best)")
    verb.add_argument("--window", choices=("validation", "train"), default="validation", help="default: validation")
    verb.add_argument("--out", type=Path, metavar="DIR", help="where files go (default: next to the policy)")
    _add_plugins(verb)
    verb = add_verb(add, promote, "train the best trial again on fresh seeds, and read the test window: once")
    verb.add_argument("run", type=location, metavar="RUN", help="a run folder, like runs/demo")
    verb.add_argument("--trial", metavar="ID", help="a trial of the run, like trial-0003 (default: the best)")
    line = "fresh seeds to train, at least 3 (default: 5)"
    verb.add_argument("--seeds", type=int, default=5, metavar="N", help=line)
    line = "train even where the trial's own ratios say that it will hardly pass (default: asks, on a terminal)"
    verb.add_argument("--yes", action="store_true", help=line)
    line = "train all seeds, and read the test window even if luck explains a ratio or it was read before; recorded"
    verb.add_argument("--force", action="store_true", help=line)
    _add_plugins(verb)


def _add_plugins(verb: argparse.ArgumentParser) -> None:
    line = "import this plug-in of the run; may be repeated. Without it, no module is imported because a run names it"
    verb.add_argument("--plugin", action="append", default=[], metavar="MODULE", help=line)


def backtest(given: argparse.Namespace) -> int:
    from ftray.boards.backtest import print_performance, write_backtest
    from ftray.plugins import load_plugins
    from ftray.trial.judge import judge_folder, performance_table

    load_plugins(given.plugin)
    folder, backtests = judge_folder(given.path, given.trial, given.window)
    performance = performance_table(backtests)
    print_performance(performance)
    policy = backtests["policy"]
    written = write_backtest(
        given.out or folder.parent / f"backtest-{given.window}",
        performance,
        policy.times,
        {name: outcome.equity for name, outcome in backtests.items()},
        policy.symbols,
        policy.weights,
        policy.notional,
    )
    print(f"\n{folder} on the {given.window} window; equity, weights, fills and a plot are in {written}")
    return 0


def promote(given: argparse.Namespace) -> int:
    from ftray.boards.printing import print_reads
    from ftray.plugins import load_plugins
    from ftray.runs import RunFolder
    from ftray.study.promote import promote
    from ftray.study.promotion.outcome import describe_promotion

    load_plugins(given.plugin)
    with live() as (say, show, ask):

        def agree(question: str) -> bool:
            say(f"{question} yes, by --yes")
            return True

        answer = agree if given.yes else ask
        promotion = promote(
            given.run, given.trial, n_seeds=given.seeds, force=given.force, ask=answer, say=say, show=show
        )
    print("", *describe_promotion(promotion), "", sep="\n")
    run = RunFolder.open(given.run)
    print_reads(run)
    print(f"The policies: {run.where}/promoted/{promotion.trial}/seed-*/policy")
    return 0
