"""Every metric that a trial, a pre-training job or a benchmark reports: what it means, and how it is written.

Takes: a metric's name. Gives: its `Metric`. Directions, titles, units and number formats derive from `METRICS` alone,
and what is not in it cannot be reported: a new metric is one line here.

>>> metric("validation/max_drawdown").direction
'minimize'
>>> metric("validation/max_drawdown").format(0.1234)
'12.3%'
"""

import dataclasses
from collections.abc import Iterable
from typing import Any, Literal

from ftray.errors import MetricError
from ftray.spec import nearest
from ftray.units import UNITS

Direction = Literal["maximize", "minimize"]
Source = Literal["validation", "training", "encoder", "machine", "pretraining"]

VALIDATION = "validation/"


def validation(measure: str) -> str:
    """The metric of a measure of `stats.performance`, taken on the validation windows."""
    return VALIDATION + measure


def measure_of(name: str) -> str:
    """The inverse of `validation`; any other metric keeps its name."""
    return name.removeprefix(VALIDATION)


SHARPE = validation("sharpe")
ACTIVE_SHARPE = validation("active_sharpe")
ERRORS = {ratio: f"{ratio}_error" for ratio in (SHARPE, ACTIVE_SHARPE)}
"""The metrics whose standard error over folds and seeds is a metric, too."""
ROUND_TRIPS, GROWTH = validation("round_trips"), validation("total_return")
SELECTED_STEPS, EVALUATIONS = "selected/env_steps", "selected/evaluations"
CPU_SECONDS, GPU_SECONDS, WALL_SECONDS = "cost/cpu_seconds", "cost/gpu_seconds", "wall_seconds"
PLANNED_GIB, USED_GIB = "vram/planned_gib", "vram/used_gib"
PRETRAINING_LOSS = "validation_loss"


@dataclasses.dataclass(frozen=True)
class Metric:
    """One metric.

    name: what it is reported as; a `*` at its end, and in the title, stands for what differs between studies.
    direction: which way it is better; None where neither way is.
    unit: one of `UNITS`.
    title: its column heading and axis label.
    computed_from: what the number means, and what it is computed from.
    source: what reports it: `validation` (a backtest on the validation windows, of benchmarks, too), `training` (an
        iteration of PPO), `encoder` (an FT-Transformer in a trial), `machine` (what a job costs), `pretraining`.
    always: whether each job of its kind reports it. A metric that only some jobs report cannot be searched for.
    nullable: whether a trial may report that it has no value of it, which is stored as null: the trial ends COMPLETE,
        and where it is searched for the metric, it has no rank.
    """

    name: str
    direction: Direction | None
    unit: str
    title: str
    computed_from: str
    source: Source
    always: bool = True
    nullable: bool = False

    @property
    def is_annual_ratio(self) -> bool:
        """Whether it is a ratio of return to risk, which a portfolio that hardly trades does not have."""
        return self.unit == "annual ratio"

    def format(self, value: float | None) -> str:
        """A value as people read it."""
        return UNITS[self.unit].format(value)


Row = tuple[str, Direction | None, str, str, str]


def _of(source: Source, *rows: Row, prefix: str = "", always: bool = True, nullable: bool = False) -> list[Metric]:
    return [Metric(prefix + row[0], *row[1:], source=source, always=always, nullable=nullable) for row in rows]


UP: Direction = "maximize"
DOWN: Direction = "minimize"

_VALIDATION = (
    _of(
        "validation",
        ("total_return", UP, "fraction", "return", "last equity over the first, less one"),
        ("annual_return", UP, "fraction", "annual return", "compound growth per year"),
        ("volatility", DOWN, "fraction", "volatility", "annual standard deviation of the bars' returns"),
        ("sharpe", UP, "annual ratio", "Sharpe", "mean over standard deviation of the bars' returns; cash earns 0 %"),
        ("sortino", UP, "annual ratio", "Sortino", "mean return over the downside deviation, annual"),
        ("calmar", UP, "annual ratio", "Calmar", "annual return over maximum drawdown"),
        ("max_drawdown", DOWN, "fraction", "max drawdown", "largest loss of equity from a peak, of that peak"),
        ("drawdown_length", DOWN, "bars", "drawdown length", "longest run of bars below an earlier peak"),
        ("hit_rate", UP, "fraction", "hit rate", "bars with a gain, of the bars with a gain or a loss"),
        ("tail_ratio", UP, "ratio", "tail ratio", "95th percentile of the bars' returns over the 5th, as sizes"),
        ("skewness", UP, "ratio", "skewness", "third standardised moment of the bars' returns"),
        ("kurtosis", DOWN, "ratio", "kurtosis", "fourth standardised moment of the bars' returns; a normal's is 3"),
        ("best_bar", UP, "small fraction", "best bar", "highest return of a bar"),
        ("worst_bar", UP, "small fraction", "worst bar", "lowest return of a bar"),
        ("n_bars", None, "bars", "bars", "bars of a fold's validation windows"),
        ("years", None, "years", "years", "length of a fold's validation windows"),
        ("turnover", DOWN, "per year", "turnover", "traded notional over equity, in a year"),
        ("fees", DOWN, "fraction", "fees", "sum of the fees paid in each bar, of equity"),
        ("break_even_fee", UP, "small fraction", "break-even fee", "fee at which equity would end where it began"),
        ("exposure", None, "fraction", "exposure", "mean fraction of equity in assets"),
        ("n_trades", DOWN, "count", "trades", "orders that were filled"),
        ("round_trips", None, "number", "round trips", "traded notional over twice the mean equity"),
        prefix=VALIDATION,
    )
    + _of(
        "validation",
        (
            "active_sharpe",
            UP,
            "annual ratio",
            "active Sharpe",
            "Sharpe ratio of the active returns, which are the returns "
            "less those of equal weight at the same mean exposure",
        ),
        ("active_skewness", UP, "ratio", "active skewness", "third standardised moment of the active returns"),
        ("active_kurtosis", DOWN, "ratio", "active kurtosis", "fourth standardised moment of the active returns"),
        (
            "active_newey_west",
            DOWN,
            "annual ratio",
            "robust error of active Sharpe",
            "of a training, by Newey and West",
        ),
        ("information_ratio", UP, "annual ratio", "information ratio", "Sharpe ratio of returns less equal weight's"),
        ("alpha", UP, "fraction", "alpha", "mean return that equal weight's returns do not explain, annual"),
        ("alpha_error", DOWN, "fraction", "error of alpha", "standard error of alpha, by Newey and West"),
        ("sharpe_newey_west", DOWN, "annual ratio", "robust error of Sharpe", "of one training, by Newey and West"),
        ("beta", None, "ratio", "beta", "slope of the returns on equal weight's, by least squares"),
        prefix=VALIDATION,
        nullable=True,  # below 1 % mean exposure, and the error of a single return
    )
    + _of(
        "validation",
        ("sharpe_error", DOWN, "annual ratio", "error of Sharpe", "standard error of the mean over folds and seeds"),
        ("active_sharpe_error", DOWN, "annual ratio", "error of active Sharpe", "as that of the Sharpe ratio"),
        prefix=VALIDATION,
        always=False,  # of trials with several trainings
        nullable=True,
    )
)

_TRAINING = _of(
    "training",
    ("env_steps", None, "count", "env steps", "steps of all environments, over all trainings of the trial so far"),
    ("iteration", None, "count", "iteration", "of the PPO of the current training"),
    ("reward", UP, "number", "reward", "mean return of the episodes that ended in an iteration"),
    ("loss/policy", None, "number", "policy loss", "PPO's clipped surrogate with its sign turned"),
    ("loss/value", DOWN, "number", "value loss", "mean squared error of the values"),
    ("entropy", None, "number", "entropy", "of the policy's distribution of actions, in nats"),
    ("kl", None, "number", "KL divergence", "of the policy from the one that sampled, in nats"),
    ("clip_fraction", None, "fraction", "clip fraction", "samples whose probability ratio PPO clips"),
    ("explained_variance", UP, "ratio", "explained variance", "share of the returns' variance that the values explain"),
    ("gradient_norm", None, "number", "gradient norm", "of all gradients together, before they are clipped"),
    ("steps_per_second", UP, "per second", "steps per second", "env steps over the wall time of an iteration"),
    ("steps_per_second/sampling", UP, "per second", "sampling speed", "env steps over the time that sampling took"),
    ("steps_per_second/learning", UP, "per second", "learning speed", "env steps over the time that the update took"),
    ("seconds/sampling", DOWN, "seconds", "sampling time", "of an iteration without the update"),
    ("seconds/learning", DOWN, "seconds", "learning time", "of an iteration's update"),
    (WALL_SECONDS, DOWN, "duration", "wall time", "since the trial's process started or resumed"),
) + _of(
    "training",
    ("intraclass_correlation", None, "ratio", "correlation of advantages", "between the accounts of a bar"),
    prefix="advantages/",
    always=False,  # of trials with several accounts per bar
)

_SELECTION = _of(
    "training",
    (SELECTED_STEPS, None, "count", "selected env steps", "of a training, at the evaluation that is its result"),
    (EVALUATIONS, None, "count", "evaluations", "of a training so far, of which the best one is its result"),
    always=False,  # of trials with `select: best_validation`
)

_ENCODER = _of(
    "encoder",
    ("encoder/attention_entropy", None, "ratio", "attention entropy", "of the readout over tokens; 1: equal attention"),
    ("encoder/attention/asset/*", None, "whole fraction", "attention to *", "of the readout, over the market"),
    ("encoder/attention/indicator/*", None, "whole fraction", "attention to *", "of the readout, over the market"),
    ("encoder/token_norm", None, "number", "token norm", "mean Euclidean norm of the tokenizer's tokens"),
    ("encoder/weight_drift", None, "ratio", "weight drift", "tower's distance from its start, relative to the start"),
    ("encoder/gradient_norm", None, "number", "tower's gradient norm", "of the market tower, where it trains"),
    always=False,
)

_MACHINE = _of(
    "machine",
    (CPU_SECONDS, DOWN, "duration", "CPU time", "booked CPU cores times the time they were booked"),
    (GPU_SECONDS, DOWN, "duration", "GPU time", "booked shares of GPUs times the time they were booked"),
    (PLANNED_GIB, DOWN, "GiB", "GPU memory planned", "of the learner, by the VRAM plan"),
    (USED_GIB, DOWN, "GiB", "GPU memory used", "the most that the learner's process held at once"),
    always=False,
)

_PRETRAINING = _of(
    "pretraining",
    ("epoch", None, "count", "epoch", "of a pre-training job, counted from 1"),
    ("best_epoch", None, "count", "best epoch", "the one of the lowest validation loss"),
    (PRETRAINING_LOSS, DOWN, "loss", "validation loss", "of cells and of the pooled vector, on the validation part"),
    ("validation_masked_loss", DOWN, "loss", "validation loss, masked", "error of hidden cells"),
    ("validation_pooled_loss", DOWN, "loss", "validation loss, pooled", "error of what the pooled vector predicts"),
    ("validation_present_loss", DOWN, "loss", "validation loss, present", "error of cells that are shown"),
    ("validation_return_loss", DOWN, "loss", "validation loss, returns", "error of coming returns and ranks"),
    ("train_loss", DOWN, "loss", "training loss", "of cells and of the pooled vector, on the part that is fitted"),
    ("train_masked_loss", DOWN, "loss", "training loss, masked", "error of hidden cells"),
    ("train_pooled_loss", DOWN, "loss", "training loss, pooled", "error of what the pooled vector predicts"),
    ("train_present_loss", DOWN, "loss", "training loss, present", "error of cells that are shown"),
    ("train_return_loss", DOWN, "loss", "training loss, returns", "error of coming returns and ranks"),
    ("learning_rate", None, "rate", "learning rate", "at the end of an epoch"),
    ("seconds", DOWN, "seconds", "time of an epoch", "training and validation together"),
)

METRICS: dict[str, Metric] = {
    one.name: one for one in (*_VALIDATION, *_TRAINING, *_SELECTION, *_ENCODER, *_MACHINE, *_PRETRAINING)
}

_FAMILIES = {name[:-1]: one for name, one in METRICS.items() if name.endswith("*")}
_FAMILY_NAMES = tuple(_FAMILIES)

EVALUATED = "evaluated"
"""In the report that ends a training whose result is an earlier evaluation: what the last evaluation measured."""

PLACES = ("fold", "seed", "run_done", "runs_done", "runs", EVALUATED)
"""What a report holds that is no metric: which training it is of, and which are finished, each with its own metrics."""

EQUAL_WEIGHT, CASH = "equal_weight", "cash"
"""The names of the benchmark that a policy is first compared with, and of the one that never trades."""

CANNOT_TRADE = "cannot_trade"
"""What a benchmark has in place of measures if its orders would all be dropped: why."""


def find_metric(name: str) -> Metric | None:
    """The metric of a name, if there is one."""
    if name in METRICS:
        return METRICS[name]
    return next((one for start, one in _FAMILIES.items() if name.startswith(start)), None)


def metric(name: str) -> Metric:
    """The metric of a name. Raises: MetricError with the nearest name."""
    found = find_metric(name)
    if found is None:
        raise MetricError(f"no metric is called {name!r}; {nearest(name, METRICS)}")
    return found


def metric_direction(name: str) -> Direction:
    """Which way a metric is better. Raises: MetricError for an unknown one, and where neither way is."""
    found = metric(name)
    if found.direction is None:
        raise MetricError(f"{name} ({found.computed_from}) is neither better high nor low: name a direction")
    return found.direction


def check_reported(names: Iterable[str]) -> None:
    """Refuses a report that holds anything but metrics of the table and the training that they are of.

    Raises: MetricError with the unknown name.
    """
    for name in names:  # a `find_metric` for each would be a third of what a report costs
        if name not in METRICS and name not in PLACES and not name.startswith(_FAMILY_NAMES):
            raise MetricError(f"{name!r} cannot be reported, it is not in ftray.metrics; {nearest(name, METRICS)}")


def searchable(job: str) -> dict[str, Metric]:
    """The metrics that a study may name in objectives and constraints, by the kind of job that it searches.

    A search for pre-training has one: at its end a job reports it for its best epoch, and all others for its last one.
    """
    if job == "pretraining":
        return {PRETRAINING_LOSS: METRICS[PRETRAINING_LOSS]}
    return {name: one for name, one in METRICS.items() if one.source in ("validation", "training") and one.always}


def format_metric(name: str, value: Any) -> str:
    """A metric's value as people read it; of an unknown metric, a number of any size."""
    found = find_metric(name)
    return UNITS["number"].format(value) if found is None else found.format(value)


def metric_title(name: str) -> str:
    """A metric's column heading and axis label; its name if it is unknown."""
    found = find_metric(name)
    return name if found is None else found.title.replace("*", name[len(found.name) - 1 :])
