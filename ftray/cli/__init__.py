"""The command line: verbs. Hyper-parameters live in files; every command imports what it needs when it runs."""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ftray.errors import FtrayError, SpecError, StudyInterruptedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ftray.results import RunFolder
    from ftray.study import StudySpec
    from ftray.trial.local import Say
    from ftray.trial.nodes import Node

VERSION = "0.1.0"

EXAMPLES = """examples:
  ftray check tune_configs/demo.yaml
  ftray tune tune_configs/crypto_1h.yaml --set trial.market.path=candles/binance_1h
  ftray results runs/crypto_1h
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; its exit status: 0, 1 an error told in words, 2 a wrong command line, 130 Ctrl-C."""
    given = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = given.command
    try:
        return command(given)
    except FtrayError as error:
        print(f"ftray: {error}", file=sys.stderr)
        return 130 if isinstance(error, StudyInterruptedError) else 1
    except KeyboardInterrupt:
        print("\nftray: stopped; what was finished is kept, the same command continues", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `ftray results RUN | head`
        sys.stderr.close()
        return 0
    except OSError as error:  # a full disk, a folder that may not be written
        print(f"ftray: {error.strerror}: {error.filename or 'while writing'}", file=sys.stderr)
        return 1


def check(given: argparse.Namespace) -> int:
    from ftray.nets.gpus import local_gpu, parse_gpu
    from ftray.study.check import describe_study

    gpu = parse_gpu(given.gpu) if given.gpu else local_gpu()
    for line in describe_study(_study(given), gpu):
        print(line)
    return 0


def vram(given: argparse.Namespace) -> int:
    if given.measure:
        return _measure(given)
    from ftray.study.vram import describe_vram

    if given.file is None:
        raise SpecError("`ftray vram` tells the plan of a FILE; without one it only measures: ftray vram --measure")
    for line in describe_vram(_study(given), _nodes(given)):
        print(line)
    return 0


def _measure(given: argparse.Namespace) -> int:
    from ftray.nets.measuring import describe_measured, measure
    from ftray.nets.memory import TABLE

    workers = [row.worker for row in TABLE]
    if given.file:
        from ftray.study.vram import workers_of

        workers += workers_of(_study(given))
    for line in describe_measured(measure(workers)):
        print(line, flush=True)
    return 0


def _nodes(given: argparse.Namespace) -> "tuple[Node, ...]":
    """What a plan is for: a GPU or cluster file that is named, the cluster of RAY_ADDRESS, or the GPU at hand."""
    from ftray.nets.gpus import local_gpu, parse_gpu
    from ftray.trial.nodes import Node, nodes_of_file

    if given.cluster:
        return nodes_of_file(given.cluster)
    if not given.gpu and os.environ.get("RAY_ADDRESS"):
        from ftray.trial.local import local_ray, nodes_at_hand

        with local_ray():
            return nodes_at_hand()
    gpu = parse_gpu(given.gpu) if given.gpu else local_gpu()
    if gpu is None:
        raise SpecError("no GPU is at hand to plan for: name one (--gpu NAME|GIB) or a cluster file (--cluster FILE)")
    return (Node("a GPU by itself", 1, float("inf"), 1, gpu),)


def tune(given: argparse.Namespace) -> int:
    from ftray.study.run import run_study

    study = _study(given)
    with _live() as (say, show):
        run = run_study(study, given.runs, say, show, given.retry_failed)
    _finish(run)
    if not any(record.state == "COMPLETE" for record in run.trials()):
        print("ftray: no trial of this study succeeded; the first error is above", file=sys.stderr)
        return 1
    return 0


def train(given: argparse.Namespace) -> int:
    from ftray.trial.standalone import train

    study = _study(given)
    spec = study.only_trial("train")
    run = _run_folder(given, study)
    if run.is_done:
        print(f"{run.path} is finished: nothing to run")
    else:
        train(spec, run)
    _finish(run)
    return 0


def pretrain(given: argparse.Namespace) -> int:
    from ftray.trial.standalone import pretrain_alone

    study = _study(given)
    cards = pretrain_alone(study.only_trial("pretrain"), _run_folder(given, study))
    for card in cards:
        print(f"best encoder: {card.path}")
    if len(cards) == 1:  # of several folds, each trains on bars that another is validated on
        print(f"Use it: ftray train FILE --set trial.encoder.pretrained={cards[0].path}")
    return 0


def results(given: argparse.Namespace) -> int:
    from ftray.results import RunFolder

    _show(RunFolder.open(given.run))
    return 0


def backtest(given: argparse.Namespace) -> int:
    from ftray.results.backtests import print_performance, write_backtest
    from ftray.trial.judge import judge_folder, performance_table

    folder, judged = judge_folder(given.path, given.trial, given.window)
    performance = performance_table(judged)
    print_performance(performance)
    policy = judged["policy"]
    written = write_backtest(
        given.out or folder.parent / f"backtest-{given.window}",
        performance,
        policy.times,
        {name: outcome.equity for name, outcome in judged.items()},
        policy.symbols,
        policy.weights,
        policy.notional,
    )
    print(f"\n{folder} on the {given.window} window; equity, weights, fills and a plot are in {written}")
    return 0


def promote(given: argparse.Namespace) -> int:
    from ftray.results import RunFolder
    from ftray.results.reads import print_reads
    from ftray.study.promote import promote, promotion_told

    with _live() as (say, _):
        promotion = promote(given.run, given.trial, n_seeds=given.seeds, force=given.force, say=say)
    print("", *promotion_told(promotion), "", sep="\n")
    print_reads(RunFolder.open(given.run))
    print(f"The policies: {given.run / 'promoted' / promotion.trial}/seed-*/policy")
    return 0


def _study(given: argparse.Namespace) -> "StudySpec":
    from ftray.study import load_study

    return load_study(given.file, given.set)


def _run_folder(given: argparse.Namespace, study: "StudySpec") -> "RunFolder":
    from ftray.study.opening import open_run

    return open_run(study, given.runs)


@contextlib.contextmanager
def _live() -> "Iterator[tuple[Say, Say]]":
    """Lines that stay, and on a terminal one below them that is always the latest."""
    from rich.console import Console

    if not sys.stdout.isatty():
        yield lambda line: print(line, flush=True), lambda line: None
        return
    console = Console()
    with console.status("starting") as status:
        yield lambda line: console.print(line, markup=False, highlight=False), status.update


def _finish(run: "RunFolder") -> None:
    _show(run)
    print(f"\nEverything is in {run.path}: a folder per trial, trials.parquet, the encoders, and the policies.")
    print(f"Next: ftray backtest {run.path}    the best trial beside the benchmarks, with a plot")
    print(f"      ftray results {run.path}     this table again")
    print(f"      ftray promote {run.path}     the best trial on fresh seeds, and the one look at the test window")


def _show(run: "RunFolder") -> None:
    from ftray.results import print_encoders, print_front, print_leaderboard
    from ftray.results.luck import print_luck
    from ftray.results.reads import print_reads

    print_encoders(run)
    print_leaderboard(run)
    print_front(run)
    print_luck(run)
    print_reads(run)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ftray",
        description="Find the encoder, pre-training and PPO settings whose trading policy holds up out of sample.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {VERSION}")
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command, line in (
        (check, "parse a study with every range at both ends and tell its sizes; starts nothing"),
        (vram, "tell what the trials of a study get of a GPU, or measure what they need"),
        (pretrain, "pre-train the encoder of a file without holes"),
        (train, "run the one trial of a file without holes"),
        (tune, "run a study, or continue it"),
    ):
        verb = verbs.add_parser(command.__name__, help=line, description=line[0].upper() + line[1:] + ".")
        n = "?" if command is vram else None
        verb.add_argument("file", type=Path, metavar="FILE", nargs=n, help="a file like those in tune_configs/")
        verb.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="PATH=VALUE",
            help="override a field, like trial.ppo.epochs=4; may be repeated",
        )
        if command is tune:
            line = "let failed trials, which stay failed otherwise, go on from their checkpoints"
            verb.add_argument("--retry-failed", action="store_true", help=line)
        if command in (check, vram):
            _add_gpu(verb, with_clusters=command is vram)
        else:
            verb.add_argument(
                "--runs", type=Path, default=Path("runs"), metavar="DIR", help="where run folders lie (default: runs)"
            )
        verb.set_defaults(command=command)
    line = "print a run's leaderboard"
    verb = verbs.add_parser("results", help=line, description=line[0].upper() + line[1:] + ".")
    verb.add_argument("run", type=Path, metavar="RUN", help="a run folder, like runs/demo")
    verb.set_defaults(command=results)
    line = "judge a trained policy on a window, beside the benchmarks"
    verb = verbs.add_parser("backtest", help=line, description=line[0].upper() + line[1:] + ".")
    verb.add_argument("path", type=Path, metavar="RUN|POLICY", help="a run folder (its best trial), or a policy folder")
    verb.add_argument("--trial", metavar="ID", help="a trial of the run, like trial-0003 (default: the best)")
    verb.add_argument("--window", choices=("validation", "train"), default="validation", help="default: validation")
    verb.add_argument("--out", type=Path, metavar="DIR", help="where files go (default: beside the policy)")
    verb.set_defaults(command=backtest)
    _add_promote(verbs.add_parser)
    return parser


def _add_promote(add: Callable[..., argparse.ArgumentParser]) -> None:
    line = "train the best trial anew on fresh seeds, and read the test window: once"
    verb = add("promote", help=line, description=line[0].upper() + line[1:] + ".")
    verb.add_argument("run", type=Path, metavar="RUN", help="a run folder, like runs/demo")
    verb.add_argument("--trial", metavar="ID", help="a trial of the run, like trial-0003 (default: the best)")
    verb.add_argument("--seeds", type=int, default=5, metavar="N", help="fresh seeds to train (default: 5)")
    line = "read it although luck explains the figures, or although it was read before; this is recorded"
    verb.add_argument("--force", action="store_true", help=line)
    verb.set_defaults(command=promote)


def _add_gpu(verb: argparse.ArgumentParser, with_clusters: bool) -> None:
    where = verb.add_mutually_exclusive_group()
    line = "plan for this GPU: a model, like T4 or RTX-3060, or the GiB that it reports (default: the one at hand)"
    where.add_argument("--gpu", metavar="NAME|GIB", help=line)
    if with_clusters:
        where.add_argument("--cluster", type=Path, metavar="CLUSTER.yaml", help="plan for a cluster file of `ray up`")
        line = "measure the rows of the VRAM table, and FILE's trials, on the GPU at hand, for this and later plans"
        where.add_argument("--measure", action="store_true", help=line)
