"""Writes learning.md and its plots: `python docs/make_curves.py`.

All figures are those of files in `benchmarks/results/` that `benchmarks/skill.py`, `transfer.py` and `demo.py` write.
Plots are SVG, a file per market in `learning/`. A test fails where the page or a plot is not what this writes.

Takes: rows and what the benchmarks derive from them. Gives: texts by the path that they belong to.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np

from ftray.plots.theme import BLACK, FONT, GREY, Series, series

PAGES = Path(__file__).parent
RESULTS = PAGES.parent / "benchmarks" / "results"
SKILL, TRANSFER, DEMO = (RESULTS / f"{name}-cpu.json" for name in ("skill", "transfer", "demo"))
PAGE = "learning.md"

INFORMED = "informed"
MARKETS = {
    "leak": "the volume of a bar says what the next one does",
    "regimes": "drifts of bear and bull markets that last for days",
    "momentum": "an asset goes on as it went, over about 12 bars",
    "mean reversion": "an asset gives back what it won, over about 4 bars",
    "lead-lag": "all assets follow the first one, over about 6 bars",
    "motif": "a pattern of signs over the last 24 bars, of which no moving average shows anything",
    "volatility": "an asset rises while its volatility is low",
    "noise": "nothing",
}
WAYS = {
    INFORMED: "a rule without a network that knows the expected return of every bar",
    "equal weight": "the same part of each asset, and no decision",
    "ridge": "the rule of the informed trader, on returns that a ridge regression on the whole lookback expects",
    "defaults": "ftray's PPO as it comes",
    "plain PPO": "PPO with a learning rate and a discount that fit the market",
    "alternatives": "the same, with further actions of each account priced at each bar",
    "alternatives, zone": "with a no-trade zone as well",
    "forecasts": "the same, from the forecasts of a frozen FT-Transformer that was pre-trained on the train window",
    "SB3 PPO": "Stable-Baselines3's PPO, with the settings of plain PPO",
    "direct, 1 bar": "no PPO: gradient ascent through the step function, one bar at a time",
    "direct, 8 bars": "the same, through eight bars at once",
}
CEILING = "direct"
"""How the ways begin that have the exact gradient: what the best of them reaches is the ceiling of a network."""

WIDTH, HEIGHT = 820, 400
LEFT, RIGHT, TOP, BOTTOM = 80, 590, 50, 350
N_POINTS = 41
DASHES = {
    "solid": "none",
    "dash": "8 5",
    "dot": "2 4",
    "dashdot": "8 4 2 4",
    "longdash": "14 5",
    "longdashdot": "14 4 2 4",
}
LEVEL = Series(GREY, "solid", "")
"""How a trader without a training is drawn: as one level."""

Results = Mapping[str, Any]
"""What a benchmark's file holds."""


def made(skill: Results, transfer: Results, demo: Results) -> dict[str, str]:
    """The page and its plots: path relative to this folder → text."""
    plots = {plot_path(market): plot(market, skill) for market in markets_of(skill)}
    return {PAGE: page(skill, transfer, demo)} | plots


def plot_path(market: str) -> str:
    return f"learning/{market.replace(' ', '-')}.svg"


def markets_of(skill: Results) -> list[str]:
    return list(dict.fromkeys(row["market"] for row in skill["rows"]))


def ways_of(rows: Sequence[Results]) -> list[str]:
    return list(dict.fromkeys(row["way"] for row in rows))


def table(heading: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    lines = [list(heading)]
    lines += [["---"] * len(lines[0]), *([str(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def page(skill: Results, transfer: Results, demo: Results) -> str:
    settings, rows = skill["settings"], skill["rows"]
    draws, seeds = (len({row[name] for row in rows}) for name in ("draw", "seed"))
    return f"""# Learning

What each learner makes of markets with a known answer, what pre-training adds, and how often a study finds something
where there is nothing. `python docs/make_curves.py` writes this page from what `benchmarks/skill.py`,
`benchmarks/transfer.py` and `benchmarks/demo.py` have measured. None of these markets is a real one, and what is
reached here promises no profit anywhere.

## Markets and learners

Every market is the simulator, three assets and {settings["n_bars"]:,} hourly bars, with one thing to learn:

{table(("market", "what can be learned"), ((market, MARKETS.get(market, "")) for market in markets_of(skill)))}
Every learner has {settings["steps"]:,} env steps on each of {draws} draws of a market, with {seeds} seeds
per draw. Growth is the log growth per day of the mean action on the validation window, after costs. A share is that of
what the informed trader earns there, of means over the same draws, with a 95 % bootstrap interval over draws. The
informed trader knows more than candles show, so that 1 is hardly within reach; its rule is not the optimum either, and
a share may exceed 1. *Share of direct* is that of the better one of the two learners that have the exact gradient.
Seconds are those of training, on {_machine(skill)}.

{table(("learner", "what it is"), ((way, WAYS.get(way, "")) for way in ways_of(rows)))}
## Shares of what the informed trader earns

{_overview(skill)}
{"".join(_section(market, skill) for market in markets_of(skill))}{_transfer(transfer)}
{_demo(demo)}"""


def _machine(results: Results) -> str:
    machine = results["machine"]
    return f"{machine['device']}, {machine['cores']} cores that other work shared ({results['at'][:10]})"


def _overview(skill: Results) -> str:
    share = {(row["market"], row["way"]): f"{row['share']:.2f}" for row in skill["shares"] if "share" in row}
    markets = [market for market in markets_of(skill) if (market, INFORMED) in share]
    ways = [way for way in ways_of(skill["rows"]) if way != INFORMED]
    return table(("learner", *markets), ((way, *(share.get((market, way), "") for market in markets)) for way in ways))


def _section(market: str, skill: Results) -> str:
    own = [row for row in skill["shares"] if row["market"] == market]
    ceiling = max((row["growth"] for row in own if row["way"].startswith(CEILING)), default=math.nan)
    rows = []
    for row in own:
        share = "{share:.2f} [{low:.2f}, {high:.2f}]".format(**row) if "share" in row else ""
        of_direct = f"{row['growth'] / ceiling:.2f}" if ceiling > 0.0 and "share" in row else ""
        seconds = _seconds(market, row["way"], skill)
        rows.append((row["way"], row["draws"], f"{row['growth']:+.4f}", share, of_direct, seconds))
    heading = ("learner", "draws", "growth/day", "share of informed", "share of direct", "seconds")
    what = MARKETS.get(market, "")
    return f"""### {market.capitalize()}

{f"What can be learned: {what}." if what else ""}

![Growth per day on the validation window against env steps, by learner, {market}]({plot_path(market)})

{table(heading, rows)}
"""


def _seconds(market: str, way: str, skill: Results) -> str:
    """The mean over trainings; nothing where none was."""
    last = [row["curve"][-1] for row in skill["rows"] if (row["market"], row["way"]) == (market, way)]
    known = [point["seconds"] for point in last if "seconds" in point]
    return f"{np.mean(known):.0f}" if known else ""


def _transfer(transfer: Results) -> str:
    rows, settings = transfer["rows"], transfer["settings"]
    ways = list(rows[0]["growth"])
    means = []
    for market in dict.fromkeys(row["market"] for row in rows):
        own = [row for row in rows if row["market"] == market]
        growth = (f"{1e3 * np.mean([row['growth'][way] for row in own]):+.2f}" for way in ways)
        means.append((market, len(own), f"{1e3 * np.mean([row['informed'] for row in own]):+.2f}", *growth))
    differences = (
        (
            row["market"],
            row["difference"].replace(" - ", " − "),
            "{:+.2f} [{:.2f}, {:.2f}]".format(*(1e3 * row[name] for name in ("mean", "low", "high"))),
            f"{row['above_0']} of {row['draws']}",
            "more" if row["low"] > 0.0 else "less" if row["high"] < 0.0 else "nothing is shown",
        )
        for row in transfer["differences"]
    )
    return f"""## What pre-training buys

The same FT-Transformer after {settings["steps"]:,} env steps: from scratch, or frozen after pre-training by masked
modelling and forward returns. The frozen tower shows the policy its forecasts (`readout: forecasts`) or its pooled
vector ([CLS]). Shuffled is the tower of `forecasts` with the entries of its weights in random order: it keeps the scale
of what was learned and loses its content. Growth per day on the validation window, in thousandths, means over draws:

{table(("market", "draws", INFORMED, *ways), means)}
Differences are paired over draws, with 95 % bootstrap intervals. Where an interval holds 0, nothing is shown:

{table(("market", "difference", "growth/day, 1e-3", "draws above 0", "the first earns"), differences)}"""


def _demo(demo: Results) -> str:
    bounds = {"demo": "at least", "noise": "at most"}
    rows = (
        (
            *(row[name] for name in ("market", "studies", "clear", "gate_opens")),
            f"{bounds[row['market']]} {row['bound']:.3f}",
        )
        for row in demo["claims"]
    )
    heading = ("market", "studies", "clear the luck line", "may read the test window", "true fraction")
    return f"""## Something where there is something, nothing where there is nothing

`ftray tune demo`, and the same on noise, on draws of their markets that no setting was chosen on. A study clears the
[luck line](results.md#luck) if its best trial's active Sharpe ratio is above it with a probability of 95 %; that trial
may read the test window if its plain Sharpe ratio is as well. The last column bounds the fraction of all such studies
that clear, with 95 % confidence (Clopper and Pearson 1934, one-sided):

{table(heading, rows)}"""


def curve_of(market: str, way: str, skill: Results, steps: np.ndarray) -> np.ndarray:
    """Growth per day at each number of steps, interpolated: the mean over draws of the means over seeds."""
    by_draw: dict[int, list[np.ndarray]] = {}
    for row in skill["rows"]:
        if (row["market"], row["way"]) == (market, way):
            at = [point.get("env_steps", 0.0) for point in row["curve"]]
            growth = [point["growth"] for point in row["curve"]]
            by_draw.setdefault(row["draw"], []).append(np.interp(steps, at, growth))
    return np.mean([np.mean(curves, axis=0) for curves in by_draw.values()], axis=0)


def plot(market: str, skill: Results) -> str:
    """A learning curve per learner, and a level per trader without a training, as SVG."""
    rows = [row for row in skill["rows"] if row["market"] == market]
    trained = {row["way"] for row in rows if len(row["curve"]) > 1}
    ways = ways_of(rows)
    looks = series(way for way in ways if way in trained)
    steps = np.linspace(0.0, skill["settings"]["steps"], N_POINTS)
    curves = {way: curve_of(market, way, skill, steps) for way in ways}
    ticks = _ticks(min(0.0, *(curve.min() for curve in curves.values())), max(curve.max() for curve in curves.values()))
    x = np.interp(steps, [steps[0], steps[-1]], [LEFT, RIGHT])
    lines = [_axes(market, ticks, steps[-1])]
    labels = _apart([_y(curves[way][-1], ticks) for way in ways])
    for way, label in zip(ways, labels, strict=True):
        look, y = looks.get(way, LEVEL), _y(curves[way], ticks)
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
        style = f'fill="none" stroke="{look.color}" stroke-width="{2 if way in trained else 1}"'
        lines.append(f'<polyline points="{points}" {style} stroke-dasharray="{DASHES[look.dash]}"/>')
        lines.append(f'<path d="M{RIGHT},{y[-1]:.1f} L{RIGHT + 12},{label:.1f}" stroke="{GREY}" stroke-width="0.5"/>')
        lines.append(_text(RIGHT + 16, label + 4, way, color=look.color))
    body = "\n".join(lines)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="{FONT["family"]}">'
    return f'{head}\n<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>\n{body}\n</svg>\n'


def _axes(market: str, ticks: np.ndarray, most: float) -> str:
    lines = [_text(LEFT, 26, f"{market}: log growth per day on the validation window, mean over draws", size=15)]
    for tick in ticks:
        y, color = _y(tick, ticks), BLACK if tick == 0.0 else "#e5e5e5"
        lines.append(f'<path d="M{LEFT},{y:.1f} H{RIGHT}" stroke="{color}" stroke-width="1"/>')
        lines.append(_text(LEFT - 8, y + 4, f"{tick:.4g}", anchor="end"))
    for part in (0.0, 0.25, 0.5, 0.75, 1.0):
        lines.append(_text(LEFT + part * (RIGHT - LEFT), BOTTOM + 20, f"{part * most:,.0f}", anchor="middle"))
    return "\n".join([*lines, _text((LEFT + RIGHT) / 2, BOTTOM + 40, "env steps", anchor="middle")])


def _text(x: float, y: float, words: str, *, anchor: str = "start", size: int = 13, color: str = BLACK) -> str:
    where = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{color}" text-anchor="{anchor}"'
    return f"<text {where}>{escape(words)}</text>"


def _ticks(low: float, high: float) -> np.ndarray:
    """Round numbers around a range, 0 among them where it is inside."""
    rough = max(high - low, 1e-6) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return np.round(np.arange(math.floor(low / step), math.ceil(high / step) + 1) * step, 12) + 0.0


def _y(value: Any, ticks: np.ndarray) -> Any:
    return np.interp(value, [ticks[0], ticks[-1]], [BOTTOM, TOP])


def _apart(places: Sequence[float], gap: float = 17.0) -> list[float]:
    """The same heights, moved down and then up until labels no longer overlap."""
    order = np.argsort(places)
    moved = np.array(places, np.float64)[order]
    for i in range(1, len(moved)):
        moved[i] = max(moved[i], moved[i - 1] + gap)
    moved -= max(0.0, moved[-1] - BOTTOM)
    for i in range(len(moved) - 2, -1, -1):
        moved[i] = min(moved[i], moved[i + 1] - gap)
    return list(moved[np.argsort(order)])


def main() -> None:
    for path in (SKILL, TRANSFER, DEMO):
        if not path.exists():
            raise SystemExit(f"{path} must exist: python benchmarks/{path.stem.removesuffix('-cpu')}.py --json {path}")
    for path, text in made(*(json.loads(path.read_text()) for path in (SKILL, TRANSFER, DEMO))).items():
        (PAGES / path).parent.mkdir(exist_ok=True)
        (PAGES / path).write_text(text)


if __name__ == "__main__":
    main()
