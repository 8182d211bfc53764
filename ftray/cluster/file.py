"""The YAML of `ray up`, as the rules about it see it."""

import dataclasses
import functools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ftray.errors import SpecError

COMMANDS = (
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
)
"""The lists of commands; one that is missing is filled with Ray's own."""


PLACEHOLDER = re.compile(r"\bYOUR-[A-Z-]+")
"""What the files of `cluster/` hold where the user must fill something in."""


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
        found = self.tree.get("metadata")
        return found if isinstance(found, Mapping) else {}

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


def read_cluster_file(path: Path) -> ClusterFile:
    """A cluster file of `ray up`, for whoever speaks to the cluster that it describes.

    Raises: SpecError for a file that cannot be read, or a KubeRay manifest: no `ray` command reaches its head by it.
    """
    try:
        tree = next(yaml.safe_load_all(Path(path).read_text()), None)
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} must be a cluster file of `ray up`, but cannot be read: {error}") from None
    if not isinstance(tree, Mapping):
        raise SpecError(f"{path} must be a cluster file of `ray up`, got {type(tree).__name__}")
    if "apiVersion" in tree:
        raise SpecError(
            f"{path} is for Kubernetes, whose own tunnel leads to the head: `kubectl port-forward "
            "service/NAME-head-svc 8265`, then --address http://127.0.0.1:8265 in place of --cluster"
        )
    return ClusterFile(Path(path), tree)


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
