"""A cluster file, read and checked on a laptop: no machine is started, no provider is asked, nothing is spent.

Takes: the YAML of `ray up`, or a manifest of KubeRay. Gives: its problems, in words.

Four layers, each for what the one before does not see: Ray's own schema; rules of ours, for what `ray up` accepts and
then pays for (a command list left out is filled with Ray's defaults, a `gpu` in lower case is a resource nobody asks
for, a worker that fails in its setup is never told); the provider's own description of a machine, where its library is
installed; and, for what is left, what `ray up` itself does first.
"""

import contextlib
import io
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ftray.cluster.file import ClusterFile
from ftray.cluster.installing import INSTALLING
from ftray.cluster.kuberay import check_manifests
from ftray.cluster.providers import PROVIDERS
from ftray.cluster.settings import SETTINGS
from ftray.cluster.shapes import OURS, misshapen, of_ray


def check_cluster_file(path: Path) -> list[str]:
    """What is wrong with a cluster file: each problem names its key, what must hold, what came and what to do."""
    path = Path(path)
    try:
        trees = [tree for tree in yaml.load_all(path.read_text(), Loader=_OnceOnly) if tree is not None]
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        return [f"{path} must be a YAML file that can be read, but: {error}"]
    if not trees or not all(isinstance(tree, Mapping) for tree in trees):
        return [f"{path} must hold a mapping: a cluster file of `ray up`, or a manifest of KubeRay"]
    if any("apiVersion" in tree for tree in trees):
        return list(check_manifests(trees, path))
    file = ClusterFile(path, trees[0])
    tree = dict(file.tree)
    if file.provider == "local":  # the one provider that knows this key; the schema does not
        tree.pop("min_workers", None)
    wrong = [problem for schema in (of_ray(), OURS) for problem in misshapen(tree, schema)]
    if wrong:  # the rules below trust the types of what they read
        return wrong
    rules: tuple[Callable[[ClusterFile], Iterator[str]], ...] = (*SETTINGS, *INSTALLING, *PROVIDERS)
    wrong = [problem for rule in rules for problem in rule(file)]
    return wrong or list(_by_ray(file))


class _OnceOnly(yaml.SafeLoader):
    """Refuses a key that is given twice: YAML itself keeps the last one, and says nothing of the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for name, _ in node.value:
            if name.value in seen:
                raise yaml.YAMLError(f"{name.value} is given twice, the second time in line {name.start_mark.line + 1}")
            seen.add(name.value)
        return super().construct_mapping(node, deep)


def _by_ray(file: ClusterFile) -> Iterator[str]:
    """What `ray up` does first with a file: fills in its defaults and validates the result."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    said = io.StringIO()
    logging.getLogger("ray.autoscaler").setLevel(logging.ERROR)  # it warns of every mount that is a file
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            validate_config(prepare_config(json.loads(json.dumps(file.tree))))
    except (Exception, SystemExit) as error:
        words = str(error) or " ".join(said.getvalue().split())
        yield f"{file.path.name}: `ray up` refuses it: {words.splitlines()[0]}"
