"""`study.json`: the study of a run folder, written once.

Takes: a study as a plain mapping. Gives: the file, its content, and how two studies differ; `StudyFolder`, a folder
that has one.
"""

import datetime
import functools
import importlib.metadata
import json
import platform
import re
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ftray.errors import RunFolderError
from ftray.files import replace_file
from ftray.runs.events import to_json
from ftray.runs.location import Located
from ftray.runs.version_0_1 import upgrade_study
from ftray.spec import NUMBER, fingerprint
from ftray.version import __version__

FORMAT = 1
"""Number of the run folder's format; raised when an older reader would misread a newer folder."""

VERSIONS_OF = ("torch", "ray", "optuna", "numpy")


class StudyFolder(Located):
    """A folder with a `study.json`: which study it is of."""

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def study(self) -> dict[str, Any]:
        """The resolved study: the mapping it was created with, in this version's form."""
        return self._content["study"]

    @property
    def fingerprint(self) -> str:
        return self._content["fingerprint"]

    @property
    def id(self) -> str:
        """Its own name, which no other run folder has, not even one of the same study; 12 hex digits."""
        return self._content.get("id") or fingerprint(self._content["created_at"], self.fingerprint)[:12]

    @property
    def versions(self) -> dict[str, str]:
        """Versions of Python and the libraries at creation."""
        return self._content["versions"]

    @functools.cached_property
    def _content(self) -> dict[str, Any]:
        return read_study(self.path / "study.json")


def write_study(path: Path, study: Mapping[str, Any]) -> None:
    content = {
        "format": FORMAT,
        "id": secrets.token_hex(6),
        "fingerprint": fingerprint(study),
        "created_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": dict(versions()),
        "study": study,
    }
    replace_file(path, to_json(content, indent=2).encode())


def read_study(path: Path) -> dict[str, Any]:
    """The content of a `study.json`.

    Raises: RunFolderError if it is missing, damaged, or of another format.
    """
    try:
        content = json.loads(path.read_bytes())
        found, versions = content["format"], dict(content["versions"])
        content["study"], _ = upgrade_study(content["study"]), content["fingerprint"]
    except FileNotFoundError:
        raise RunFolderError(f"{path.parent} is no run folder: it has no {path.name}; check the path") from None
    except (ValueError, LookupError, TypeError) as error:
        raise RunFolderError(f"{path} must describe a study, but is damaged ({error!r}); restore the file") from None
    if found != FORMAT:
        raise RunFolderError(
            f"{path.parent} must have run folder format {FORMAT}, got {found!r}; open it with the ftray version that "
            f"wrote it ({versions.get('ftray', 'unknown')})"
        )
    return content


def differences(old: Any, new: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Every place where two plain mappings differ, as `key.of.the.place: old → new`.

    A number is the text of it, which earlier versions stored of `1e-4`.
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from differences(old.get(key, "(absent)"), new.get(key, "(absent)"), (*path, key))
    elif old != new and _as_numbers(old) != _as_numbers(new):
        yield f"{'.'.join(path)}: {old!r} → {new!r}"


def _as_numbers(value: Any) -> Any:
    """A plain value with numbers in place of texts that are numbers."""
    if isinstance(value, list):
        return [_as_numbers(one) for one in value]
    if isinstance(value, Mapping):
        return {key: _as_numbers(one) for key, one in value.items()}
    return float(value) if isinstance(value, str) and re.fullmatch(NUMBER, value) else value


def versions() -> Iterator[tuple[str, str]]:
    """Python, ftray and the libraries that results depend on."""
    yield "python", platform.python_version()
    yield "ftray", __version__
    for package in VERSIONS_OF:
        try:
            yield package, importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
