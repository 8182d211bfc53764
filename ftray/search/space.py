"""The search space: a trial file in which ranges replace some values.

A range is a one-key mapping: `{int: [1, 4]}`, `{float: [0.0, 0.3]}`, `{log: [1e-5, 1e-3]}` or `{choice: [32, 64]}`, and
makes a search parameter of its value. The options of a choice may be subtrees with search parameters of their own: a
conditional space. Every search parameter has a stable flat name, its path: `trial/encoder/d_token`; a choice between
subtrees is named `.../kind`.

Takes: a tree of plain mappings. Gives: filled trees, and the values that filled them. Needs neither Ray nor torch.
"""

import dataclasses
import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from ftray.errors import SpecError
from ftray.spec import closest, nearest, number

RANGE_KINDS = ("int", "float", "log", "choice")


@dataclasses.dataclass(frozen=True)
class Param:
    """A search parameter: its name, its distribution, and the subtree behind each label where it chooses a subtree."""

    name: str
    distribution: BaseDistribution
    subtrees: dict[str, Any] | None = None

    @property
    def path(self) -> tuple[str, ...]:
        """Of the field that it searches, the tree's root included: `("trial", "encoder")` for `trial/encoder/kind`,
        which chooses a subtree."""
        names = tuple(self.name.split("/"))
        return names[:-1] if self.subtrees else names

    def __str__(self) -> str:
        """Its range in words: `a whole number from 256 to 1024 in steps of 256`."""
        d = self.distribution
        if isinstance(d, CategoricalDistribution):
            return f"one of {', '.join(map(repr, d.choices))}"
        assert isinstance(d, IntDistribution | FloatDistribution)
        noun = "a whole number" if isinstance(d, IntDistribution) else "a number"
        step = "" if d.step is None or (noun == "a whole number" and d.step == 1) else f" in steps of {d.step}"
        return f"{noun} from {d.low} to {d.high}{step}"

    def extremes(self) -> tuple[Any, ...]:
        """Both ends of the range, or every option."""
        if isinstance(self.distribution, CategoricalDistribution):
            return self.distribution.choices
        assert isinstance(self.distribution, IntDistribution | FloatDistribution)
        return (self.distribution.low, self.distribution.high)

    def probes(self) -> tuple[Any, ...]:
        """The extremes, and of real numbers one value between them: 1.0 and 4.0 are counts, and 2.85 is none."""
        d = self.distribution
        if not isinstance(d, FloatDistribution) or d.single():
            return self.extremes()
        return (d.low, d.high, d.low + (d.step or 0.617 * (d.high - d.low)))

    def suggest(self, trial: optuna.trial.BaseTrial) -> Any:
        """The value that Optuna samples."""
        d = self.distribution
        if isinstance(d, CategoricalDistribution):
            return trial.suggest_categorical(self.name, d.choices)
        if isinstance(d, IntDistribution):
            return trial.suggest_int(self.name, d.low, d.high, step=d.step, log=d.log)
        assert isinstance(d, FloatDistribution)
        return trial.suggest_float(self.name, d.low, d.high, step=d.step, log=d.log)


class Space:
    """All search parameters of a tree. Picklable, and independent of Optuna's study.

    >>> space = Space({"ppo": {"learning_rate": {"log": [1e-5, 1e-3]}}, "encoder": {"choice": [{"kind": "mlp"},
    ...                {"kind": "ft", "d_token": {"choice": [32, 64]}}]}})
    >>> sorted(space.params)
    ['trial/encoder/d_token', 'trial/encoder/kind', 'trial/ppo/learning_rate']
    >>> space.fill({"trial/encoder/kind": "ft", "trial/encoder/d_token": 64, "trial/ppo/learning_rate": 1e-4})
    {'ppo': {'learning_rate': 0.0001}, 'encoder': {'kind': 'ft', 'd_token': 64}}
    """

    def __init__(self, tree: Mapping[str, Any], root: str = "trial"):
        self.tree, self.root = tree, root
        self.params: dict[str, Param] = {}
        self._collect(tree, (root,))

    def sample(self, trial: optuna.trial.BaseTrial) -> tuple[dict[str, Any], dict[str, Any]]:
        """Flat values sampled by Optuna, and the tree they fill."""
        return self.choose(lambda param: param.suggest(trial))

    def choose(self, choice: Callable[[Param], Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Flat values chosen one parameter at a time, within the subtrees chosen so far, and the tree they fill."""
        values: dict[str, Any] = {}

        def choose(param: Param) -> Any:
            values[param.name] = choice(param)
            return values[param.name]

        return values, self._filled(self.tree, (self.root,), choose)

    def fill(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The tree with the given flat values in place of its ranges."""
        return self._filled(self.tree, (self.root,), lambda param: values[param.name])

    @property
    def always(self) -> frozenset[str]:
        """The parameters that every configuration has; the others depend on which subtree is chosen."""
        return frozenset(self._always(self.tree, (self.root,)))

    def corners(self) -> Iterator[dict[str, Any]]:
        """Trees that together have every range at both ends and between them, every option, and 100 random mixtures of
        ends and options."""
        yield from self._variants(self.tree, (self.root,))
        mixed = random.Random(0)
        for _ in range(100 if self.params else 0):
            yield self._filled(self.tree, (self.root,), lambda param: mixed.choice(param.extremes()))

    def point(self, values: Mapping[str, Any], where: tuple[str, ...]) -> dict[str, Any]:
        """A hand-written point, its values as the ranges have them: 2 for 2.0, 0.0001 for the text `1e-4`.

        Raises: SpecError for an unknown search parameter or a value outside its range.
        """
        for name in values:
            if name not in self.params:
                raise SpecError(f"no such search parameter; {nearest(str(name), self.params)}", (*where, str(name)))
        return {name: _inside(self.params[name], value, (*where, name)) for name, value in values.items()}

    def _collect(self, node: Any, path: tuple[str, ...]) -> None:
        param = _param(node, path)
        if param is not None:
            known = self.params.setdefault(param.name, param)
            if known.distribution != param.distribution:
                raise SpecError(f"the same search parameter with two ranges: {known} and {param}", path)
            for subtree in (param.subtrees or {}).values():
                self._collect(subtree, path)
        elif isinstance(node, Mapping):
            for key, value in node.items():
                self._collect(value, (*path, str(key)))

    def _filled(self, node: Any, path: tuple[str, ...], choose: Callable[[Param], Any]) -> Any:
        param = _param(node, path)
        if param is not None:
            value = choose(param)
            return self._filled(param.subtrees[value], path, choose) if param.subtrees else value
        if isinstance(node, Mapping):
            return {key: self._filled(value, (*path, str(key)), choose) for key, value in node.items()}
        return node

    def _always(self, node: Any, path: tuple[str, ...]) -> set[str]:
        param = _param(node, path)
        if param is not None:
            behind = [self._always(subtree, path) for subtree in (param.subtrees or {}).values()]
            return {param.name}.union(set.intersection(*behind) if behind else ())
        if isinstance(node, Mapping):
            return set().union(*(self._always(value, (*path, str(key))) for key, value in node.items()))
        return set()

    def _variants(self, node: Any, path: tuple[str, ...]) -> list[Any]:
        param = _param(node, path)
        if param is not None and param.subtrees:
            return [variant for subtree in param.subtrees.values() for variant in self._variants(subtree, path)]
        if param is not None:
            return list(param.probes())
        if not isinstance(node, Mapping):
            return [node]
        children = {key: self._variants(value, (*path, str(key))) for key, value in node.items()}
        n = max((len(variants) for variants in children.values()), default=1)
        return [{key: variants[i % len(variants)] for key, variants in children.items()} for i in range(n)]


def _param(node: Any, path: tuple[str, ...]) -> Param | None:
    """The search parameter that a node describes; None for any other node."""
    if not (isinstance(node, Mapping) and len(node) == 1):
        return None
    ((kind, arguments),) = node.items()
    if kind not in RANGE_KINDS:
        meant = closest(str(kind), RANGE_KINDS, cutoff=0.7) if isinstance(arguments, list) else None
        if meant:
            raise SpecError(f"{{{kind}: ...}} is no range; did you mean {meant!r}?", path)
        return None
    if not isinstance(arguments, list) or not arguments:
        raise SpecError(f"a range needs a list, like {{{kind}: [1, 4]}}; got {arguments!r}", path)
    name = "/".join(path)
    if kind == "choice":
        return _choice(name, arguments, path)
    if len(arguments) < 2:
        raise SpecError(f"a range needs low and high, like {{{kind}: [1, 4]}}; got {arguments!r}", path)
    if len(arguments) > 3 or (kind == "log" and len(arguments) > 2):
        raise SpecError(f"{{{kind}: {arguments}}} has too many numbers; low, high{', step' * (kind != 'log')}", path)
    if any(isinstance(value, bool) for value in arguments):
        raise SpecError(f"{{{kind}: {arguments}}} is no range: it takes numbers", path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a step that does not divide: `check_ranges` refuses it
            return Param(name, _distribution(kind, arguments))
    except (TypeError, ValueError) as error:
        raise SpecError(f"{{{kind}: {arguments}}} is no range: {error}", path) from None


def _inside(param: Param, value: Any, path: tuple[str, ...]) -> Any:
    """The value of a range that a hand-written one is. Raises: SpecError for one outside."""
    distribution, outside = param.distribution, SpecError(f"must be {param}, got {value!r}", path)
    options = distribution.choices if isinstance(distribution, CategoricalDistribution) else ()
    for option in options:
        if option == value and isinstance(option, bool) == isinstance(value, bool):
            return option
    try:
        found = number(value)
    except ValueError:
        raise outside from None
    for option in options:
        if option == found and isinstance(value, str) and not isinstance(option, bool):
            return option
    if options or not distribution._contains(found):
        raise outside
    if isinstance(distribution, FloatDistribution):
        return found
    if not found.is_integer():
        raise outside
    return int(found)


def _distribution(kind: str, arguments: list[Any]) -> BaseDistribution:
    """Raises: TypeError or ValueError for what is no range."""
    low, high, *step = map(number, arguments)
    if kind == "float":
        return FloatDistribution(low, high, step=step[0] if step else None)
    whole = all(isinstance(value, int) for value in arguments)
    if kind == "log":
        return IntDistribution(int(low), int(high), log=True) if whole else FloatDistribution(low, high, log=True)
    if not all(isinstance(value, int | float) and value == int(value) for value in arguments):
        raise ValueError("int needs whole numbers")
    return IntDistribution(int(low), int(high), step=int(step[0]) if step else 1)


def _choice(name: str, options: list[Any], path: tuple[str, ...]) -> Param:
    if not any(isinstance(option, Mapping) for option in options):
        if not all(isinstance(option, str | int | float | bool | None) for option in options):
            raise SpecError(f"options must be plain values or mappings, got {options!r}", path)
        return Param(name, CategoricalDistribution(options))
    if not all(isinstance(option, Mapping) for option in options):
        raise SpecError("options must be all plain values or all mappings", path)
    subtrees = dict(zip(_labels(options), options, strict=True))
    if len(subtrees) < len(options):
        raise SpecError("two options look the same: give them different `kind`s or plain values", path)
    return Param(f"{name}/kind", CategoricalDistribution(list(subtrees)), subtrees)


def _labels(options: list[Mapping[str, Any]]) -> list[str]:
    """A label per subtree: its `kind`, and the plain values in which it differs from others of that kind:
    `ft frozen=True`."""
    labels = []
    for option in options:
        peers = [other for other in options if other.get("kind") == option.get("kind")]
        keys = [key for key in dict.fromkeys(k for peer in peers for k in peer) if key != "kind"]
        distinct = [
            f"{key}={option[key]}"
            for key in keys
            if isinstance(option.get(key), str | int | float | bool)
            and any(peer.get(key) != option[key] for peer in peers)
        ]
        labels.append(" ".join([str(option.get("kind", ""))] * ("kind" in option) + distinct))
    return labels
