"""The part of a report about a pre-trained encoder: its card.

Takes: a study. Gives: blocks. Raises: NoResultError where a study has no encoder.
"""

from typing import Any

from ftray import plots
from ftray.analysis.study import Study
from ftray.boards.blocks import Block, Facts, Paragraph, Plot, Table
from ftray.errors import NoResultError
from ftray.metrics import PRETRAINING_LOSS, format_metric
from ftray.tables.schema import Frame


def encoder(study: Study) -> list[Block]:
    """The card of the encoder that the winner used; of the best one where it used none."""
    best = study.best()
    used = [one["encoder"] for one in study.lineage(best.trial)["encoders"] if one.get("encoder")]
    encoders: Frame = study.encoders
    if encoders.empty:
        raise NoResultError("this study pre-trained no encoder")
    own = [name for name in used if name in set(encoders["encoder"])]
    name = own[0] if own else encoders["encoder"].iloc[0]
    whose = f"Used by {best.trial}" if own else f"{best.trial} used none of this study's; its best one"
    return [
        Paragraph(f"{whose}: {name[:12]}. These measurements need no labels: hidden cells, linear probes."),
        *_encoder_card(study.encoder_card(name)),
    ]


def _encoder_card(card: dict[str, Any]) -> list[Block]:
    shape = "d_token {d_token}, {n_blocks} blocks, {n_heads} heads, patches of {patch_length} bars".format_map(card)
    loss = format_metric(PRETRAINING_LOSS, card["validation_loss"])
    blocks: list[Block] = [
        Paragraph(plots.describe_encoder(card), "verdict"),
        *_known_returns(card),
        Facts(
            {
                "shape": shape,
                "trained on": f"{card['train_from']} to {card['train_to']}",
                "measured on": f"{card['validation_from']} to {card['validation_to']}",
                "validation loss": f"{loss}, in epoch {card['best_epoch']} of {card['epochs']}",
                "weights": card["weights"],
            }
        ),
    ]
    if card["history"]:
        blocks.append(Plot(plots.plot_history(card["history"]), "history"))
    for kind in (card["figures"] or {}).get("reconstruction") or {}:
        blocks.append(Plot(plots.plot_reconstruction(card, kind), f"reconstruction-{kind}"))
    if (card["figures"] or {}).get("probes"):
        blocks.append(Plot(plots.plot_probes(card), "probes"))
    return blocks


def _known_returns(card: dict[str, Any]) -> list[Block]:
    titles, *rows = plots.known_returns(card) or [[]]
    if not rows:
        return []  # a card of an earlier version
    return [
        Paragraph(plots.describe_pooled(card), "verdict"),
        Table(titles, rows, numbers=range(1, len(titles))),
        Paragraph(plots.describe_known_returns(card), "note"),
    ]
