"""The command line: verbs. Hyper-parameters live in files; every command imports what it needs at run time.

drafting  help to write study files: init, schema
studies   start work: check, vram, pretrain, train, tune
judging   evaluate a trained policy: backtest, promote
clusters  run studies on a cluster: submit, status, fetch
looking   print results: results
boards    show results as pages: dashboard, report
"""

import argparse
import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ftray.cli import boards, clusters, drafting, judging, looking, studies
from ftray.cli.terminal import ReaderGoneError, StandardOutput
from ftray.errors import DataWarning, FtrayError, StudyInterruptedError
from ftray.outputs import describe_os_error
from ftray.signals import sigterm_like_ctrl_c
from ftray.version import __version__

EXAMPLES = """examples:
  ftray init candles/binance_1h
  ftray check demo
  ftray tune crypto_1h --set trial.market.path=candles/binance_1h
  ftray results runs/crypto_1h
  ftray dashboard runs/crypto_1h
"""

INTERRUPTED, TERMINATED = 130, 143
"""Exit statuses as shells have them: 128 and the number of SIGINT or SIGTERM."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit status: 0, 1 for an error, 2 for a wrong command line, 130 for Ctrl-C, and 143
    for SIGTERM, which ends a command like Ctrl-C."""
    with sigterm_like_ctrl_c() as came, _short_warnings():
        status = _run(arguments)
    return TERMINATED if status == INTERRUPTED and came else status


@contextlib.contextmanager
def _short_warnings() -> Iterator[None]:
    """Prints what is odd in candles in one line, each once; other warnings as Python does."""
    with warnings.catch_warnings():
        warnings.filterwarnings("always", category=DataWarning)
        usual, printed = warnings.showwarning, set[str]()

        def show(message: Warning | str, category: type[Warning], *where: Any) -> None:
            if not issubclass(category, DataWarning):
                usual(message, category, *where)
            elif str(message) not in printed:
                printed.add(str(message))
                print(f"ftray: warning: {message}", file=sys.stderr)

        warnings.showwarning = show
        yield


def _run(arguments: Sequence[str] | None) -> int:
    try:
        with contextlib.redirect_stdout(StandardOutput(sys.stdout)):  # type: ignore[type-var]  # prints ask for no more
            given, unknown = _parser().parse_known_args(arguments)
            if unknown:  # argparse would print the usage of `ftray` itself, which does not have the verb's options
                given.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
            command: Callable[[argparse.Namespace], int] = given.command
            status = command(given)
            sys.stdout.flush()
        return status
    except FtrayError as error:
        print(f"ftray: {error}", file=sys.stderr)
        return INTERRUPTED if isinstance(error, StudyInterruptedError) else 1
    except KeyboardInterrupt:
        print("\nftray: stopped; finished work is kept, and the same command continues", file=sys.stderr)
        return INTERRUPTED
    except ReaderGoneError:
        sys.stderr.close()
        return 0
    except OSError as error:  # a full disk, a folder that may not be written
        print(f"ftray: {describe_os_error(error)}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ftray",
        description="Find the encoder, pre-training and PPO settings whose trading policy holds up out of sample.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for group in (drafting, studies, clusters, looking, boards, judging):
        group.add_verbs(verbs.add_parser)
    return parser
