"""The study files that come with ftray, found by name.

Takes: a path or a name. Gives: the path of a study file.

The files are in `tune_configs/` at the root of the repository. `ftray/tune_configs` is a symbolic link to that folder,
so that they are package data. A wheel, a source distribution, a cluster's job and Ray's packages contain the files
themselves. An editable installation, PYTHONPATH, an image and the copy of `ray up` follow the link; it is relative,
because both folders are next to each other there, too.
"""

from pathlib import Path

from ftray.errors import SpecError
from ftray.spec import nearest

FOLDER = Path(__file__).parent / "tune_configs"
SCHEMA = FOLDER / "study.schema.json"
"""The JSON Schema of study files, as `ftray schema` prints it, which editors complete and check them with."""


def shipped_studies() -> list[str]:
    """The names of the study files that come with ftray, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def find_study(file: Path | str) -> Path:
    """The study file at a path; where there is none, the one of that name that comes with ftray.

    Raises: SpecError with the known names for a file that is neither.

    >>> find_study("demo") == find_study("demo.yaml") == FOLDER / "demo.yaml"
    True
    >>> find_study("deom")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ftray.errors.SpecError: cannot read deom: no such file, and no study of that name comes with ftray; did you mean ...
    """
    path, known = Path(file), shipped_studies()
    if path.exists() and not path.is_dir():
        return path
    name = path.name.removesuffix(".yaml")
    if path.name == str(path) and name in known:
        return FOLDER / f"{name}.yaml"
    if path.is_dir():
        raise SpecError(
            f"cannot read {path}: it is a folder, and no study of that name comes with ftray; name a study file. "
            f"`ftray init {path}` writes one that fits the candles of a folder"
        )
    raise SpecError(
        f"cannot read {path}: no such file, and no study of that name comes with ftray; {nearest(name, known)}"
    )
