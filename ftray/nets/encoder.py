"""What every encoder promises, whatever it is made of, and how windows reach it.

Takes: windows of the feature table and the account. Gives: one encoding per sample, for policy and value head alike.

Legend: B batch, T bars, S series, L lookback, A assets.
"""

import abc
from collections.abc import Iterator
from typing import Any, ClassVar

from torch import Tensor, nn

from ftray.features.layout import ObservationLayout
from ftray.nets.counting import counted_floats


class Encoder(nn.Module, abc.ABC):
    """An observation in, `encoding_dim` floats out, in two steps: the market tower, then the account.

    A subclass is made of a spec and a layout; on torch's meta device, too, where its parameters are counted and where a
    policy is built before its weights are loaded: a buffer has to be persistent.

    spec_class: the class of its specs; its `kind` names it in `ENCODERS`, and it has the field `encoding_dim`.
    spec: the description it was built from.
    layout: the observation it reads.
    tower: the submodule behind `market`.
    d_market: width of the market vector.
    shares_bars: whether `market` knows nothing of the account, so that one market vector serves every sample of a bar.
    bars_per_pass: bars that a CPU should train `market` on at once: more leave its cache. None: as many as there are.
    """

    spec_class: ClassVar[Any]
    spec: Any
    layout: ObservationLayout
    tower: Any
    d_market: int
    shares_bars: bool
    bars_per_pass: int | None = None

    @classmethod
    def step_floats(cls, spec: Any, layout: ObservationLayout) -> int:
        """What a training step keeps of one sample at its peak, in float32 values: a VRAM plan goes by it.

        By default it is counted for `spec`, on the safe side: see `counted_floats`. A class that knows better says so.
        """
        return counted_floats(lambda: cls(spec, layout), layout)

    @property
    def encoding_dim(self) -> int:
        """Width of the encoding, which policy and value head read."""
        return self.spec.encoding_dim

    @abc.abstractmethod
    def market(self, windows: Tensor) -> Tensor:
        """The market vectors of `windows`, each a pure function of its bar. Shape: (B, S, L) → (B, d_market)."""

    @abc.abstractmethod
    def fuse(self, market: Tensor, account: Tensor) -> Tensor:
        """`market` vectors and `account`, joined. Shape: (B, d_market), (B, 1 + A) → (B, encoding_dim)."""

    def forward(self, windows: Tensor, account: Tensor) -> Tensor:
        """The encodings of `windows` and `account`. Shape: (B, S, L), (B, 1 + A) → (B, encoding_dim)."""
        return self.fuse(self.market(windows), account)

    def market_parameters(self) -> Iterator[nn.Parameter]:
        """What pre-training trains and `frozen` freezes."""
        return self.tower.parameters()

    def encode(self, observation: Tensor) -> Tensor:
        """The encoding of each full `observation`. Shape: (B, size) → (B, encoding_dim)."""
        return self(*self.split(observation))

    def split(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Windows and account of each full `observation`. Shape: (B, size) → (B, S, L), (B, 1 + A)."""
        features = observation[:, self.layout.features]
        windows = features.unflatten(-1, (self.layout.n_series, self.layout.lookback))
        return windows, observation[:, self.layout.account]


def gather_windows(table: Tensor, bars: Tensor, lookback: int) -> Tensor:
    """The windows that end at the given bars, oldest bar first, gathered on the table's device.

    A window's rows lie one after the other in the table, so each is copied in one piece; the result is a transposed
    view of the copies.

    Shape: contiguous (T, S), (B,) → (B, S, L).
    """
    n_bars, n_series = table.shape
    overlapping = table.as_strided((n_bars - lookback + 1, lookback * n_series), (n_series, 1))
    return overlapping.index_select(0, bars - (lookback - 1)).unflatten(1, (lookback, n_series)).transpose(1, 2)
