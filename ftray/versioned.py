"""One object on object storage that several processes replace: a write names the version that it replaces.

Takes: a URL. Gives: `VersionedObject`. Its writes are conditional PUTs (If-None-Match, If-Match), which the server
refuses where another process wrote in between, however long a request is on its way.

pyarrow, which brings everything else here and back, has no conditional PUT; obstore has, for all schemes that
`ftray.storage` knows, and is one wheel without dependencies. Both find credentials, endpoint and region in the same
places: boto3 and azure-identity, from the extras `aws` and `azure`, read what obstore does not (`~/.aws`, `az login`).
"""

import contextlib
import dataclasses
import datetime
from collections.abc import Iterator, Mapping
from typing import Any

from ftray.errors import MissingDependencyError, StorageError
from ftray.storage import storage_error, system_of

Version = Mapping[str, str]
"""An entity tag, a generation number, or both, as the server names them."""


class ChangedError(Exception):
    """The object is no longer the version that was to be replaced."""


@dataclasses.dataclass(frozen=True)
class Versioned:
    """What an object held when it was read."""

    content: bytes
    version: Version


class VersionedObject:
    """Reads and replaces one object. Everything raises StorageError where the storage cannot be reached or refuses."""

    def __init__(self, url: str):
        """Raises: MissingDependencyError where obstore is not installed."""
        self.url = url
        with self._translate_errors():
            self._store, self._name = _connect(url)

    def read(self) -> Versioned | None:
        """The object as it is now; None if there is none."""
        import obstore

        with self._translate_errors():
            try:
                found = obstore.get(self._store, self._name)
            except FileNotFoundError:
                return None
            return Versioned(bytes(found.bytes()), _version(found.meta))

    def put(self, content: bytes, replaces: Version | None) -> Version:
        """Writes the object in place of that version, or where there is none; the new version.

        Raises: ChangedError where there is another version by then, or none. Where the answer to a request was lost and
        the request was sent again, that version may be this very content.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with self._translate_errors():
            try:
                mode: Any = "create" if replaces is None else dict(replaces)
                return _version(obstore.put(self._store, self._name, content, mode=mode, use_multipart=False))
            except (AlreadyExistsError, PreconditionError):
                raise ChangedError(self.url) from None
            except FileNotFoundError as error:
                if replaces is None:
                    raise storage_error(self.url, error) from None  # there is no such bucket
                raise ChangedError(self.url) from None

    def check_conditions(self) -> None:
        """Tries a write that must be refused, as the object is there. Raises: StorageError if it is not."""
        with contextlib.suppress(ChangedError):
            self.put(b"", None)
            self.delete()
            raise StorageError(
                f"{self.url} must lie on a server that honours If-None-Match and If-Match, and this one wrote over an "
                "object in spite of them: update the server, or name a folder on a disk"
            )

    def delete(self) -> None:
        """Deletes the object, whatever its version; one that is not there is no error."""
        import obstore

        with self._translate_errors(), contextlib.suppress(FileNotFoundError):
            obstore.delete(self._store, self._name)

    @contextlib.contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            from obstore.exceptions import BaseError
        except ImportError:
            raise MissingDependencyError(
                f"{self.url} needs the package obstore, which is not installed: pip install 'ftray[storage]'"
            ) from None
        try:
            yield
        except (BaseError, OSError, ValueError) as error:
            raise storage_error(self.url, error) from None


def _connect(url: str) -> tuple[Any, str]:
    """The store of the folder that an object lies in, and the object's name there."""
    from obstore.store import from_url

    folder, _, name = url.rpartition("/")
    settings: dict[str, Any] = {
        "client_options": {"allow_http": True},  # where AWS_ENDPOINT_URL names a server without TLS
        "retry_config": {"max_retries": 4, "retry_timeout": datetime.timedelta(minutes=1)},
    }
    scheme = url.partition("://")[0]
    if scheme == "s3":
        settings["region"] = system_of(folder)[0].region  # pyarrow asks for the bucket's
        with contextlib.suppress(ImportError):
            import botocore.session
            from obstore.auth.boto3 import Boto3CredentialProvider

            # A session of botocore brings no region of its own.
            settings["credential_provider"] = Boto3CredentialProvider(botocore.session.Session())
    if scheme in ("abfs", "abfss"):
        with contextlib.suppress(ImportError):
            from obstore.auth.azure import AzureCredentialProvider

            settings["credential_provider"] = AzureCredentialProvider()
    return from_url(folder, **settings), name


def _version(meta: Mapping[str, Any]) -> Version:
    return {key: meta[key] for key in ("e_tag", "version") if meta.get(key) is not None}
