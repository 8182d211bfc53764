"""Plots of an encoder card.

Takes: the content of `encoder_card.json`, the rows of `training_history.json`. Gives: figures; one self-contained page.
"""

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftray.errors import MissingDependencyError
from ftray.files import replace_file
from ftray.plots.known_returns import describe_known_returns, describe_pooled, known_returns
from ftray.plots.theme import BLUE, GREY, ORANGE, PURPLE, SKY, figure, integer_axis, series

if TYPE_CHECKING:
    import plotly.graph_objects as go

PAGE = "encoder_card.html"

LOOKS = {
    "encoder": (BLUE, ""),
    "pca": (ORANGE, "/"),
    "interpolation": (SKY, "."),
    "last_value": (PURPLE, "x"),
    "random_encoder": (GREY, "\\"),
    "raw_features": (ORANGE, "/"),
}
"""Colour and hatching of each predictor and each vector."""


def plot_reconstruction(card: Mapping[str, Any], kind: str) -> "go.Figure":
    """R² on hidden cells by indicator, of the encoder and its baselines; 1 is perfect, 0 is the mean.

    card: of `Study.encoder_card`.
    kind: of mask: cells, spans, series or bars.

    Raises: MissingDependencyError where plotly is missing.
    """
    scores = {name: found for name, found in card["figures"]["reconstruction"][kind].items() if name != "mean"}
    made = figure(f"Hidden {kind}: R² by indicator", "1 is perfect, 0 is the mean of the train windows")
    for name, found in scores.items():
        by_indicator = found["r2_by_indicator"]
        made.add_bar(x=list(by_indicator), y=list(by_indicator.values()), name=_words(name), marker=_marker(name))
    return made.update_yaxes(range=[-1, 1], title="R²")


def plot_probes(card: Mapping[str, Any]) -> "go.Figure":
    """What the pooled vector's linear probes gain over other vectors' probes, with 95 % intervals.

    card: of `Study.encoder_card`.

    Raises: MissingDependencyError where plotly is missing.
    """
    made = figure("Linear probes: gain in skill over other vectors", "95 % intervals; above 0 the encoder is better")
    probes = card["figures"]["probes"]
    for other in dict.fromkeys(name for found in probes.values() for name in found["gain"]):
        gains = {name: found["gain"][other] for name, found in probes.items() if found["gain"].get(other)}
        means = [gain["mean"] for gain in gains.values()]
        reach = {
            "array": [gain["high"] - gain["mean"] for gain in gains.values()],
            "arrayminus": [gain["mean"] - gain["low"] for gain in gains.values()],
        }
        made.add_bar(x=list(gains), y=means, error_y=reach, name=f"over {_words(other)}", marker=_marker(other))
    return made.update_yaxes(title="skill above theirs")


def plot_history(history: Sequence[Mapping[str, Any]]) -> "go.Figure":
    """Every loss by epoch, training and validation.

    history: `Study.encoder_card(encoder)["history"]`: a mapping per epoch.

    Raises: MissingDependencyError where plotly is missing.
    """
    made = figure("Pre-training: losses by epoch", "hollow: on the windows trained on; full: on later ones")
    names = [key for key in history[0] if key.endswith("_loss")]
    looks = series(name.removeprefix("validation_").removeprefix("train_") for name in names)
    for name in names:
        look = looks[name.removeprefix("validation_").removeprefix("train_")]
        full = name.startswith("validation")
        made.add_scatter(
            x=[row["epoch"] for row in history],
            y=[row[name] for row in history],
            name=_words(name),
            mode="lines+markers",
            line={"color": look.color, "dash": look.dash, "width": 2 if full else 1},
            marker={"symbol": look.symbol + "-open" * (not full), "size": 8},
        )
    return made.update_yaxes(type="log", title="loss").update_xaxes(
        title="epoch", **integer_axis(row["epoch"] for row in history)
    )


def write_encoder_page(folder: Path) -> None:
    """Writes the page of a finished pre-training job into its folder; without plotly, a line in its log says so."""
    card, history = (json.loads((folder / f"{name}.json").read_text()) for name in ("encoder_card", "training_history"))
    try:
        replace_file(folder / PAGE, encoder_page(card, history).encode())
    except MissingDependencyError as error:
        with (folder / "train.log").open("a") as log:
            log.write(f"no {PAGE}: {error}\n")


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
    verdict = f"<h1>Encoder card</h1><p>{html.escape(describe_encoder(card))}</p>"
    page = f"<!doctype html><meta charset=utf-8><title>Encoder card</title>{verdict}<table>{rows}</table>"
    return page + _returns_part(card) + "".join(plots)


def describe_encoder(card: Mapping[str, Any]) -> str:
    """Whether an encoder beats the baselines, in one sentence.

    Of hidden cells it has to have the best R² of all predictors, by kind of mask; of linear probes, a gain whose 95 %
    interval lies above 0, over each other vector.

    card: of `Study.encoder_card`; without figures, the sentence says that nothing was measured.
    """
    figures = card["figures"] or {}
    won, lost = [], []
    for kind, scores in (figures.get("reconstruction") or {}).items():
        known = {name: found["r2"] for name, found in scores.items() if found["r2"] is not None}
        rivals = {name: r2 for name, r2 in known.items() if name != "encoder"}
        if "encoder" not in known or not rivals:
            continue
        (won if known["encoder"] > max(rivals.values()) else lost).append(f"hidden {kind}")
    for name, found in (figures.get("probes") or {}).items():
        gains = [gain for gain in found["gain"].values() if gain]
        if gains:
            (won if min(gain["low"] for gain in gains) > 0 else lost).append(f"the {_words(name)} probe")
    if not won and not lost:
        return "Whether the encoder beats the baselines was not measured."
    if not lost:
        return f"The encoder beats every baseline: on {', '.join(won)}."
    if not won:
        return f"The encoder does not beat the baselines: not on {', '.join(lost)}."
    return f"The encoder beats the baselines on {', '.join(won)}, but not on {', '.join(lost)}."


def _returns_part(card: Mapping[str, Any]) -> str:
    """Sentence and table of the probes of returns, as HTML; nothing without them."""
    rows = known_returns(card)
    if not rows:
        return ""
    lines = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows)
    table = "".join(f"<tr>{line}</tr>" for line in lines)
    words = "".join(f"<p>{html.escape(line)}</p>" for line in (describe_pooled(card), describe_known_returns(card)))
    return f"{words}<table>{table}</table>"


def _marker(name: str) -> dict[str, Any]:
    color, hatching = LOOKS.get(name, (GREY, "+"))
    return {"color": color, "pattern": {"shape": hatching, "solidity": 0.25}}


def _words(name: str) -> str:
    return name.replace("_", " ")
