"""The gate before the test window: it opens where luck explains neither the Sharpe ratio of fresh seeds nor the active
one.

Takes: the measures of fresh seeds on the validation windows, and what their trial was chosen from. Gives: a `Gate`, and
before all seeds are trained, why those that are left cannot open it.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from ftray.analysis.luck import RATIOS, Luck, gate_opens, luck_of
from ftray.metrics import ACTIVE_SHARPE, SHARPE
from ftray.search.objectives import Constraint, hardly_trades, is_number
from ftray.stats.student import student_quantile

Metrics = Mapping[str, Any]
"""Of one seed or trial, by their names: `validation/...`; None for one that is undefined."""

IMPLAUSIBLE = 0.005
"""How likely the seeds that are left may exceed what is taken for their highest plausible mean, for each ratio and each
seed that is trained before them."""
LEAST_FREEDOM = 5
"""Degrees of freedom below which a spread of seeds is too uncertain to stop any."""


@dataclasses.dataclass(frozen=True)
class Spread:
    """How far trainings with different seeds are apart. squares: sum of squared deviations. freedom: their degrees."""

    squares: float = 0.0
    freedom: int = 0

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of values around their own mean."""
        mean = fmean(values) if values else 0.0
        return cls(sum((value - mean) ** 2 for value in values), max(0, len(values) - 1))

    def __add__(self, other: "Spread") -> "Spread":
        return Spread(self.squares + other.squares, self.freedom + other.freedom)


@dataclasses.dataclass(frozen=True)
class Draws:
    """What a trial was chosen from.

    n_trials: of its study, that were scored. n_elsewhere: looks of other studies, at the same bars.
    effective: by ratio, how many independent looks all of them are worth, by the correlation of the returns that the
        ratio is of. spread: by ratio, of the seeds of the study's trials.
    n_looks: looks of its study's trials; one each by default.
    """

    n_trials: int
    n_elsewhere: float
    effective: Mapping[str, float]
    spread: Mapping[str, Spread]
    n_looks: float | None = None

    def luck(self, metrics: Metrics, windows: Mapping[str, Any], ratio: str) -> Luck | None:
        """What luck explains of a ratio; None if it is undefined."""
        effective = self.effective[ratio]
        return luck_of(metrics, windows, self.n_trials, effective, ratio, self.n_elsewhere, self.n_looks)


@dataclasses.dataclass(frozen=True)
class Gate:
    """What luck explains of the mean of some seeds. plain, active: of each ratio; None where a seed has none."""

    plain: Luck | None
    active: Luck | None

    @classmethod
    def of(
        cls, seeds: Sequence[Metrics], windows: Mapping[str, Any], draws: Draws, constraints: Iterable[Constraint] = ()
    ) -> "Gate":
        """The gate for seeds of a configuration. windows: its spec's. constraints: the study's."""
        bounds = list(constraints)
        if not seeds or any(hardly_trades(one, bounds) for one in seeds):
            return cls(None, None)
        means = mean_of(seeds)
        return cls(draws.luck(means, windows, SHARPE), draws.luck(means, windows, ACTIVE_SHARPE))

    @property
    def is_open(self) -> bool:
        return gate_opens(self.plain, self.active)

    @property
    def lucks(self) -> dict[str, Luck | None]:
        """By ratio."""
        return {SHARPE: self.plain, ACTIVE_SHARPE: self.active}

    @property
    def shut_by(self) -> dict[str, str]:
        """By ratio, in words, what shuts the gate: one that luck may explain, or that is undefined."""
        shut = {ratio: luck for ratio, luck in self.lucks.items() if luck is None or not luck.clears}
        return {ratio: f"{RATIOS[ratio][0]} {_describe(luck)}" for ratio, luck in shut.items()}

    def lines(self) -> list[str]:
        """What luck explains of each ratio, in words."""
        return [f"no {RATIOS[ratio][0]}" if luck is None else str(luck) for ratio, luck in self.lucks.items()]

    def facts(self) -> dict[str, Any]:
        """As events record it."""
        lucks = {"luck": self.plain, "active_luck": self.active}
        return {name: None if luck is None else dataclasses.asdict(luck) for name, luck in lucks.items()}


def mean_of(seeds: Sequence[Metrics]) -> dict[str, Any]:
    """The mean of every metric over seeds; None where one of them has no number."""
    names = dict.fromkeys(name for one in seeds for name in one)
    values = {name: [one.get(name) for one in seeds] for name in names}
    return {name: fmean(of) if all(map(is_number, of)) else None for name, of in values.items()}  # type: ignore[arg-type]


def hopeless(
    seeds: Sequence[Metrics],
    n_left: int,
    windows: Mapping[str, Any],
    draws: Draws,
    constraints: Iterable[Constraint] = (),
) -> str | None:
    """Why the seeds that are left cannot open the gate, whatever they plausibly reach; None if they can, or none are.

    A seed without a ratio shuts the gate for good. Otherwise the mean of all n seeds has to reach the least ratio that
    clears, with the moments and the error of the most favourable of the k so far; so the n − k that are left have to
    average (n · needed − sum of the k) / (n − k). They are stopped where, for either ratio, that is above their highest
    plausible mean, the upper prediction bound of as many draws from the distribution of the k:
    mean of the k + t · s · √(1/k + 1/(n − k)), t of Student's distribution at 99.5 %, s pooled over the seeds of the
    study's trials and the k.
    So long as seeds are normal and spread like the study's, the bound is exceeded with probability 0.5 %: a promotion
    of five seeds that would open the gate is stopped with a probability of at most 2 % by either ratio.
    Source: Hahn 1969, Factors for Calculating Two-Sided Prediction Intervals for Samples from a Normal Distribution,
    Journal of the American Statistical Association 64, for the bound.
    """
    bounds = list(constraints)
    if not seeds or not n_left:
        return None
    for number, one in enumerate(seeds, 1):
        if hardly_trades(one, bounds):
            return f"seed {number} of {len(seeds) + n_left} hardly trades, so it has no Sharpe ratio, nor has the mean"
        for ratio in RATIOS:
            if not is_number(one.get(ratio)):
                return f"seed {number} of {len(seeds) + n_left} has no {RATIOS[ratio][0]}, so the mean has none"
    reasons = (_out_of_reach(seeds, n_left, windows, draws, ratio) for ratio in RATIOS)
    return next(filter(None, reasons), None)


def _out_of_reach(
    seeds: Sequence[Metrics], n_left: int, windows: Mapping[str, Any], draws: Draws, ratio: str
) -> str | None:
    values, k = [float(one[ratio]) for one in seeds], len(seeds)
    spread = draws.spread[ratio] + Spread.of(values)
    if spread.freedom < LEAST_FREEDOM:
        return None
    needed = min(_needed(one, windows, draws, ratio) for one in seeds)
    wanted = ((k + n_left) * needed - sum(values)) / n_left
    width = math.sqrt(spread.squares / spread.freedom * (1.0 / k + 1.0 / n_left))
    most = fmean(values) + student_quantile(1.0 - IMPLAUSIBLE, spread.freedom) * width
    if wanted <= most:
        return None
    left = "the seed that is left" if n_left == 1 else f"the mean of the {n_left} seeds that are left"
    return (
        f"the {RATIOS[ratio][0]} of {left} would have to reach {wanted:.2f}; {most:.2f} is the most that is plausible "
        f"({1 - IMPLAUSIBLE:.1%}) after {', '.join(f'{value:.2f}' for value in values)}"
    )


def _needed(metrics: Metrics, windows: Mapping[str, Any], draws: Draws, ratio: str) -> float:
    """The least ratio that would clear with the moments and the error of this seed; inf if none would.

    Bisected between the luck line and 100 errors above it.
    """
    luck = draws.luck(metrics, windows, ratio)
    if luck is None:
        return math.inf
    low, high = luck.luck_line, luck.luck_line + 100 * luck.error
    for _ in range(30):
        middle = (low + high) / 2
        found = draws.luck({**metrics, ratio: middle}, windows, ratio)
        low, high = (low, middle) if found is not None and found.clears else (middle, high)
    return high if high < luck.luck_line + 100 * luck.error else math.inf


def describe_seeds(seeds: Sequence[Metrics]) -> list[str]:
    """A line for each ratio: that of every seed, their mean and its error."""
    lines = []
    for ratio, (name, *_) in RATIOS.items():
        values = [one.get(ratio) for one in seeds]
        known = [value for value in values if is_number(value)]
        each = ", ".join(f"{value:.2f}" if is_number(value) else "-" for value in values)
        mean = f"; {mean_and_error(known, '.2f')}" if len(known) == len(values) else ""
        lines.append(f"validation {name}s of fresh seeds: {each}{mean}")
    return lines


def mean_and_error(values: Sequence[float], how: str) -> str:
    error = f"{stdev(values) / math.sqrt(len(values)):{how}}" if len(values) > 1 else "?"
    return f"{fmean(values):{how}} ± {error}"


def _describe(luck: Luck | None) -> str:
    if luck is None:
        return "undefined"
    return f"{luck.value:.2f}, luck line {luck.luck_line:.2f}, deflated {luck.deflated:.0%}"
