"""Every error that ftray raises on purpose.

A message says what must hold, what was given, and what to do. The command line prints it alone, without a traceback.

    FtrayError
    ├── SpecError (ValueError)
    ├── PluginError
    ├── DataError (ValueError)
    │   └── MissingCandlesError
    ├── WeightsError
    ├── TrainingError
    │   └── OutOfMemoryError
    ├── RunFolderError
    ├── QueryError (LookupError)
    │   └── MetricError
    ├── NoResultError
    ├── StorageError
    ├── OutputError
    ├── LockedError
    ├── StudyInterruptedError
    ├── RefusedError
    ├── NeverPlacedError
    ├── UnusableGpuError
    ├── ClusterError
    └── MissingDependencyError (ImportError)

Candles of which a policy learns less than it seems are no error: `DataWarning` is a warning of Python.
"""


class FtrayError(Exception):
    """Root of the tree: an error with a message meant for the user."""


class SpecError(FtrayError, ValueError):
    """A description (file, mapping or keyword arguments) that cannot be parsed.

    problem: what must hold, what was given, what to do.
    path: of the key that is wrong, `("trial", "ppo", "clip")`; where a spec checks itself, from that spec on.
    """

    def __init__(self, problem: str, path: tuple[str, ...] = ()):
        self.problem, self.path = problem, path
        super().__init__(f"{'.'.join(path)}: {problem}" if path else problem)

    def within(self, *prefix: str) -> "SpecError":
        """The same error, seen from further out in the tree: with `prefix` before its path."""
        return SpecError(self.problem, (*prefix, *self.path))


class PluginError(FtrayError):
    """A plug-in that cannot be used: not found, broken, its name taken, another source than a study's, or unnamed."""


class DataError(FtrayError, ValueError):
    """Candles that cannot be used: a broken file, no common times, too few bars."""


class DataWarning(UserWarning):
    """Candles that can be used, and of which a policy learns less than it seems."""


class MissingCandlesError(DataError):
    """Candles that are not on this machine."""


class WeightsError(FtrayError):
    """Weights or a checkpoint that do not fit, are damaged, or did not arrive where they must be."""


class TrainingError(FtrayError):
    """Training that cannot continue: a loss that is not finite, no samples."""


class OutOfMemoryError(TrainingError):
    """A GPU's memory that a trial did not fit into.

    message: what was planned, what was used, what to do.
    process: who asked for more, the learner or an env runner.
    """

    def __init__(self, message: str, process: str = "learner"):
        self.process = process
        super().__init__(message)


class RunFolderError(FtrayError):
    """A run folder that is missing or damaged, or that belongs to another study."""


class QueryError(FtrayError, LookupError):
    """A question that names something unknown: a trial, a metric, a table, a column, an encoder."""


class MetricError(QueryError):
    """A metric that is not in `ftray.metrics.METRICS`, or that is asked for what it does not have, like a direction."""


class NoResultError(FtrayError):
    """A question that a study has no answer to, or none yet: no finished trial, no bars, no policy."""


class StorageError(FtrayError):
    """Object storage that cannot be reached, read or written, or a location that is none."""


class OutputError(FtrayError):
    """A path that nothing can be written to: a folder or a device where a file must be, not writable, a full disk."""


class LockedError(FtrayError):
    """A lock that another process holds."""


class StudyInterruptedError(FtrayError):
    """A study that was stopped before its budget was spent; the same command continues it."""


class RefusedError(FtrayError):
    """A step that the metrics or earlier reads speak against; `--force` takes it anyway, and is recorded."""


class NeverPlacedError(FtrayError):
    """A request for resources that the cluster had no room for, however long it waited."""


class UnusableGpuError(FtrayError):
    """GPUs that Ray counts and books, and that PyTorch cannot use, or that are smaller than planned."""


class ClusterError(FtrayError):
    """A cluster that cannot be reached, or that refuses what it is asked for."""


class MissingDependencyError(FtrayError, ImportError):
    """An optional dependency that is not installed; the message holds the install line."""
