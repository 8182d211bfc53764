"""The search space: a trial file with holes.

A hole is a one-key mapping where a value would stand: `{int: [1, 4]}`, `{float: [0.0, 0.3]}`, `{log: [1e-5, 1e-3]}` or
`{choice: [32, 64]}`. The options of a choice may be whole subtrees with holes of their own: a conditional space.
Every hole has a stable flat name, its path: `trial/encoder/d_token`; a choice between subtrees is named `.../kind`.

Takes: a tree of plain mappings. Gives: filled trees, and the values that filled them. Knows neither Ray nor torch.
"""

import dataclasses
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from ftray.errors import SpecError
from ftray.spec import closest, nearest

HOLE_KINDS = ("int", "float", "log", "choice")


@dataclasses.dataclass(frozen=True)
class Hole:
    """One open value: its name, what it is drawn from, and the subtree behind each label where there are subtrees."""

    name: str
    distribution: BaseDistribution
    subtrees: dict[str, Any] | None = None

    def ends(self) -> tuple[Any, ...]:
        """Both ends of the range, or every option."""
        if isinstance(self.distribution, CategoricalDistribution):
            return self.distribution.choices
        assert isinstance(self.distribution, IntDistribution | FloatDistribution)
        return (self.distribution.low, self.distribution.high)

    def suggest(self, trial: optuna.trial.BaseTrial) -> Any:
        """The value that Optuna draws for this hole."""
        d = self.distribution
        if isinstance(d, CategoricalDistribution):
            return trial.suggest_categorical(self.name, d.choices)
        if isinstance(d, IntDistribution):
            return trial.suggest_int(self.name, d.low, d.high, step=d.step, log=d.log)
        assert isinstance(d, FloatDistribution)
        return trial.suggest_float(self.name, d.low, d.high, step=d.step, log=d.log)


class Space:
    """All holes of a tree. Picklable, and independent of Optuna's study.

    >>> space = Space({"ppo": {"learning_rate": {"log": [1e-5, 1e-3]}}, "encoder": {"choice": [{"kind": "mlp"},
    ...                {"kind": "ft", "d_token": {"choice": [32, 64]}}]}})
    >>> sorted(space.holes)
    ['trial/encoder/d_token', 'trial/encoder/kind', 'trial/ppo/learning_rate']
    >>> space.fill({"trial/encoder/kind": "ft", "trial/encoder/d_token": 64, "trial/ppo/learning_rate": 1e-4})
    {'ppo': {'learning_rate': 0.0001}, 'encoder': {'kind': 'ft', 'd_token': 64}}
    """

    def __init__(self, tree: Mapping[str, Any], root: str = "trial"):
        self.tree, self.root = tree, root
        self.holes: dict[str, Hole] = {}
        self._collect(tree, (root,))

    def draw(self, trial: optuna.trial.BaseTrial) -> tuple[dict[str, Any], dict[str, Any]]:
        """Flat values drawn from Optuna, and the tree they fill."""
        return self.choose(lambda hole: hole.suggest(trial))

    def choose(self, choice: Callable[[Hole], Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Flat values chosen one hole after the other, of the subtrees chosen so far, and the tree they fill."""
        values: dict[str, Any] = {}

        def choose(hole: Hole) -> Any:
            values[hole.name] = choice(hole)
            return values[hole.name]

        return values, self._filled(self.tree, (self.root,), choose)

    def fill(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The tree with the given flat values in its holes."""
        return self._filled(self.tree, (self.root,), lambda hole: values[hole.name])

    @property
    def always(self) -> frozenset[str]:
        """The holes that every configuration fills; the others hang on what is chosen elsewhere."""
        return frozenset(self._always(self.tree, (self.root,)))

    def ends(self) -> Iterator[dict[str, Any]]:
        """Trees that together have every range at both ends and every option, and 100 random mixtures of those."""
        yield from self._variants(self.tree, (self.root,))
        mixed = random.Random(0)
        for _ in range(100 if self.holes else 0):
            yield self._filled(self.tree, (self.root,), lambda hole: mixed.choice(hole.ends()))

    def check_point(self, point: Mapping[str, Any], where: tuple[str, ...]) -> None:
        """Refuses a hand-written point with an unknown hole or a value outside its range."""
        for name, value in point.items():
            if name not in self.holes:
                raise SpecError(f"no such hole; {nearest(name, self.holes)}", (*where, name))
            distribution = self.holes[name].distribution
            try:
                inside = distribution._contains(distribution.to_internal_repr(value))
            except (ValueError, TypeError):
                inside = False
            if not inside:
                raise SpecError(f"{value!r} lies outside {distribution}", (*where, name))

    def _collect(self, node: Any, path: tuple[str, ...]) -> None:
        hole = _hole(node, path)
        if hole is not None:
            known = self.holes.setdefault(hole.name, hole)
            if known.distribution != hole.distribution:
                raise SpecError(f"the same hole with two ranges: {known.distribution} and {hole.distribution}", path)
            for subtree in (hole.subtrees or {}).values():
                self._collect(subtree, path)
        elif isinstance(node, Mapping):
            for key, value in node.items():
                self._collect(value, (*path, str(key)))

    def _filled(self, node: Any, path: tuple[str, ...], choose: Callable[[Hole], Any]) -> Any:
        hole = _hole(node, path)
        if hole is not None:
            value = choose(hole)
            return self._filled(hole.subtrees[value], path, choose) if hole.subtrees else value
        if isinstance(node, Mapping):
            return {key: self._filled(value, (*path, str(key)), choose) for key, value in node.items()}
        return node

    def _always(self, node: Any, path: tuple[str, ...]) -> set[str]:
        hole = _hole(node, path)
        if hole is not None:
            behind = [self._always(subtree, path) for subtree in (hole.subtrees or {}).values()]
            return {hole.name}.union(set.intersection(*behind) if behind else ())
        if isinstance(node, Mapping):
            return set().union(*(self._always(value, (*path, str(key))) for key, value in node.items()))
        return set()

    def _variants(self, node: Any, path: tuple[str, ...]) -> list[Any]:
        hole = _hole(node, path)
        if hole is not None and hole.subtrees:
            return [variant for subtree in hole.subtrees.values() for variant in self._variants(subtree, path)]
        if hole is not None:
            return list(hole.ends())
        if not isinstance(node, Mapping):
            return [node]
        children = {key: self._variants(value, (*path, str(key))) for key, value in node.items()}
        n = max((len(variants) for variants in children.values()), default=1)
        return [{key: variants[i % len(variants)] for key, variants in children.items()} for i in range(n)]


def _hole(node: Any, path: tuple[str, ...]) -> Hole | None:
    """The hole that a node is, if it is one."""
    if not (isinstance(node, Mapping) and len(node) == 1):
        return None
    ((kind, arguments),) = node.items()
    if kind not in HOLE_KINDS:
        meant = closest(str(kind), HOLE_KINDS, cutoff=0.7) if isinstance(arguments, list) else None
        if meant:
            raise SpecError(f"{{{kind}: ...}} is no hole; did you mean {meant!r}?", path)
        return None
    if not isinstance(arguments, list) or not arguments:
        raise SpecError(f"a hole needs a list, like {{{kind}: [1, 4]}}; got {arguments!r}", path)
    name = "/".join(path)
    if kind == "choice":
        return _choice(name, arguments, path)
    if len(arguments) > 3 or (kind == "log" and len(arguments) > 2):
        raise SpecError(f"{{{kind}: {arguments}}} has too many numbers; low, high{', step' * (kind != 'log')}", path)
    try:
        low, high, *step = (float(value) for value in arguments)
        if kind == "float":
            return Hole(name, FloatDistribution(low, high, step=step[0] if step else None))
        whole = all(isinstance(value, int) for value in arguments)
        if kind == "log":
            made = IntDistribution(int(low), int(high), log=True) if whole else FloatDistribution(low, high, log=True)
            return Hole(name, made)
        if not whole:
            raise ValueError("int needs whole numbers")
        return Hole(name, IntDistribution(int(low), int(high), step=int(step[0]) if step else 1))
    except (TypeError, ValueError) as error:
        raise SpecError(f"{{{kind}: {arguments}}} is no range: {error}", path) from None


def _choice(name: str, options: list[Any], path: tuple[str, ...]) -> Hole:
    if not any(isinstance(option, Mapping) for option in options):
        if not all(isinstance(option, str | int | float | bool | None) for option in options):
            raise SpecError(f"options must be plain values or mappings, got {options!r}", path)
        return Hole(name, CategoricalDistribution(options))
    if not all(isinstance(option, Mapping) for option in options):
        raise SpecError("options must be all plain values or all mappings", path)
    subtrees = dict(zip(_labels(options), options, strict=True))
    if len(subtrees) < len(options):
        raise SpecError("two options are told apart by nothing: give them different `kind`s or plain values", path)
    return Hole(f"{name}/kind", CategoricalDistribution(list(subtrees)), subtrees)


def _labels(options: list[Mapping[str, Any]]) -> list[str]:
    """A label per subtree: its `kind`, and whatever plain values tell it from others of that kind: `ft frozen=True`."""
    labels = []
    for option in options:
        peers = [other for other in options if other.get("kind") == option.get("kind")]
        keys = [key for key in dict.fromkeys(k for peer in peers for k in peer) if key != "kind"]
        telling = [
            f"{key}={option[key]}"
            for key in keys
            if isinstance(option.get(key), str | int | float | bool)
            and any(peer.get(key) != option[key] for peer in peers)
        ]
        labels.append(" ".join([str(option.get("kind", ""))] * ("kind" in option) + telling))
    return labels
