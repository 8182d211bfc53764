"""How much of a Sharpe ratio is luck: its standard error, and the expected maximum of many trials without skill.

Takes: annualised Sharpe ratios with the length and the moments of the returns behind them, all plain floats that a
run's `performance` holds. Gives: probabilities, lengths, intervals.
Sharpe ratios are annual here and returns are counted in bars; the sources work with ratios per bar.
"""

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from ftray.stats.checks import (
    checked_confidence,
    checked_matrix,
    checked_periods,
    checked_positive,
    checked_trials,
)
from ftray.stats.student import student_probability

NORMAL = NormalDist()


def sharpe_error(
    sharpe: float, n_bars: float, periods_per_year: float, *, skewness: float = 0.0, kurtosis: float = 3.0
) -> float:
    """Standard error of an annual Sharpe ratio: √((1 − γ₃ SR + (γ₄ − 1)/4 SR²) / (T − 1)), SR per bar, annualised.

    Independent returns, not necessarily normal. Losing streaks that bets of negative skewness owe widen it.
    Source: Mertens 2002; Opdyke 2007, Comparing Sharpe Ratios: So Where Are the p-Values?; T − 1 as in Bailey and
    López de Prado 2012, The Sharpe Ratio Efficient Frontier.
    """
    periods = checked_periods(periods_per_year)
    if not n_bars >= 2:
        raise ValueError(f"a standard error needs at least 2 bars, got {n_bars}")
    return math.sqrt(_error_factor(sharpe, periods, skewness, kurtosis) / (n_bars - 1) * periods)


def sharpe_interval(
    sharpe: float,
    n_bars: float,
    periods_per_year: float,
    *,
    skewness: float = 0.0,
    kurtosis: float = 3.0,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Where the true annual Sharpe ratio is with this confidence, by `sharpe_error` and a normal distribution."""
    error = sharpe_error(sharpe, n_bars, periods_per_year, skewness=skewness, kurtosis=kurtosis)
    width = NORMAL.inv_cdf((1.0 + checked_confidence(confidence)) / 2) * error
    return sharpe - width, sharpe + width


def probabilistic_sharpe(
    sharpe: float,
    n_bars: float,
    periods_per_year: float,
    *,
    benchmark: float = 0.0,
    skewness: float = 0.0,
    kurtosis: float = 3.0,
) -> float:
    """Probability that the true annual Sharpe ratio exceeds `benchmark`: Φ((SR − SR*) / standard error).

    Source: Bailey and López de Prado 2012, The Sharpe Ratio Efficient Frontier, Journal of Risk 15(2).
    """
    error = sharpe_error(sharpe, n_bars, periods_per_year, skewness=skewness, kurtosis=kurtosis)
    return _cdf(sharpe - benchmark, error)


def deflated_sharpe(
    sharpe: float,
    n_bars: float,
    periods_per_year: float,
    *,
    n_trials: float,
    deviation: float | None = None,
    skewness: float = 0.0,
    kurtosis: float = 3.0,
) -> float:
    """Probability that the best of N trials has skill: its Sharpe ratio against the best that N skill-less would show.

    n_trials: all independent trials behind the choice; `effective_trials` counts correlated ones.
    deviation: standard deviation of the trials' annual Sharpe ratios, as in the source. None takes what skill-less
        trials have from sampling alone, √(periods / T): a search that has converged on one strategy has trials that
        hardly differ, and their own deviation would then forgive all the earlier draws.
    Source: Bailey and López de Prado 2014, The Deflated Sharpe Ratio, Journal of Portfolio Management 40(5).
    """
    periods = checked_periods(periods_per_year)
    error = sharpe_error(sharpe, n_bars, periods, skewness=skewness, kurtosis=kurtosis)
    deviation = math.sqrt(periods / n_bars) if deviation is None else deviation
    return _cdf(sharpe - expected_maximum_sharpe(n_trials, deviation), error)


def probability_above(sharpe: float, benchmark: float, error: float, n_bars: float, *, kurtosis: float = 3.0) -> float:
    """Probability that the true annual Sharpe ratio exceeds `benchmark`, of few bets too: T((SR − SR*) / error).

    T is Student's distribution with ν = 2 T / (γ₄ − 1) degrees of freedom: those of a normal sample whose variance is
    as uncertain (Satterthwaite 1946). A policy that trades on 2 % of the bars has a kurtosis of about 3 / 0.02: it is
    judged like one of 2/3 as many independent bets.

    error: a standard error, such as `sharpe_newey_west`. n_bars, kurtosis: of the returns.
    """
    if error == 0.0:
        return _cdf(sharpe - benchmark, error)
    return student_probability((sharpe - benchmark) / error, 2.0 * n_bars / max(kurtosis - 1.0, 1e-9))


def expected_maximum_sharpe(n_trials: float, deviation: float, effective: float | None = None) -> float:
    """Expected best Sharpe ratio of N independent trials whose true ratio is 0 and whose estimates deviate.

    deviation · ((1 − γ) Φ⁻¹(1 − 1/N) + γ Φ⁻¹(1 − 1/(N e))), γ of Euler and Mascheroni; 0.0 for one trial.
    Source: as for `deflated_sharpe`; a limit for large N, and within 0.05 deviations of the truth from 2 on.

    effective: how many independent trials the N are worth, ρ + (1 − ρ) N as of `effective_trials`. The answer is then
        that for so many, and at least √(1 − ρ) times that for N: what the best of N normal estimates has over their
        mean where any two are correlated by ρ (Owen and Steck 1962). Of 4 trials worth 1.3 the former is nothing.
    """
    n_trials = checked_trials(n_trials)
    if not (math.isfinite(deviation) and deviation >= 0):
        raise ValueError(f"deviation must be a number of at least 0, got {deviation}")
    best = _expected_maximum(n_trials)
    if effective is not None and n_trials > 1:
        independent = (checked_trials(effective) - 1.0) / (n_trials - 1.0)
        if independent > 1.0 + 1e-9:
            raise ValueError(f"{n_trials:g} trials are worth at most as many independent ones, got {effective:g}")
        best = max(_expected_maximum(effective), math.sqrt(independent) * best)
    return best * deviation


def luck_line(n_trials: float, years: float, effective: float | None = None) -> float:
    """Expected best annual Sharpe ratio of N skill-less trials over so many years: what luck alone reaches.

    effective: how many independent trials the N are worth; None: N.

    >>> round(luck_line(100, years=1), 2), round(luck_line(100, years=3), 2)
    (2.53, 1.46)
    >>> round(luck_line(4, years=1, effective=1.3), 2)
    0.33
    """
    return expected_maximum_sharpe(n_trials, 1.0 / math.sqrt(checked_positive(years, "years")), effective)


def minimum_backtest_length(n_trials: float, sharpe: float = 1.0) -> float:
    """Years of backtest below which the best of N skill-less trials is expected to reach this annual Sharpe ratio.

    Source: Bailey, Borwein, López de Prado and Zhu 2014, Pseudo-Mathematics and Financial Charlatanism, Notices of the
    AMS 61(5).
    """
    return (luck_line(n_trials, years=1.0) / checked_positive(sharpe, "sharpe")) ** 2


def minimum_track_record(
    sharpe: float,
    periods_per_year: float,
    *,
    benchmark: float = 0.0,
    skewness: float = 0.0,
    kurtosis: float = 3.0,
    confidence: float = 0.95,
) -> float:
    """Bars after which this Sharpe ratio is above `benchmark` with this confidence; inf if it is not above it.

    Source: as for `probabilistic_sharpe`, which this inverts.
    """
    periods = checked_periods(periods_per_year)
    quantile = NORMAL.inv_cdf(checked_confidence(confidence))
    factor = _error_factor(sharpe, periods, skewness, kurtosis)
    if sharpe <= benchmark:
        return math.inf
    deviations = quantile / (sharpe - benchmark)
    return 1.0 + factor * periods * deviations * deviations  # a product overflows to inf, where ** raises


def effective_trials(returns: ArrayLike) -> float:
    """How many independent trials N correlated ones are worth, from 1 to N: ρ + (1 − ρ) N, ρ their mean correlation.

    Errs on the side of many: where any two of N trials are correlated by ρ, the best is lower than that of so many.
    A trial that never moves counts as independent of all others; a negative mean counts as 0.
    Source: Bailey and López de Prado 2014, The Deflated Sharpe Ratio, appendix 3.

    returns: (trials, bars), on the same bars.
    """
    returns = checked_matrix(returns, "trials", "bars")
    n_trials = len(returns)
    if n_trials == 1:
        return 1.0
    deviations = returns - returns.mean(axis=1, keepdims=True)
    sizes = np.linalg.norm(deviations, axis=1)
    moving = sizes > np.finfo(np.float64).eps * np.abs(returns).max() * returns.shape[1]
    scores = deviations[moving] / sizes[moving, None]
    # The sum over all pairs without the N × N matrix: |Σ z|² holds each trial with itself too.
    total = float(np.sum(scores.sum(axis=0) ** 2)) - len(scores)
    mean = min(1.0, max(0.0, total / (n_trials * (n_trials - 1))))
    return mean + (1.0 - mean) * n_trials


def _expected_maximum(n_trials: float) -> float:
    """In deviations; the limit is negative for an effective number just above 1, where the truth is not."""
    if n_trials == 1:
        return 0.0
    # Φ⁻¹(1 − p) as −Φ⁻¹(p): of 1e17 trials, 1 − p is 1.
    maximum = -(1.0 - np.euler_gamma) * NORMAL.inv_cdf(1.0 / n_trials)
    maximum -= np.euler_gamma * NORMAL.inv_cdf(1.0 / (n_trials * math.e))
    return max(0.0, float(maximum))


def _error_factor(sharpe: float, periods: float, skewness: float, kurtosis: float) -> float:
    """T − 1 times the variance of a Sharpe ratio per bar."""
    if not all(map(math.isfinite, (sharpe, skewness, kurtosis))):
        raise ValueError(f"sharpe, skewness and kurtosis must be finite, got {sharpe}, {skewness}, {kurtosis}")
    if kurtosis < 1.0 + skewness**2 - 1e-9:
        raise ValueError(
            f"kurtosis is at least 1 + skewness² for any returns, got {kurtosis:g} and skewness {skewness:g}; "
            "is it in excess of the normal's? Then add 3"
        )
    per_bar = sharpe / math.sqrt(periods)
    return max(0.0, 1.0 - skewness * per_bar + (kurtosis - 1.0) / 4.0 * per_bar**2)


def _cdf(distance: float, error: float) -> float:
    """Φ(distance / error), with its limit where nothing is uncertain."""
    if error == 0.0:
        return float(distance > 0.0)
    return NORMAL.cdf(distance / error)
