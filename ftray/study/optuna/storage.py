"""Where Optuna keeps a study: a journal in its run folder, or a database that a team shares. Knows Optuna alone.

Takes: a study file's URL, a run folder. Gives: an empty Optuna storage and the study's name in it: its content is
derived, and rebuilt from the run folder whenever the study starts.

A password is never part of a URL, which ends up in files and on screens: libpq reads it from PGPASSWORD, or from
~/.pgpass with mode 600.
"""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Annotated

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from ftray.errors import MissingDependencyError, StorageError
from ftray.runs import RunFolder
from ftray.runs.folder import JOURNAL
from ftray.spec import Matching

CONNECT = {"connect_timeout": 10}
"""Seconds until a database that does not answer is given up."""

RUN = "run_folder"
"""The user attribute of a study in a database that names its run folder."""


DatabaseUrl = Annotated[
    str,
    Matching(
        r"postgresql://(?:[^@/:]*@)?[^@/]*/[\w-]+(?:\?(?!(?:[^@]*&)?password=)[^@]*)?",
        "postgresql://[USER@]HOST[:PORT]/DATABASE without a password, which PGPASSWORD or ~/.pgpass holds; or left out "
        "for a journal in the run folder",
        secret=True,
    ),
]


def name_in(url: str | None, name: str, run: RunFolder) -> str:
    """A study's name in its storage; in a database it differs from those of other studies with the same name."""
    return name if url is None else f"{name}-{run.id}"


def open_storage(url: str | None, name: str, run: RunFolder) -> BaseStorage:
    """The storage, without a study of that name.

    Raises: StorageError for a database that cannot be reached; MissingDependencyError.
    """
    if url is None:
        path = run.path / JOURNAL
        path.unlink(missing_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return JournalStorage(JournalFileBackend(str(path)))
    storage, ours = _database(url), name_in(url, name, run)
    known = {one.study_name: one._study_id for one in storage.get_all_studies()}
    if ours in known:
        storage.delete_study(known[ours])
    return storage


def check_database(url: str) -> None:
    """Raises: StorageError for a database that cannot be reached; MissingDependencyError. It writes nothing there."""
    _import_psycopg()
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError

    try:
        create_engine(_engine_url(url), connect_args=CONNECT).connect().close()
    except SQLAlchemyError as error:
        raise _unreachable(url, error) from None


def note_run(optuna_study: optuna.Study, run: RunFolder) -> None:
    """Stores the run folder's location in a shared database."""
    optuna_study.set_user_attr(RUN, str(run.location))


@contextlib.contextmanager
def translate_database_errors(url: str | None) -> Iterator[None]:
    """Translates the errors of a database that is lost while a study runs.

    Raises: StorageError.
    """
    if url is None:
        yield
        return
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        cause = error.__cause__ if isinstance(error.__cause__, SQLAlchemyError) else error
        raise StorageError(
            f"search.storage must stay reachable, but {url} answers: {_message(cause)}. Nothing is lost: the run "
            "folder is the truth, and the same command continues once the database is back"
        ) from None


def _database(url: str) -> RDBStorage:
    _import_psycopg()
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return RDBStorage(_engine_url(url), engine_kwargs={"connect_args": CONNECT, "pool_pre_ping": True})
    except SQLAlchemyError as error:
        raise _unreachable(url, error) from None


def _import_psycopg() -> None:
    try:
        import psycopg  # noqa: F401
    except ImportError:
        raise MissingDependencyError(
            "search.storage on PostgreSQL needs the package psycopg: pip install 'ftray[postgres]'"
        ) from None


def _engine_url(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://", 1)


def _unreachable(url: str, error: Exception) -> StorageError:
    return StorageError(
        f"search.storage must be a database that can be reached, but {url} answers: {_message(error)}; check the host, "
        "the database's name, the user, and the password in PGPASSWORD or ~/.pgpass"
    )


def _message(error: Exception) -> str:
    """A database's own message, on one line."""
    return " ".join(str(getattr(error, "orig", error)).split())
