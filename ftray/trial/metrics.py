"""The names under which a trial reports: what a study may search for."""

from ftray import stats

TRAINING = (
    *("env_steps", "reward", "loss/policy", "loss/value", "entropy", "kl", "clip_fraction", "explained_variance"),
    *("gradient_norm", "steps_per_second", "wall_seconds"),
)


def metric_names() -> tuple[str, ...]:
    """Every measure of a backtest, on the validation windows, and what training tells of itself."""
    two = [0.01, -0.01]
    judged = stats.performance(two, 365.0, turnover=two, fees=[0.0, 0.0], exposure=[1.0, 1.0], orders=[1, 1])
    return (*(f"validation/{name}" for name in judged), *TRAINING)
