"""What a person sees of a pre-training job: a bar on a terminal, a line per epoch elsewhere, or nothing."""

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from ftray.say import Say


class ProgressBar(NamedTuple):
    """on_batch: called after every batch. on_epoch: called with a line about the epoch."""

    on_batch: Callable[[], None]
    on_epoch: Say


@contextlib.contextmanager
def show_progress(wanted: bool, n_batches: int, n_done: int) -> Iterator[ProgressBar]:
    """n_batches: of the whole job; n_done: those that an earlier run has done."""
    if not wanted:
        yield ProgressBar(lambda: None, lambda line: None)
    elif not sys.stdout.isatty():
        yield ProgressBar(lambda: None, lambda line: print(line, flush=True))
    else:
        from rich import progress

        columns = (progress.TextColumn("pre-training"), progress.BarColumn(), progress.TaskProgressColumn())
        with progress.Progress(*columns, progress.TimeRemainingColumn()) as bar:
            task = bar.add_task("", total=n_batches, completed=n_done)
            print_above = functools.partial(bar.console.print, markup=False, highlight=False)
            yield ProgressBar(lambda: bar.advance(task), print_above)


def epoch_line(row: Mapping[str, Any], n_epochs: int) -> str:
    """One epoch of the history, for people."""
    return (
        f"epoch {row['epoch']}/{n_epochs}  train {row['train_loss']:.4f}  validation {row['validation_loss']:.4f}  "
        f"(masked {row['validation_masked_loss']:.4f}, pooled {row['validation_pooled_loss']:.4f})  "
        f"lr {row['learning_rate']:.1e}  {row['seconds']:.1f} s"
    )
