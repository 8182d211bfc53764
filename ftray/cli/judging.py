"""Verbs that backtest trained policies."""

import argparse
from pathlib import Path

from ftray.cli.terminal import Add, a_moment, a_number, add_verb, live, location
from ftray.spec import LEAST_SEEDS, FreshSeeds
from ftray.storage import Location, is_url


def add_verbs(add: Add) -> None:
    verb = add_verb(add, backtest, "backtest a trained policy and the benchmarks on a window")
    verb.add_argument(
        "path", type=location, metavar="RUN|POLICY", help="a run folder (its best trial), or a policy folder"
    )
    verb.add_argument("--trial", metavar="ID", help="a trial of the run, like trial-0003 (default: the best)")
    verb.add_argument("--window", choices=("validation", "train"), help="of its own study (default: validation)")
    line = "a folder of candle files that have later bars: judge the policy on those; each look is recorded"
    verb.add_argument("--market", type=location, metavar="PATH", help=line)
    line = "judge bars of --market from this time on, UTC (default: after everything that the policy has seen)"
    verb.add_argument("--from", dest="from_", type=a_moment, metavar="DATE", help=line)
    verb.add_argument(
        "--to", type=a_moment, metavar="DATE", help="judge bars of --market before this time, UTC (default: all)"
    )
    line = "judge bars of --market that the policy has seen; this is recorded"
    verb.add_argument("--force", action="store_true", help=line)
    verb.add_argument("--out", type=Path, metavar="DIR", help="where files go (default: next to the policy)")
    line = "where the tear sheet goes, a file or a folder (default: into the folder of the other files)"
    verb.add_argument("--html", type=Path, metavar="FILE|DIR", help=line)
    _add_plugins(verb)
    verb = add_verb(add, promote, "train the best trial again on fresh seeds, and read the test window: once")
    verb.add_argument("run", type=location, metavar="RUN", help="a run folder, like runs/demo")
    verb.add_argument("--trial", metavar="ID", help="a trial of the run, like trial-0003 (default: the best)")
    line = f"fresh seeds to train, at least {LEAST_SEEDS} (default: 5)"
    verb.add_argument("--seeds", type=a_number(FreshSeeds), default=5, metavar="N", help=line)
    line = "train even where the trial's own ratios say that it will hardly pass (default: asks, on a terminal)"
    verb.add_argument("--yes", action="store_true", help=line)
    line = "train all seeds, and read the test window even if luck explains a ratio or it was read before; recorded"
    verb.add_argument("--force", action="store_true", help=line)
    _add_plugins(verb)


def _add_plugins(verb: argparse.ArgumentParser) -> None:
    line = "import this plug-in of the run; may be repeated. Without it, no module is imported because a run names it"
    verb.add_argument("--plugin", action="append", default=[], metavar="MODULE", help=line)


def backtest(given: argparse.Namespace) -> int:
    _check_market(given)
    _check_there(given.path)
    from ftray.boards.backtest import check_backtest_outputs, print_performance, write_backtest

    check_backtest_outputs(given.out or (None if is_url(given.path) else given.path), given.html)
    from ftray.errors import MissingDependencyError
    from ftray.market import moment
    from ftray.plugins import load_plugins
    from ftray.trial.judge import judge_folder, judge_later, performance_table

    load_plugins(given.plugin)
    if given.market is None:
        window = given.window or "validation"
        folder, backtests = judge_folder(given.path, given.trial, window)
        judged, name = f"on the {window} window", f"backtest-{window}"
    else:
        limits = {"from_": given.from_, "to": given.to, "force": given.force}
        folder, backtests = judge_later(given.path, given.trial, given.market, **limits)
        policy = backtests["policy"]
        judged = f"on later candles, {moment(policy.filled_at[0])} to {moment(policy.times[-1])}"
        name = "backtest-later"
    performance = performance_table(backtests)
    print_performance(performance)
    out = given.out or folder.parent / name
    print(f"\n{folder} {judged}; equity, weights and fills are in {out}")
    try:
        written = write_backtest(out, performance, backtests, f"{folder.parent.name} {judged}", given.html)
        print(f"tear sheet: {written}")
    except MissingDependencyError as error:
        print(f"no tear sheet: {error}")
    return 0


def _check_there(run: Location) -> None:
    """Refuses a path where nothing is at once: to open what is there takes seconds."""
    from ftray.errors import RunFolderError

    if not is_url(run) and not Path(run).is_dir():
        why = "is a file" if Path(run).exists() else "does not exist"
        raise RunFolderError(f"{run} must be a run folder, like runs/demo, and {why}; check the path")


def _check_market(given: argparse.Namespace) -> None:
    """Refuses options of later candles without any, and the other way around."""
    from ftray.errors import SpecError

    options = {"--from": given.from_, "--to": given.to, "--force": given.force}
    named = [option for option, value in options.items() if value]
    if given.market is None and named:
        raise SpecError(f"--market PATH must name the candles that {', '.join(named)} is about, and is missing")
    if given.market is not None and given.window:
        raise SpecError("--window is of the policy's own study, and --market has later bars: name one of the two")


def promote(given: argparse.Namespace) -> int:
    _check_there(given.run)
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
