"""Plots of an encoder card: plain values in, plotly figures or a page of them out.

Takes: the content of `encoder_card.json`, the rows of `training_history.json`. Gives: figures; one self-contained page.
"""

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ftray.errors import MissingDependencyError

if TYPE_CHECKING:
    import plotly.graph_objects as go

COLORS = {
    "encoder": "#0072b2",
    "pca": "#e69f00",
    "interpolation": "#56b4e9",
    "last_value": "#cc79a7",
    "random_encoder": "#999999",
    "raw_features": "#e69f00",
}
"""Told apart by the colour-blind (Okabe and Ito 2008)."""


def plot_reconstruction(card: Mapping[str, Any], kind: str) -> "go.Figure":
    """R² on hidden cells by indicator, for one kind of mask: the encoder beside its baselines; 0 is the mean."""
    scores = {name: found for name, found in card["figures"]["reconstruction"][kind].items() if name != "mean"}
    figure = _figure(f"Hidden {kind}: R² by indicator")
    for name, found in scores.items():
        by_indicator = found["r2_by_indicator"]
        figure.add_bar(x=list(by_indicator), y=list(by_indicator.values()), name=name, marker_color=COLORS.get(name))
    return figure.update_yaxes(range=[-1, 1], title="R²")


def plot_probes(card: Mapping[str, Any]) -> "go.Figure":
    """What the pooled vector's linear probes gain over other vectors' probes, with 95 % intervals."""
    figure = _figure("Linear probes: gain in skill over other vectors, with 95 % intervals")
    probes = card["figures"]["probes"]
    for other in dict.fromkeys(name for found in probes.values() for name in found["gain"]):
        gains = {name: found["gain"][other] for name, found in probes.items() if found["gain"].get(other)}
        means = [gain["mean"] for gain in gains.values()]
        reach = {
            "array": [gain["high"] - gain["mean"] for gain in gains.values()],
            "arrayminus": [gain["mean"] - gain["low"] for gain in gains.values()],
        }
        color = COLORS.get(other)
        figure.add_bar(x=list(gains), y=means, error_y=reach, name=f"over {other}", marker_color=color)
    return figure.update_yaxes(title="skill above theirs")


def plot_history(history: Sequence[Mapping[str, Any]]) -> "go.Figure":
    """Every loss by epoch, training and validation."""
    figure = _figure("Losses by epoch")
    for name in (key for key in history[0] if key.endswith("_loss")):
        dash = "solid" if name.startswith("validation") else "dot"
        line = {"x": [row["epoch"] for row in history], "y": [row[name] for row in history]}
        figure.add_scatter(**line, name=name, line_dash=dash, mode="lines+markers")
    return figure.update_yaxes(type="log").update_xaxes(title="epoch")


def encoder_page(card: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> str:
    """All plots of a card as one page of HTML that needs no network.

    Raises: MissingDependencyError where plotly is missing.
    """
    figures = [plot_history(history), *(plot_reconstruction(card, kind) for kind in card["figures"]["reconstruction"])]
    figures.append(plot_probes(card))
    plots = [
        figure.to_html(full_html=False, include_plotlyjs="inline" if i == 0 else False)
        for i, figure in enumerate(figures)
    ]
    facts = {
        "weights": card["weights"],
        "data": card["dataset"],
        "trained on": " to ".join(card["train_times"]),
        "measured on": " to ".join(card["validation_times"]),
        "best epoch": f"{card['best_epoch']} of {card['epochs']}, validation loss {card['validation_loss']:.4f}",
        "effective rank": ", ".join(f"{name} {rank:.1f}" for name, rank in card["figures"]["effective_rank"].items()),
    }
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in facts.items()
    )
    page = f"<!doctype html><meta charset=utf-8><title>Encoder card</title><h1>Encoder card</h1><table>{rows}</table>"
    return page + "".join(plots)


def _figure(title: str) -> "go.Figure":
    try:
        import plotly.graph_objects as go
    except ImportError:
        raise MissingDependencyError(
            "plots need the package plotly, which is not installed: pip install -e '.[plots]'"
        ) from None
    return go.Figure(layout={"title": title, "barmode": "group", "template": "simple_white", "height": 420})
