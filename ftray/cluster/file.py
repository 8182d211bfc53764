"""The YAML of `ray up`, as the rules about it see it."""

import dataclasses
import functools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

COMMANDS = (
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
)
"""The lists of commands; one that is missing is filled with Ray's own."""


@dataclasses.dataclass(frozen=True)
class ClusterFile:
    """tree: what the file says; its types are right once Ray's schema has passed it."""

    path: Path
    tree: Mapping[str, Any]

    @property
    def provider(self) -> str:
        provider = self.tree.get("provider")
        return str(provider.get("type")) if isinstance(provider, Mapping) else ""

    @property
    def types(self) -> Mapping[str, Mapping[str, Any]]:
        """Node types by name; none for machines of one's own."""
        return self.tree.get("available_node_types") or {}

    @property
    def workers(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        return ((name, kind) for name, kind in self.types.items() if name != self.tree.get("head_node_type"))

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What Ray leaves to its users: `runs` and `worker`."""
        return self.tree.get("metadata") or {}

    @functools.cached_property
    def root(self) -> Path:
        """The project's folder, which `ray up` runs in and relative mounts begin at."""
        folders = self.path.resolve().parents
        return next((folder for folder in folders if (folder / "constraints.txt").exists()), Path.cwd())

    @functools.cached_property
    def constraints(self) -> dict[str, str]:
        """The tested versions by package, in lower case; empty without constraints.txt."""
        return read_constraints(self.root)

    def lines(self, *names: str) -> Iterator[tuple[str, str]]:
        """The lines of command lists, each with its key."""
        for name in names or COMMANDS:
            for number, line in enumerate(self.tree.get(name) or ()):
                yield f"{name}[{number}]", str(line)


def read_constraints(root: Path) -> dict[str, str]:
    """The versions in a folder's constraints.txt, by package in lower case with dashes."""
    try:
        text = (root / "constraints.txt").read_text()
    except OSError:
        return {}
    pins = re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE)
    return {canonical(name): version for name, version in pins}


def canonical(name: str) -> str:
    """A package's one name.

    >>> canonical("PyYAML"), canonical("dm_tree")
    ('pyyaml', 'dm-tree')
    """
    return re.sub(r"[-_.]+", "-", name).lower()
