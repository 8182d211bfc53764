"""The text of a drafted study file: every value with a comment that says where it comes from.

Takes: a `Plan`. Gives: YAML, as a person would write it.
"""

import dataclasses
import json
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ftray.capacity.nodes import Node
from ftray.features import FeatureSpec
from ftray.market import Survey, Window, WindowsSpec, moment_text, parse_interval
from ftray.shipped import SCHEMA
from ftray.stats import luck_line, sharpe_error
from ftray.study.estimate import Estimate
from ftray.study.fitting import Fit
from ftray.trading import MarketRules
from ftray.version import __version__
from ftray.yaml_reader import read_yaml

WIDTH = 110
"""Of a line of comment."""


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """What a drafted study does. wide: whether it searches the encoder's shape. estimate: None until it is made."""

    survey: Survey
    fit: Fit
    machine: Node
    hours: float
    env_steps: int
    wide: bool
    n_trials: int = 1
    estimate: Estimate | None = None

    @property
    def n_validated(self) -> int:
        """Usable bars of all validation windows."""
        return sum(self.fit.n_validation)

    @property
    def years_validated(self) -> float:
        return self.n_validated / self.survey.bars_per_year

    @property
    def sharpe_error(self) -> float:
        """Standard error of an annual Sharpe ratio near 0 over all validation windows."""
        return sharpe_error(0.0, self.n_validated, self.survey.bars_per_year)


def study_text(plan: Plan, file: str, name: str | None) -> str:
    """The content of the file.

    file: its name in the commands of its comments. name: the study's, where it is not the file's.
    """
    lines = [
        f"# yaml-language-server: $schema={SCHEMA}",
        *_header(plan, file, name),
        *([f"name: {_inline(name)}"] if name else []),
        "trial:",
    ]
    for part in (_market, _windows, _features, _encoder, _trading, _ppo):
        lines += [f"  {line}" for line in part(plan)]
    return "\n".join([*lines, "search:", *(f"  {line}" for line in _search(plan))]) + "\n"


def _inline(value: Any) -> str:
    """A value as YAML on one line; quoted where it would be read as something else (a symbol named ON)."""
    text = yaml.safe_dump([value], default_flow_style=True, width=10**9, allow_unicode=True).strip()[1:-1]
    return text if read_yaml(text) == value else json.dumps(value)  # 1e5 is text to YAML 1.1


def _comment(*texts: str) -> Iterator[str]:
    """Texts as lines of a comment, each beginning on a line of its own."""
    for text in texts:
        for line in textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False):
            yield f"# {line}"


def day(time: np.datetime64) -> str:
    """A time's date, ISO 8601."""
    return str(time.astype("datetime64[D]"))


def years_text(years: float) -> str:
    """A span in years, or in days where it is short."""
    return f"{years:.1f} years" if years >= 1 else f"{365 * years:.0f} days"


def seconds_text(seconds: float) -> str:
    """A length of time in one unit, as precise as an estimate is."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6_000 else f"{seconds / 3600:.1f} h"


def _header(plan: Plan, file: str, name: str | None) -> Iterator[str]:
    look = f"{name or Path(file).stem}_first_look"
    file = shlex.quote(file)
    yield f"# A first study of these candles, written by `ftray init` {__version__}. Every value may be changed."
    yield f"#   ftray check {file}    data, ranges, duration; starts nothing"
    yield f"#   ftray tune {file}     runs it; the same command continues it"
    small = [shlex.quote(f"name={look}"), "search.n_trials=4", "trial.ppo.env_steps=4096", "trial.pretraining.epochs=1"]
    if plan.fit.n_folds > 1:
        small.append("'trial.windows={kind: single}'")
    yield "# A small first run, which shows whether everything works as you expect:"
    yield f"#   ftray tune {file} {' '.join(f'--set {one}' for one in small)}"


def _market(plan: Plan) -> Iterator[str]:
    survey, n_gaps = plan.survey, len(plan.survey.segments) - 1
    quote = survey.files[0].name.quote
    yield from _comment(
        f"{len(survey.times):,} bars of {survey.interval} that {len(survey.files)} file(s) have in common, "
        f"{day(survey.times[0])} to {day(survey.times[-1])}, UTC{f', quoted in {quote}' * bool(quote)}. "
        + (f"Gaps in time: {n_gaps}; no observation, episode or backtest spans one." if n_gaps else "No gaps in time."),
        *(f"Left out: {one.path.name}: {' '.join(one.why.split())}" for one in survey.left_out if one.symbol),
    )
    yield "market:"
    yield "  kind: files"
    yield f"  path: {_inline(str(survey.path))}"
    yield f"  interval: {_inline(survey.interval)}"
    symbols = textwrap.wrap(", ".join(_inline(symbol) for symbol in survey.symbols), WIDTH - 20)
    yield f"  symbols: [{(chr(10) + ' ' * 14).join(symbols)}]"
    end = survey.times[-1] + parse_interval(survey.interval)
    yield f"  to: {_inline(moment_text(end))}  # bars that are appended to the files later do not change this study"


def _windows(plan: Plan) -> Iterator[str]:
    fit, spec, times = plan.fit, plan.fit.windows, plan.survey.times
    reach = f"lookback + holding = {fit.lookback} + {spec.holding} = {fit.lookback + spec.holding} bars"
    what = (
        "One split." if fit.n_folds == 1 else f"{fit.n_folds} folds, each validated on bars after those it trains on."
    )
    yield from _comment(f"{what} {reach} are left out between two windows: closer ones share information (the purge).")
    for i, one in enumerate(fit.folds.folds):
        train, validation = (_dates(window, times) for window in (*one.train, *one.validation))
        fold = f"fold {i + 1}: " * (fit.n_folds > 1)
        usable = f"{fit.n_train[i]:,} and {fit.n_validation[i]:,} usable bars"
        yield f"#   {fold}train {train}, validation {validation}: {usable}"
    yield f"#   test {_dates(fit.folds.test, times)}: {fit.n_test:,} usable bars, read by `ftray promote` alone, once"
    yield from _comment(
        f"On the {plan.n_validated:,} usable validation bars ({years_text(plan.years_validated)}) the standard error "
        f"of an annual Sharpe ratio near 0 is {plan.sharpe_error:.2f}: a Sharpe ratio below twice that may "
        "be luck. Candles over more years make the error smaller; more trials do not."
    )
    if isinstance(spec, WindowsSpec):
        fields = f"kind: single, validation: {spec.validation:g}, test: {spec.test:g}"
    else:
        fields = f"kind: walk_forward, n_folds: {fit.n_folds}, train: {spec.train:g}, test: {spec.test:g}"  # type: ignore[union-attr]
    yield f"windows: {{{fields}, holding: {spec.holding}}}"


def _dates(window: Window, times: np.ndarray) -> str:
    return f"{day(times[window.start])} to {day(times[window.stop - 1])}"


def _features(plan: Plan) -> Iterator[str]:
    n_assets, n_indicators, lookback = len(plan.survey.files), len(FeatureSpec().indicators), plan.fit.lookback
    size = 1 + n_assets + n_assets * n_indicators * lookback
    yield from _comment(
        f"An observation has {size:,} floats: cash, {n_assets} holding(s), and {n_indicators} indicators of {n_assets} "
        f"asset(s) over {lookback} bars. At the start and after each gap, the policy makes no decision at the first "
        f"{FeatureSpec().warm_up} bars (the indicators' warm-up) and {lookback - 1} more."
    )
    yield f"features: {{lookback: {lookback}}}"


def _encoder(plan: Plan) -> Iterator[str]:
    lookback = plan.fit.lookback
    yield from _comment(
        "The study compares an MLP, an FT-Transformer that is trained from scratch, and one that is pre-trained (on "
        "training windows alone) and then frozen or fine-tuned."
        + ("" if plan.wide else " The transformer has one shape, because the hours are few.")
    )
    yield "encoder:"
    yield "  choice:"
    yield "    - {kind: mlp, hidden: 512, encoding_dim: {int: [256, 1024, 256]}}"
    yield "    - &ft"
    yield "      kind: ft"
    yield f"      d_token: {'{choice: [32, 64]}' if plan.wide else 32}"
    yield f"      n_blocks: {'{int: [1, 2]}' if plan.wide else 1}"
    yield f"      n_heads: {'{choice: [2, 4]}' if plan.wide else 2}"
    yield "      encoding_dim: {int: [256, 1024, 256]}"
    yield f"      patch_length: {lookback}  # one token per series; shorter patches attend along time, and cost more"
    yield "      pretrained: none"
    yield "    - {<<: *ft, pretrained: auto, frozen: {choice: [true, false]}, readout: forecasts}"
    cpus = 2 if plan.machine.cpus >= 2 else 1
    yield "pretraining:"
    yield "  epochs: 8"
    yield "  batch_size: 128"
    yield "  learning_rate: 3e-3"
    yield "  windows_per_epoch: 8192"
    yield "  return_weight: 0.3  # foresees returns as well, which readout: forecasts shows to the policy"
    yield f"  cpus: {cpus}"


def _trading(plan: Plan) -> Iterator[str]:
    rules, episode = MarketRules(), min(500, min(plan.fit.n_train) // 2)
    yield from _comment(
        f"The defaults: a fee of {rules.fee:.2%} of each order's notional and {rules.slippage:.2%} slippage, more than "
        "large exchanges charge. Set your own. The policy trades only to the edge of a zone around what it wants "
        "(no_trade): without one it pays fees for noise."
    )
    yield "trading:"
    yield f"  rules: {{fee: {rules.fee:g}, slippage: {rules.slippage:g}}}"
    yield f"  episode_bars: {episode}"
    yield "  no_trade: {choice: [0.05, 0.1]}"


def _ppo(plan: Plan) -> Iterator[str]:
    passes = plan.env_steps / max(plan.fit.n_train)
    yield from _comment(
        f"One env step advances one account by one bar; these are {passes:.1f} passes over the longest training "
        "window. More steps may learn more, and take time in proportion."
    )
    yield "ppo:"
    yield f"  env_steps: {plan.env_steps}"
    yield "  train_batch_size: 2048"
    yield "  minibatch_size: 256"
    yield "  epochs: 4"
    yield "  learning_rate: {log: [1e-4, 1e-3]}"
    yield "  alternatives: 15  # further actions per account and bar, priced exactly: prices do not answer them"
    yield "  gamma: 0.9"
    yield "  gae_lambda: 0"
    yield "  fine_tune_factor: 1  # a tower that is fine-tuned learns at the rate of the heads from the start"
    yield "  fine_tune_warm_up: 0"
    yield f"  n_env_runners: {2 if plan.machine.cpus >= 2 else 0}"


def _search(plan: Plan) -> Iterator[str]:
    if plan.estimate:
        yield from _comment(
            *budget_lines(plan),
            f"Of {plan.n_trials} trials without skill, the best is expected to show an active Sharpe ratio of "
            f"{luck_line(plan.n_trials, plan.years_validated):.2f} on these validation bars by luck alone (the luck "
            "line of `ftray results`): more trials raise it.",
        )
    yield "objective: validation/active_sharpe  # relative to equal weight at the same exposure"
    yield f"n_trials: {plan.n_trials}"
    yield f"budget: {{hours: {plan.hours:g}}}  # then it stops; the same command with a larger budget continues"
    yield "# The first trials, so that every kind of encoder is tried. Values that a point leaves out are sampled."
    yield "points:"
    shape = ", trial/encoder/d_token: {0}, trial/encoder/n_blocks: {1}, trial/encoder/n_heads: {2}" * plan.wide
    small, large = shape.format(32, 1, 2), shape.format(64, 2, 4)
    yield f"  - {{trial/encoder/kind: ft pretrained=auto readout=forecasts, trial/encoder/frozen: true{small}}}"
    yield "  - {trial/encoder/kind: mlp}"
    yield f"  - {{trial/encoder/kind: ft pretrained=none{small}}}"
    yield f"  - {{trial/encoder/kind: ft pretrained=auto readout=forecasts, trial/encoder/frozen: false{small}}}"
    if plan.wide:
        yield f"  - {{trial/encoder/kind: ft pretrained=auto readout=forecasts, trial/encoder/frozen: true{large}}}"


def budget_lines(plan: Plan) -> Iterator[str]:
    """How long the study is expected to take on its machine, and what this estimate is based on."""
    estimate, machine = plan.estimate, plan.machine
    assert estimate is not None
    gpu = f"{machine.n_gpus} × {machine.gpu.name}" if machine.gpu else "no GPU"
    hours = estimate.hours(plan.n_trials)
    yield (
        f"{plan.n_trials} trials take about {seconds_text(3600 * hours)} on this machine ({machine.cpus:g} CPU(s), "
        f"{gpu}, {estimate.at_once} trial(s) at a time): an estimate, which may be wrong by a factor of two or three."
    )
    each = "; ".join(f"{name} {seconds_text(speed.training)}" for name, speed in estimate.speeds.items())
    n_measured = sum(speed.n_measured for speed in estimate.speeds.values())
    source = "training steps that `ftray init` timed on this machine"
    if n_measured:
        source = f"{n_measured} trials that ended here before; where none had the encoder, on steps that it timed"
    yield (
        f"The estimate is based on {source}. A trial has {estimate.trainings} training(s) of {plan.env_steps:,} env "
        f"steps. One takes: {each}. A pre-training, once per shape and fold: {seconds_text(estimate.pretraining)}."
    )
    if hours > plan.hours:
        yield f"That is more than the {plan.hours:g} hours: the budget ends the study before its last trial."
