"""Checks a cluster file on a laptop: it starts no machine, asks no provider and spends nothing.

Takes: the YAML of `ray up`, or manifests of KubeRay. Gives: the file's problems, one sentence each.

Four layers find them: Ray's own schema; the rules of this package, for what `ray up` accepts and the user then pays for
(Ray fills in a missing list of commands with its defaults, nothing ever asks for a `gpu` in lower case, `ray up` does
not report a worker whose setup fails); the provider's own description of a machine, where its library is installed; and
last what `ray up` itself does first.
"""

import contextlib
import io
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from ftray.capacity.cluster_file import ClusterFile, read_cluster_file
from ftray.capacity.machines import machine_problems, unknown_machines
from ftray.cluster.installing import INSTALLING
from ftray.cluster.kuberay import check_manifests
from ftray.cluster.providers import PROVIDERS
from ftray.cluster.schemas import FTRAY_SCHEMA, ray_schema, schema_errors
from ftray.cluster.settings import SETTINGS
from ftray.errors import SpecError


def check_cluster_file(path: Path) -> list[str]:
    """What is wrong with a cluster file: each problem names its key, what must hold, what came and what to do."""
    try:
        file = read_cluster_file(path)
    except SpecError as error:
        return [str(error)]
    if file.is_kubernetes:
        return list(check_manifests(file))
    tree = dict(file.tree)
    if file.provider == "local":  # the one provider that knows this key; the schema does not
        tree.pop("min_workers", None)
    wrong = [problem for schema in (ray_schema(), FTRAY_SCHEMA) for problem in schema_errors(tree, schema)]
    if wrong:  # the rules below trust the types of what they read
        return wrong
    rules: tuple[Callable[[ClusterFile], Iterator[str]], ...] = (*SETTINGS, *INSTALLING, *PROVIDERS, machine_problems)
    wrong = [problem for rule in rules for problem in rule(file)]
    return wrong or list(_ray_up_errors(file))


def unknown_to_check(path: Path) -> list[str]:
    """What only the provider can check in a file without problems: its machines of types that are not known here."""
    return list(unknown_machines(read_cluster_file(path)))


def _ray_up_errors(file: ClusterFile) -> Iterator[str]:
    """What `ray up` does first with a file: it fills in its defaults and validates the result."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    printed = io.StringIO()
    logging.getLogger("ray.autoscaler").setLevel(logging.ERROR)  # it warns of every mount that is a file
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            validate_config(prepare_config(json.loads(json.dumps(file.tree))))
    except (Exception, SystemExit) as error:
        words = str(error) or " ".join(printed.getvalue().split())
        yield f"{file.path.name}: `ray up` refuses it: {words.splitlines()[0]}"
