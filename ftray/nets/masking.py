"""Which cells of a window pre-training hides: four kinds of mask, mixed.

Takes: a ratio, proportions, a shape, a random generator. Gives: a boolean mask, true where hidden.

Legend: B batch, S series, L lookback.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from ftray.errors import SpecError
from ftray.spec import Count, NonNegative, spec

KINDS = ("cells", "spans", "series", "bars")


@spec
class MaskSpec:
    """Which kinds of mask pre-training hides cells with. Each sample has one kind, sampled in these proportions.

    A cell is one series at one bar of the window.

    cells: proportion of samples with single cells hidden; interpolation along time solves most of them.
    spans: proportion with runs of `span_length` bars of one series hidden; the rest of it and other series must answer.
    series: proportion with whole series hidden; only the other series can answer.
    bars: proportion with whole bars hidden, every series at once; only the bars around can answer.
    span_length: bars of a span.
    """

    cells: NonNegative = 0.25
    spans: NonNegative = 0.25
    series: NonNegative = 0.25
    bars: NonNegative = 0.25
    span_length: Count = 8

    def check(self) -> None:
        if not sum(self.proportions):
            raise SpecError(f"at least one of {', '.join(KINDS)} must be above 0")

    @property
    def proportions(self) -> tuple[float, ...]:
        """The four proportions as they are given; only their ratios matter."""
        return tuple(getattr(self, kind) for kind in KINDS)


def draw_mask(spec: MaskSpec, ratio: float, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """One kind of mask per sample, each hiding the fraction `ratio` of the cells on average.

    Returns: bool (B, S, L) on the generator's device.
    """
    batch, _, lookback = shape
    device = generator.device
    proportions = torch.tensor(spec.proportions, device=device)
    kinds = torch.multinomial(proportions, batch, replacement=True, generator=generator)
    # One random field feeds every kind: a sample uses only one of them.
    span = min(spec.span_length, lookback)
    field = torch.rand((*shape[:2], lookback + span - 1), generator=generator, device=device)
    # A cell is hidden when a span starts at it or up to span − 1 bars before: 1 − (1 − p)^span = ratio.
    start = 1.0 - (1.0 - ratio) ** (1.0 / span)
    by_kind = {
        "cells": field[..., :lookback] < ratio,
        "spans": F.max_pool1d((field < start).to(torch.float32), span, stride=1) > 0,
        "series": field[:, :, :1] < ratio,
        "bars": field[:, :1, :lookback] < ratio,
    }
    mask = torch.zeros(shape, dtype=torch.bool, device=device)
    for i, kind in enumerate(KINDS):
        mask |= by_kind[kind] & (kinds == i)[:, None, None]
    return mask
