"""Study files: a trial with search parameters, and how to search them.

`tune_configs/NAME.yaml` → `StudySpec` → `runs/NAME/`.
"""

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from ftray.errors import SpecError
from ftray.market import load_market
from ftray.outputs import check_output_folder
from ftray.plugins import parse_plugins
from ftray.runs import RunFolder
from ftray.runs.location import is_run_folder
from ftray.runs.records import JobKind
from ftray.runs.refused import kept_if_used
from ftray.search.objectives import bounds_of
from ftray.search.ranges import check_ranges
from ftray.search.samplers import check_sampler
from ftray.search.space import Space
from ftray.shipped import find_study
from ftray.spec import Matching, nearest, parse, parse_member, to_mapping
from ftray.storage import Location, is_url, join
from ftray.study.budget import check_patience
from ftray.study.search_spec import SearchSpec, check_objectives
from ftray.study.stopping import check_scheduler
from ftray.study.tree import SECTIONS, expand_shorthand, load_tree, with_absolute_paths
from ftray.study.trial_checks import (
    check_judged_alike,
    check_one_judge,
    check_options,
    check_plugins,
    check_pretraining,
    check_searched_fields,
)
from ftray.trial.judging import common_reach, with_reach
from ftray.trial.spec import TrialSpec

StudyName = Annotated[str, Matching("[^./][^/]{0,79}", "a folder's name of at most 80 characters")]


@dataclasses.dataclass(frozen=True)
class StudySpec:
    """A parsed study file.

    name: the study's, and its run folder's.
    space, search: the trial with its search parameters (`space.params`), and how they are searched.
    plugins: the modules that it names → hash of their source.
    """

    name: str
    space: Space
    search: SearchSpec
    plugins: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def trial(self, filled: Mapping[str, Any]) -> TrialSpec:
        """The trial that a filled tree describes, with the reach of all trials in its windows."""
        return with_reach(_parsed(filled), self.reach)

    @functools.cached_property
    def reach(self) -> dict[str, int]:
        """The largest lookback and warm-up of the trials, where the space varies them: the windows of each trial begin
        and end, and decisions in them begin, as the one that looks back furthest needs it."""
        return common_reach(self._corners)

    def continuing(self, study: Mapping[str, Any]) -> "StudySpec":
        """This study as an earlier version stored it, if that one read `1e-4` as text: Optuna takes a text for another
        option than the number, so those that its trials have stay the options."""
        space = Space(study["trial"])
        if space.params == self.space.params:
            return self
        search = dataclasses.replace(self.search, points=tuple(study["search"].get("points", ())))
        return dataclasses.replace(self, space=space, search=search)

    def only_trial(self, verb: str) -> TrialSpec:
        """The one trial of a file without search parameters.

        Raises: SpecError naming the search parameters, for a verb that runs a single trial.
        """
        if self.space.params:
            raise SpecError(
                f"`ftray {verb}` runs a file without search parameters, and this one has {len(self.space.params)}: "
                f"{', '.join(self.space.params)}. Set them with --set, or search them with `ftray tune`."
            )
        return self.trial(self.space.fill({}))

    @functools.cached_property
    def corner_trials(self) -> tuple[TrialSpec, ...]:
        """The trials at the corners of the space (`Space.corners`), which take a while to parse.

        Raises: SpecError for a corner that describes no trial, and for trials that would not be judged alike
        (`ftray.trial.judging`).
        """
        trials = tuple(with_reach(trial, self.reach) for trial in self._corners)
        check_one_judge(trials)
        return trials

    @functools.cached_property
    def _corners(self) -> tuple[TrialSpec, ...]:
        check_searched_fields(self.space)
        return tuple(map(_parsed, self.space.corners()))

    def resource_of(self, spec: TrialSpec) -> int:
        """How far a trial goes: env steps, or epochs of pre-training."""
        return spec.env_steps if self.search.job == JobKind.TRIAL else spec.pretraining.epochs

    @property
    def max_resource(self) -> int:
        """How far the longest trial goes."""
        return max(map(self.resource_of, self.corner_trials))

    @property
    def identity(self) -> dict[str, Any]:
        """What makes it the same study when the command is repeated: everything but its budgets.

        The objectives are always a list, however they were given, so that run folders are read in one way. No least
        number of round trips is what studies of earlier versions have.
        """
        budget = {"n_trials", "max_concurrent", "max_failures", "pending_timeout"}
        budget |= {"retry_after", "budget", "patience_trials", "storage", "also_counts"}
        given = {"objective", "direction", "min_round_trips"}
        search = {key: value for key, value in to_mapping(self.search).items() if key not in budget | given}
        own = [str(bound) for bound in bounds_of(self.search.constraints, 0)]
        search |= {"objectives": to_mapping(self.search.goals), "constraints": own}
        if self.search.job == JobKind.TRIAL and self.search.min_round_trips:
            search["min_round_trips"] = self.search.min_round_trips
        plugins = {"plugins": dict(self.plugins)} if self.plugins else {}
        return {"name": self.name, **plugins, "trial": to_mapping(self.space.tree), "search": search}


def load_study(file: Path | str, overrides: Iterable[str] = ()) -> StudySpec:
    """The study in a YAML file; every range is parsed at both ends.

    The plug-ins that it names are imported first, from its own folder, too: see `load_plugins`.

    file: a path, or the name of one that comes with ftray, like `demo`; see `find_study`.
    overrides: `PATH=VALUE` each, like `search.n_trials=100`, as `--set` takes them.

    Raises: SpecError with the full path of the key that is unknown or wrong; PluginError.
    """
    path = find_study(file)
    return parse_study(load_tree(path, overrides), path.stem, path.parent)


def parse_study(tree: Mapping[str, Any], default_name: str = "study", folder: Path | None = None) -> StudySpec:
    """The study that a plain mapping describes. folder: where its plug-ins may be, too.

    Raises: SpecError, also for a range in a field that judges trials (`ftray.trial.judging`); PluginError.
    """
    for key in tree:
        if key not in SECTIONS:
            raise SpecError(f"no such key; {nearest(str(key), SECTIONS)}", (str(key),))
    name = parse_member(StudyName, tree.get("name", default_name), path=("name",))
    plugins = parse_plugins(_section(tree, "plugins", ()), folder)
    trial = _section(tree, "trial", {})
    if not isinstance(trial, Mapping):
        raise SpecError(f"must be a mapping, got {trial!r}", ("trial",))
    search = parse(SearchSpec, expand_shorthand(_section(tree, "search", {})), path=("search",))
    check_objectives(search)
    check_sampler(search.sampler, len(search.goals), len(search.constraints))
    check_patience(search.patience_trials, len(search.goals))
    space = Space(with_absolute_paths(trial))
    check_ranges(trial, ("trial",))
    written = [space.point(point, ("search", "points", str(number))) for number, point in enumerate(search.points)]
    spec = StudySpec(name, space, dataclasses.replace(search, points=tuple(written)), plugins)
    trials = spec.corner_trials
    check_options(space, trials)
    check_plugins(plugins, search.sampler.kind, trials)
    if search.job == JobKind.PRETRAINING:
        check_pretraining(trials)
    check_scheduler(search.scheduler, search.metric, max(one.n_trainings for one in trials))
    return spec


def _parsed(filled: Mapping[str, Any]) -> TrialSpec:
    return parse(TrialSpec, filled, path=("trial",))


def _section(tree: Mapping[str, Any], name: str, absent: Any) -> Any:
    """A section's content. absent: what one means that is left out, or has a key without a value."""
    return absent if tree.get(name) is None else tree[name]


def open_run(spec: StudySpec, root: Location) -> RunFolder:
    """The run folder `root/NAME`: created, or opened if it holds this very study on these very candles.

    Candles are part of a study's identity: metrics on other bars are not comparable, even if the file's path is equal.

    Raises: DataError for candles that cannot be read; RunFolderError, with what differs, for another study's folder;
        OutputError for a place that cannot be written.
    """
    if not is_url(root) and not is_run_folder(join(root, spec.name)):  # a finished study may be read-only
        check_output_folder(Path(root) / spec.name)
    candles = load_market(spec.corner_trials[0].market)
    run = RunFolder.create(join(root, spec.name), {**spec.identity, "candles": candles.fingerprint[:16]})
    with kept_if_used(run):
        if spec.reach:
            check_judged_alike(run, spec.corner_trials[0])
        if any(trial.encoder_to_pretrain for trial in spec.corner_trials):
            run.fetch_sibling_encoders()
    return run
