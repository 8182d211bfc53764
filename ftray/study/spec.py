"""Study files: a trial with holes and how to search it. `tune_configs/NAME.yaml` → `StudySpec` → `runs/NAME/`."""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml

from ftray.errors import SpecError
from ftray.spec import Count, Index, nearest, parse, spec, to_mapping
from ftray.study.space import Space
from ftray.trial.spec import TrialSpec

SECTIONS = ("name", "trial", "search")


@spec
class SearchSpec:
    """How a study searches.

    n_trials: RL trials in all, over every run of the command; pre-training jobs do not count.
    objective: the reported metric that is maximised, as it stands at a trial's end.
    max_concurrent: jobs at once; None means as many as the cluster has room for.
    max_failures: how often a trial whose process died (a lost node, a kill) goes on from its checkpoint.
    points: hand-written starting points, flat values by hole; holes they leave out are drawn.
    """

    n_trials: Count = 20
    objective: str = "validation/sharpe"
    sampler: Literal["tpe", "random"] = "tpe"
    seed: Index = 0
    max_concurrent: Count | None = None
    max_failures: Index = 2
    points: tuple[dict, ...] = ()


@dataclasses.dataclass(frozen=True)
class StudySpec:
    """A parsed study file."""

    name: str
    space: Space
    search: SearchSpec

    def trial(self, filled: Mapping[str, Any]) -> TrialSpec:
        """The trial that a filled tree describes."""
        return parse(TrialSpec, filled, path=("trial",))

    def only_trial(self, verb: str) -> TrialSpec:
        """The one trial of a file without holes.

        Raises: SpecError naming the holes, for a verb that runs a single thing.
        """
        if self.space.holes:
            raise SpecError(
                f"`ftray {verb}` runs a file without holes, and this one has {len(self.space.holes)}: "
                f"{', '.join(self.space.holes)}. Fill them with --set, or search them with `ftray tune`."
            )
        return self.trial(self.space.fill({}))

    @property
    def identity(self) -> dict[str, Any]:
        """What makes it the same study when the command is repeated: everything but the budget."""
        budget = {"n_trials", "max_concurrent", "max_failures"}
        search = {key: value for key, value in to_mapping(self.search).items() if key not in budget}
        return {"name": self.name, "trial": to_mapping(self.space.tree), "search": search}


def load_study(path: Path, overrides: Iterable[str] = ()) -> StudySpec:
    """The study in a YAML file, with `PATH=VALUE` overrides laid over it; every range is parsed at both ends.

    Raises: SpecError with the full path of the key that is unknown or wrong.
    """
    path = Path(path)
    try:
        tree = yaml.safe_load(path.read_text())
    except OSError as error:
        raise SpecError(f"cannot read {path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise SpecError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(tree, dict):
        raise SpecError(f"{path} must hold a mapping with: {', '.join(SECTIONS)}")
    for override in overrides:
        _override(tree, override)
    return parse_study(tree, default_name=path.stem)


def parse_study(tree: Mapping[str, Any], default_name: str = "study") -> StudySpec:
    """The study that a plain mapping describes."""
    for key in tree:
        if key not in SECTIONS:
            raise SpecError(f"no such key; {nearest(str(key), SECTIONS)}", (str(key),))
    name = tree.get("name", default_name)
    if not isinstance(name, str) or not name or "/" in name or name.startswith("."):
        raise SpecError(f"must be a folder's name, got {name!r}", ("name",))
    trial = tree.get("trial") or {}
    if not isinstance(trial, Mapping):
        raise SpecError(f"must be a mapping, got {trial!r}", ("trial",))
    study = StudySpec(
        name=name,
        space=Space(_with_absolute_paths(trial)),
        search=parse(SearchSpec, tree.get("search") or {}, path=("search",)),
    )
    for filled in study.space.ends():
        study.trial(filled)
    for number, point in enumerate(study.search.points):
        study.space.check_point(point, ("search", "points", str(number)))
    return study


def _override(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise SpecError(f"--set takes PATH=VALUE, like trial.ppo.epochs=4; got {override!r}")
    *parents, last = key.split(".")
    node: Any = tree
    for depth, part in enumerate(parents):
        if node.get(part) is None:
            node[part] = {}
        node = node[part]
        if not isinstance(node, dict) or "choice" in node:
            raise SpecError(f"--set cannot reach into {node!r}", tuple(parents[: depth + 1]))
    try:
        node[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SpecError(f"--set {override!r} has no valid YAML value: {error}") from None


def _with_absolute_paths(trial: Mapping[str, Any]) -> dict[str, Any]:
    """Paths made absolute: trials run in processes with another working directory."""
    market = trial.get("market")
    if isinstance(market, Mapping) and isinstance(market.get("path"), str):
        return {**trial, "market": {**market, "path": str(Path(market["path"]).expanduser().absolute())}}
    return dict(trial)
