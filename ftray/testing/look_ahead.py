"""The proof that nothing looks ahead: whatever happens after bar t, no bit of what is computed at t changes.

The future of a market is rewritten (other prices and volumes, a crash without a trade, no future at all), and what was
computed from its candles is compared with what it was.

Legend: T bars, A assets.
"""

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from ftray.features import Dataset, FeatureTable
from ftray.market import Candles, Window, Windows
from ftray.testing.contract import broken
from ftray.trading import MarketRules, TradingEnv, TradingSpec

WALK = 6
"""Steps that an account takes to arrive at bar t: its holdings are part of the observation there."""

Future = Callable[[np.ndarray, int], np.ndarray]
"""Candles (T, ..., 5) and a bar t → candles that are the same up to t, and others after it; all of them legal."""

Policy = Callable[[np.ndarray], tuple[np.ndarray, ...]]
"""An observation (size,) → whatever the policy computes on its way, and last its action (A,)."""


def _another_market(values: np.ndarray, t: int) -> np.ndarray:
    """The same bars in reverse order, at nine times the price: each is a legal candle still."""
    return np.concatenate([values[: t + 1], values[:t:-1] * [9.0, 9.0, 9.0, 9.0, 1e3]])


def _a_crash_without_trades(values: np.ndarray, t: int) -> np.ndarray:
    return np.concatenate([values[: t + 1], values[t + 1 :] * [1e-3, 1e-3, 1e-3, 1e-3, 0.0]])


def _one_other_bar(values: np.ndarray, t: int) -> np.ndarray:
    changed = values.copy()
    changed[t + 1 : t + 2] *= 1.5
    return changed


def _no_future(values: np.ndarray, t: int) -> np.ndarray:
    return values[: t + 1].copy()


FUTURES: Mapping[str, Future] = {
    "another market followed": _another_market,
    "a crash without trades followed": _a_crash_without_trades,
    "the next bar alone was another": _one_other_bar,
    "the candles ended there": _no_future,
}


def rewritten(candles: Candles, t: int, future: Future) -> Candles:
    """The same market up to bar t, with another future."""
    values = future(candles.values, t)
    return Candles(candles.symbols, candles.times[: len(values)], values, candles.interval)


def assert_no_look_ahead(
    compute: Callable[[np.ndarray], np.ndarray],
    candles: np.ndarray,
    bars: Iterable[int],
    *,
    known_from: int = 0,
    name: str = "it",
) -> None:
    """No value at a bar changes when the candles after it do, to the last bit.

    compute: candles (T, ..., 5) → values (T, ...), a row for each bar.
    candles: (T, ..., 5) float64.
    bars: those after which the future is rewritten.
    known_from: values of earlier bars mean nothing.
    name: of what is computed, for the message.

    Raises: AssertionError that names a bar, its two values, and how far ahead it looked.
    """
    whole = compute(candles)
    for t in bars:
        for what, future in FUTURES.items():
            one, other = (np.asarray(values)[known_from : t + 1] for values in (whole, compute(future(candles, t))))
            same = (one == other) | (np.isnan(one) & np.isnan(other))
            if same.all():
                continue
            place = tuple(np.argwhere(~same)[0])
            bar = known_from + int(place[0])
            raise broken(
                f"the value of {name} at a bar must be the same whatever comes after that bar",
                f"at bar {bar} it is {one[place]:.6g}, and {other[place]:.6g} where {what} bar {t}: "
                f"it looks {t + 1 - bar} or more bars ahead",
                "compute bar t from candles[: t + 1] alone. Usual causes: shift(-1), x[1:] one bar early, a "
                "centred or `same` window, mean() or std() or max() of the whole array, a backward fill",
            )


def walk(candles: Candles, table: FeatureTable, t: int, policy: Policy) -> list[np.ndarray]:
    """All that an account sees and does on its way to bar t, in a market whose last bar may be t.

    Orders fill at opens, with impact: fills, too, could come from a bar that they must not know.
    """
    whole, none = Window(0, len(candles)), Window(len(candles), len(candles))
    dataset = Dataset(candles, table, Windows((whole,), (whole,), none), fingerprint="")
    env = TradingEnv(dataset, whole, TradingSpec(rules=MarketRules(impact=0.01), reward="differential_sharpe"))
    observation, info = env.reset(options={"bar": t - WALK})
    history = [observation, *policy(observation)]
    for _ in range(WALK):
        observation, reward, _, _, info = env.step(history[-1])
        history += [np.array([reward, info["equity"]]), observation, *policy(observation)]
    assert info["bar"] == t
    return history


def assert_walk_has_no_look_ahead(
    candles: Candles, build: Callable[[Candles], FeatureTable], t: int, policy: Policy, *, name: str = "the account"
) -> None:
    """Observations, encodings, actions, rewards and equity up to bar t are the same whatever comes after t.

    build: the feature table of candles; `candles` must go on for some bars after t.
    """
    known = walk(candles, build(candles), t, policy)
    for what, future in FUTURES.items():
        other = rewritten(candles, t, future)
        for one, changed in zip(known, walk(other, build(other), t, policy), strict=True):
            if not np.array_equal(one, changed):
                raise broken(
                    f"all that {name} sees and does up to bar t must be the same whatever comes after t",
                    f"something changed where {what} bar {t}",
                    "let observations, encodings and actions depend on the bars up to their own alone, and on no state",
                )
