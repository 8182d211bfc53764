"""Plug-ins: modules outside ftray, which register indicators, rewards, markets, encoders and samplers when imported.

Takes: names of modules, from a study file or from a user. Gives: the hash of each one's source. Only a name that the
user gives is imported, never one that a run folder or a policy folder holds.
"""

import ast
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ftray.errors import PluginError, SpecError
from ftray.families import OWN, hash_source, registered, source_files, source_path


def load_plugins(modules: Iterable[str], folder: Path | str | None = None) -> dict[str, str]:
    """Imports plug-ins: name of the module → hash of its source, which fingerprints of studies contain.

    modules: importable names, like `my_package.my_module`.
    folder: where a module is also looked for, after what is installed and before the working directory: the study
        file's. Both stay on `sys.path`, at its end.

    >>> import ftray
    >>> ftray.load_plugins([])
    {}

    Raises: PluginError for a module that is not found, raises at its import (the cause is kept), registers nothing, is
        hidden by another one of its name, or changed since this process imported it.
    """
    modules = list(modules)
    for module in modules:
        if module.endswith(".py") or not all(part.isidentifier() for part in module.split(".")):
            raise PluginError(
                f"a plug-in must be the name of a module, like my_package.my_module, got {module!r}: leave out "
                "folders and .py"
            )
    folders = [Path(place).absolute() for place in (*([folder] if folder else ()), Path.cwd())]
    if modules:
        sys.path += [str(place) for place in dict.fromkeys(folders) if str(place) not in sys.path]
        importlib.invalidate_caches()
    return {module: _loaded(module, folders) for module in modules}


def parse_plugins(given: Any, folder: Path | str | None = None) -> dict[str, str]:
    """Imports what the key `plugins` of a study file names.

    Raises: SpecError for no list; PluginError as `load_plugins`, and for a plug-in that imports a file next to it: no
        hash would contain that file, and no other machine get it.
    """
    if not isinstance(given, list | tuple) or not all(isinstance(module, str) for module in given):
        raise SpecError(f"must be a list of modules, like [my_indicators], got {given!r}", ("plugins",))
    loaded = load_plugins(given, folder)
    named = {module.partition(".")[0] for module in loaded}
    for module in loaded:
        for neighbour in sorted(_neighbours(module, [Path(folder or "."), Path.cwd()]) - named):
            raise PluginError(
                f"the plug-in {module} imports {neighbour}, which lies next to it and is no part of it, so that no "
                f"hash would tell when {neighbour} changes: make one package of both, or install {neighbour}"
            )
    return loaded


def carried() -> list[dict[str, str]]:
    """The plug-ins of this process as plain mappings, from which `load_carried` imports them in another process."""
    found = ((module, source_path(module), source) for module, source in registered().items())
    return [{"module": name, "folder": str(path.parent), "source": source} for name, path, source in found if path]


def load_carried(plugins: Iterable[Mapping[str, str]]) -> None:
    """Imports the plug-ins of another process, from this machine's own copy of them.

    Raises: PluginError where one is missing, or has another source here.
    """
    for plugin in plugins:
        module, source = plugin["module"], plugin["source"]
        found = registered().get(module) or load_plugins([module], plugin["folder"])[module]
        if found != source:
            raise PluginError(
                f"all processes of a study must have one version of the plug-in {module}: here, in "
                f"{source_path(module)}, it is {found}, and where the study is driven {source}. Install the same one, "
                "or leave it out here: `ftray submit` sends it"
            )


def check_loaded(recorded: Mapping[str, str], who: str) -> None:
    """Checks that this process has imported the plug-ins that a folder was made with, from the same source.

    recorded: module → hash of its source, as a run folder or a policy folder names them. who: the folder.

    Raises: PluginError for a plug-in that is not imported, with the option that imports it, or that has changed.
    """
    for module, source in recorded.items():
        found = _registered_source(module)
        if found is None:
            raise PluginError(
                f"{who} was made with the plug-in {module}, which is imported only where you name it: "
                f"--plugin {module}, or ftray.load_plugins([{module!r}])"
            )
        if found != source:
            raise PluginError(
                f"{who} was made with the plug-in {module} of source {source}, and it is {found} now, in "
                f"{source_path(module)}: a changed plug-in is another study. Undo the change, or run the study again "
                "under another name"
            )


def _registered_source(module: str) -> str | None:
    """The hash of an imported plug-in's source; a package counts by what its modules registered."""
    path, sources = source_path(module), registered()
    same = (name for name in sources if name == module or (path is not None and path == source_path(name)))
    return next((sources[name] for name in same), None) if module in sys.modules else None


def _loaded(module: str, folders: list[Path]) -> str:
    """Imports one plug-in; the hash of its source."""
    try:
        importlib.import_module(module)
    except (Exception, SystemExit) as error:
        missing = isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}.")
        raise PluginError(_not_found(module, folders) if missing else _broken(module, error)) from error
    path = source_path(module)
    top = module.partition(".")[0]
    for folder in folders:
        there = folder / f"{top}.py" if (folder / f"{top}.py").exists() else folder / top
        if not (there.is_file() or (there / "__init__.py").exists()):
            continue
        if path is None or path.resolve() != there.resolve():
            raise PluginError(
                f"the plug-in {module} must be the one in {there}, but this process has {path or 'another module'} "
                "under that name: remove that one, or give the plug-in a name that nothing else has"
            )
        break
    source = _registered_source(module)
    if source is None:
        raise PluginError(
            f"a plug-in must register something when it is imported, like INDICATORS.register(...), and {module} in "
            f"{path} does not"
        )
    if source != hash_source(module):
        raise PluginError(f"{path} changed since this process imported the plug-in {module}: start a new process")
    return source


def _neighbours(module: str, folders: list[Path]) -> set[str]:
    """Top-level modules that a plug-in in one of these folders imports from the same one; none of an installed one."""
    path, found = source_path(module), set[str]()
    if path is None or path.parent not in [folder.absolute() for folder in folders]:
        return found
    for file in source_files(module).values():
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return {name for name in found - {path.stem, OWN} if _lies_in(name, path.parent)}


def _lies_in(module: str, folder: Path) -> bool:
    """Whether a top-level module, imported or not, is a file or a package of a folder."""
    try:
        found = importlib.util.find_spec(module)
    except ValueError:  # __main__
        return False
    if found is None or not (found.has_location or found.submodule_search_locations):
        return False  # sys is built in, and os is frozen: their origins are no paths
    places = [found.origin, *(found.submodule_search_locations or ())]
    return any(Path(place).absolute().parent == folder for place in places if place)


def _not_found(module: str, folders: list[Path]) -> str:
    places = " or ".join(str(folder) for folder in dict.fromkeys(folders))
    return (
        f"no plug-in {module}: it must be installed, or be in {places}, as {module.partition('.')[0]}.py or a package"
    )


def _broken(module: str, error: BaseException) -> str:
    """What a module's import raised, and where: the last line that is neither the import system's nor ftray's."""
    own = str(Path(__file__).parent)
    frames = traceback.extract_tb(error.__traceback__)
    frames = [frame for frame in frames if "importlib" not in frame.filename and not frame.filename.startswith(own)]
    where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    if isinstance(error, SyntaxError):
        where = f" ({error.filename}, line {error.lineno})"
    return f"the plug-in {module} raises at its import: {type(error).__name__}: {error}{where}"
