"""Study files: a trial with holes and how to search it. `tune_configs/NAME.yaml` → `StudySpec` → `runs/NAME/`."""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml

from ftray.errors import SpecError
from ftray.spec import Between, Count, Index, nearest, parse, spec, to_mapping
from ftray.study.space import Space
from ftray.trial.metrics import metric_names
from ftray.trial.spec import TrialSpec

SECTIONS = ("name", "trial", "search")


@spec
class NoSchedulerSpec:
    """Every trial runs to its end."""

    kind: Literal["none"] = "none"


@spec
class AshaSpec:
    """Asynchronous successive halving (Li et al. 2020): at each rung the best 1/`reduction` go on.

    grace: env steps, or epochs of pre-training, before the first rung.
    """

    kind: Literal["asha"] = "asha"
    grace: Count
    reduction: Annotated[int, Between(2)] = 3


@spec
class MedianSpec:
    """Stops a trial whose best is below the median of the others' averages so far (Golovin et al. 2017)."""

    kind: Literal["median"] = "median"
    grace: Count
    min_trials: Count = 3


DEFAULT_METRIC = {"trial": "validation/sharpe", "pretraining": "validation_loss"}
DEFAULT_GOAL = {"trial": "maximize", "pretraining": "minimize"}
RESOURCE = {"trial": "env_steps", "pretraining": "epoch"}


@spec
class SearchSpec:
    """How a study searches.

    job: what is searched: whole RL trials, or pre-training alone (the rest of the trial is then idle).
    n_trials: drawn configurations, over all runs of the command; the pre-training behind a trial does not count.
    objective, direction: a reported metric, as it stands at the end, and where to push it; by default the validation
        Sharpe ratio up, or the validation loss of pre-training down (comparable only at one mask ratio).
    max_concurrent: jobs at once; None means as many as the cluster has room for.
    max_failures: how often a trial whose process died (a lost node, a kill) goes on from its checkpoint.
    pending_timeout: seconds that jobs may wait for room while none runs; then the study stops and says what they want.
    points: hand-written starting points, flat values by hole; holes they leave out are drawn.
    """

    job: Literal["trial", "pretraining"] = "trial"
    n_trials: Count = 20
    objective: str | None = None
    direction: Literal["maximize", "minimize"] | None = None
    scheduler: NoSchedulerSpec | AshaSpec | MedianSpec = NoSchedulerSpec()
    sampler: Literal["tpe", "random"] = "tpe"
    seed: Index = 0
    max_concurrent: Count | None = None
    max_failures: Index = 2
    pending_timeout: Count = 1_800
    points: tuple[dict, ...] = ()

    @property
    def metric(self) -> str:
        return self.objective or DEFAULT_METRIC[self.job]

    @property
    def goal(self) -> str:
        return self.direction or DEFAULT_GOAL[self.job]

    @property
    def resource(self) -> str:
        """What a scheduler counts: the metric that grows as a job runs."""
        return RESOURCE[self.job]


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

    def resource_of(self, spec: TrialSpec) -> int:
        """How far a trial goes: env steps, or epochs of pre-training."""
        return spec.env_steps if self.search.job == "trial" else spec.pretraining.epochs

    @property
    def most_resource(self) -> int:
        return max(self.resource_of(self.trial(filled)) for filled in self.space.ends())

    @property
    def identity(self) -> dict[str, Any]:
        """What makes it the same study when the command is repeated: everything but its budgets."""
        budget = {"n_trials", "max_concurrent", "max_failures", "pending_timeout"}
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
    except (yaml.YAMLError, UnicodeDecodeError) as error:
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
    search = parse(SearchSpec, tree.get("search") or {}, path=("search",))
    _check_objective(search)
    study = StudySpec(
        name=name,
        space=Space(_with_absolute_paths(trial)),
        search=search,
    )
    for filled in study.space.ends():
        spec = study.trial(filled)
        if study.search.job == "pretraining" and spec.encoder_to_pretrain is None:
            raise SpecError("a search for pre-training needs kind: ft and pretrained: auto", ("trial", "encoder"))
        if study.search.job == "pretraining" and spec.n_folds > 1:
            raise SpecError(
                f"a search for pre-training compares losses on one fold, not on {spec.n_folds}: leave windows out",
                ("trial", "windows"),
            )
    for number, point in enumerate(study.search.points):
        study.space.check_point(point, ("search", "points", str(number)))
    return study


def _check_objective(search: SearchSpec) -> None:
    """A name that no trial reports would fail every trial at its end; a direction is not ours to guess."""
    names = metric_names() if search.job == "trial" else (DEFAULT_METRIC[search.job],)
    if search.metric not in names:
        raise SpecError(
            f"{search.metric!r} is never reported; {nearest(search.metric, names)}", ("search", "objective")
        )
    if search.metric != DEFAULT_METRIC[search.job] and search.direction is None:
        raise SpecError(f"say which way {search.metric} is better: maximize or minimize", ("search", "direction"))


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


PATHS = {"files": "path", "ft": "pretrained"}
"""Fields that may hold a path, by the kind of their mapping."""


def _with_absolute_paths(node: Any) -> Any:
    """Paths made absolute: trials run in processes with another working directory."""
    if isinstance(node, list):
        return [_with_absolute_paths(item) for item in node]
    if not isinstance(node, Mapping):
        return node
    made = {key: _with_absolute_paths(value) for key, value in node.items()}
    for kind, field in PATHS.items():
        if field in made and node.get("kind", kind) == kind:  # a mapping without a kind may be of any
            value = made[field]
            options = value.get("choice") if isinstance(value, Mapping) else None
            made[field] = {"choice": [_absolute(option) for option in options]} if options else _absolute(value)
    return made


def _absolute(value: Any) -> Any:
    if not isinstance(value, str) or value in ("", "none", "auto"):
        return value
    return str(Path(value).expanduser().absolute())
