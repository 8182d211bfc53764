"""A policy on later candles: bars after everything that it has seen, under its own scaler, layout and trading rules.

Takes: a policy, and a market that has later bars. Gives: its backtest and those of the benchmarks. Each look is
recorded before its measures are known to anyone: in the ledger next to run folders, and in the policy's run folder.

Nothing is fitted here. What the policy observes may begin before the bars that it is judged on: its lookback, and what
indicators need before that.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ftray.analysis.later_looks import Deployed, looking
from ftray.errors import DataError, FtrayError, RefusedError
from ftray.features import Dataset, FeatureSpec, build_dataset, build_table
from ftray.features.dataset import open_test_window
from ftray.features.history import History, check_interval, interval_of, overlapping
from ftray.market import (
    Candles,
    FilesSpec,
    FoldsSpec,
    MarketSpec,
    Pieces,
    Window,
    Windows,
    load_market,
    moment,
    parse_moment,
)
from ftray.market.intervals import interval_text
from ftray.plugins import check_loaded
from ftray.runs.seen_bars import SeenBars
from ftray.runs.trial import TrialFolder
from ftray.runs.version_0_1 import upgrade_trial
from ftray.say import Say
from ftray.spec import fingerprint, parse, parse_member
from ftray.storage import Location
from ftray.trading import Backtest, MarketRules, backtest, benchmarks

SEEN = {
    "pretraining": "its encoder was pre-trained on",
    "train": "it was trained on",
    "validation": "it was chosen on",
    "test": "are in the closed test window, which `ftray promote` alone reads",
}
"""What a policy had to do with the bars of each of its windows."""


def backtest_policy(
    policy: Deployed,
    market: "MarketSpec | Candles | Location",  # a family cannot be hashed, which a union needs
    *,
    from_: str | None = None,
    to: str | None = None,
    force: bool = False,
    run: Location | None = None,
    say: Say = print,
) -> dict[str, Backtest]:
    """Backtests of a policy and of the benchmarks by name, on candles after everything that the policy has seen.

    The policy observes with its own scaler and layout, trades by its own rules, and fits nothing. The look is recorded.

    policy: one of `load_policy`.
    market: a folder of candle files or its URL, any market's description, or candles. They may hold other assets, too,
        and earlier bars, which the first observations and indicators need.
    from_: the first bar that is judged opens then or later, a date or a time in UTC; None: the first bar after the
        train, validation and test windows, and those of the pre-trained encoder.
    to: the last bar that is judged opens before then; None: all.
    force: judges bars that the policy has seen, or of which that is not known; this is recorded.
    run: the run folder whose policy it is; None: the one that the policy's folder lies in, if any.
    say: gets a line about earlier looks at the same bars, and about bars that no decision could be made at.

    Raises: RefusedError for bars that the policy has seen; DataError for candles without later bars, of another
        interval or without one of its assets; PluginError; RunFolderError while another process drives the study.
    """
    check_loaded(policy.facts.get("plugins") or {}, "this policy")
    history, unknown = _history(policy)
    candles = _candles(policy, market, history, say)
    bars = _bars(candles, history, from_, to)
    times = candles.times[bars.start : bars.stop]
    objections = _objections(times, history, unknown)
    if objections and not force:
        raise _refusal(times, history, objections)
    reads_test = history is not None and overlapping(history.windows["test"], times) > 0
    with looking(policy, run, SeenBars.of(candles, [bars]), candles.regimes is not None, say) as record:
        found = _backtests(policy, candles, bars, history, opened=bool(objections), say=say)
        record(found, objections, reads_test)
    return found


def run_policy(policy: Deployed, dataset: Dataset, bars: Pieces, rules: MarketRules) -> dict[str, Backtest]:
    """Backtests by name of a policy and of the benchmarks, on any bars of a dataset under its scaler."""

    def act(at: np.ndarray, account: np.ndarray) -> np.ndarray:
        return policy(dataset.table.observation(at, account))

    return {"policy": backtest(act, dataset, bars, rules), **benchmarks(dataset, bars, rules)}


def candles_of(policy: Deployed, market: MarketSpec) -> Candles:
    """The candles of the policy's assets, in its order; files of other assets are not read.

    Raises: DataError if one is missing.
    """
    symbols = policy.layout.symbols
    if isinstance(market, FilesSpec) and market.symbols is None:
        market = dataclasses.replace(market, symbols=symbols)
    return load_market(market).of(symbols)


def _history(policy: Deployed) -> tuple[History | None, str | None]:
    """What the policy has seen; None, with the reason, if that is not known any more."""
    history = History.from_facts(policy.facts)
    if history is not None:
        return history, None
    try:
        return _rebuilt_history(policy), None
    except (FtrayError, LookupError, TypeError) as error:
        return None, f"nobody knows which ones it has seen: an earlier version wrote no times into its folder ({error})"


def _rebuilt_history(policy: Deployed) -> History:
    """The history of a policy whose folder has none, from the candles of its trial as they are now.

    Raises: FtrayError or LookupError where that cannot be known.
    """
    trial, fold = upgrade_trial(policy.facts["trial"]), policy.facts["fold"]
    market = parse_member(MarketSpec, trial["market"])
    windows = parse_member(FoldsSpec, trial["windows"])
    dataset = build_dataset(market, windows, parse(FeatureSpec, trial["features"]), fold)
    if dataset.table.scaler.to_mapping() != policy.scaler.to_mapping():
        raise DataError("and the candles of its trial have changed since: restore them")
    return History.of(dataset, _pretrained_on(policy, trial["encoder"]))


def _pretrained_on(policy: Deployed, encoder: dict[str, Any]) -> Sequence[Sequence[str]]:
    """The train windows of the encoder that the policy's training started from, from the events of its trial."""
    if encoder.get("pretrained", "none") == "none":
        return ()
    training = (policy.facts["fold"], policy.facts["seed"])
    for event in reversed(TrialFolder(policy.folder.parent).events() if policy.folder else []):
        if event["event"] == "run_started" and (event["fold"], event["seed"]) == training:
            return event["trained_on"] or ()
    raise DataError("and no event of its trial says what its encoder was pre-trained on")


def _candles(policy: Deployed, market: "MarketSpec | Candles | Location", history: History | None, say: Say) -> Candles:
    """The candles to judge on, of the policy's assets in its order.

    Raises: DataError for those of another interval, or without one of the assets.
    """
    interval = history.interval if history else interval_of(policy.facts)
    if isinstance(market, Candles):
        candles = market.of(policy.layout.symbols)
    elif isinstance(market, str | Path):
        files = FilesSpec(path=str(market))
        known = {} if interval is None else {"interval": interval_text(interval)}
        candles = candles_of(policy, dataclasses.replace(files, **known))
    else:
        candles = candles_of(policy, market)
    if interval is None:
        found = interval_text(candles.interval)
        say(f"an earlier version did not record on bars of which length this policy decides; these are of {found}")
    check_interval(interval, candles)
    return candles


def _bars(candles: Candles, history: History | None, from_: str | None, to: str | None) -> Window:
    """The bars that were asked for; by default those after everything that the policy has seen.

    Raises: DataError if there are not two; SpecError for a date that is none.
    """
    times = candles.times
    start, stop = 0, len(times)
    if from_ is not None:
        start = int(np.searchsorted(times, parse_moment(from_)))
    elif history is not None:
        start = int(np.searchsorted(times, history.last_seen, side="right"))
    if to is not None:
        stop = int(np.searchsorted(times, parse_moment(to)))
    if stop - start < 2:
        after = f" before {to}" if to else ""
        since = f"from {from_ or moment(times[0])} on"
        if from_ is None and history is not None:
            since = f"after {moment(history.last_seen)}, the last that it has seen"
        raise DataError(
            f"a policy is judged on two bars or more, and there are {max(stop - start, 0)} {since}{after}: the candles "
            f"have {moment(times[0])} to {moment(times[-1])}"
        )
    return Window(start, stop)


def _objections(times: np.ndarray, history: History | None, unknown: str | None) -> tuple[str, ...]:
    """Why the bars of these times are not new to the policy; none if they are."""
    if history is None:
        return (str(unknown),)
    counts = {side: overlapping(spans, times) for side, spans in history.windows.items()}
    found = tuple(f"{n} {SEEN[side]}" for side, n in counts.items() if n)
    early = int((times <= history.last_seen).sum())
    return found or ((f"{early} open before the last one that it has seen",) if early else ())


def _refusal(times: np.ndarray, history: History | None, objections: Sequence[str]) -> RefusedError:
    """What says that the bars of these times are not new to the policy."""
    since = "" if history is None else f", those after {moment(history.last_seen)}"
    return RefusedError(
        f"a policy is judged on bars that it has not seen{since}. Of the {len(times)} from {moment(times[0])} to "
        f"{moment(times[-1])}, {'; '.join(objections)}. Name later ones; --force (force=True) judges it anyway, "
        "and is recorded"
    )


def _backtests(
    policy: Deployed, candles: Candles, bars: Window, history: History | None, *, opened: bool, say: Say
) -> dict[str, Backtest]:
    """The backtests on these bars. opened: whether bars of the test window may be among them."""
    layout, rules = policy.layout, upgrade_trial(policy.facts["trial"])["trading"]["rules"]
    features = FeatureSpec(lookback=layout.lookback, indicators=layout.indicators, clip=policy.scaler.clip)
    table = build_table(candles, features, (), scaler=policy.scaler)
    none = Window(len(candles), len(candles))
    windows = Windows((), (), history.windows_in(candles).test if history else none)
    dataset = Dataset(candles, table, windows, fingerprint(candles.fingerprint, layout.to_mapping()))
    if opened:
        dataset, _ = open_test_window(dataset)
    observed = Window(max(0, bars.start - layout.lookback + 1), bars.stop)
    found = run_policy(policy, dataset, observed, parse(MarketRules, rules))
    first = int(found["policy"].bars[0])
    if first > bars.start:
        say(
            f"the first decision is at {moment(candles.times[first])}: {first - bars.start} bars before it have no "
            f"unbroken run of {features.warm_up + layout.lookback} bars behind them, which indicators and lookback need"
        )
    return found
