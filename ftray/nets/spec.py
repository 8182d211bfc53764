"""Descriptions of encoders: `FTSpec` (FT-Transformer) or `MLPSpec` (the baseline), distinguished by `kind`."""

from typing import Annotated, Any, Literal

from ftray.errors import SpecError
from ftray.families import Family
from ftray.spec import Between, Count, Matching, spec

MIN_D_TOKEN, MAX_D_TOKEN = 32, 192
MIN_HEADS, MAX_HEADS = 2, 8


@spec
class FTSpec:
    """A Feature Tokenizer + Transformer (Gorishniy et al. 2021, arXiv:2106.11959).

    d_token: width of a token, a multiple of `n_heads`.
    n_blocks: transformer blocks.
    n_heads: attention heads per block.
    encoding_dim: width of the encoding, which policy and value head read.
    patch_length: bars of one series summed into one token, at most the lookback. 1 is the paper's token per feature;
        the whole lookback (the default covers the reference's 60 bars) leaves one token per series: attention across
        series, one linear map along time.
    fusion: where the account joins: `late`, after the market tower; `early`, as tokens of every block.
    readout: what the market vector is: `cls`, the [CLS] token; `assets`, what a learned query per asset reads from all
        tokens, joined; `forecasts`, what pre-training's heads say of that, standardised: each asset's volatility, and
        its return and rank over each of `horizons`.
    horizons: bars ahead of the returns that pre-training with a `return_weight` learns to foresee.
    pretrained: `none`, `auto` (the best compatible weights known), or the path of a checkpoint.
    frozen: whether the market tower keeps its pre-trained weights; account rows, projection and heads always train.
    activation_checkpointing: whether each block is recomputed in the backward pass: less memory, about a third more
        time.
    """

    kind: Literal["ft"] = "ft"
    d_token: Annotated[int, Between(MIN_D_TOKEN, MAX_D_TOKEN)] = 64
    n_blocks: Annotated[int, Between(1, 4)] = 2
    n_heads: Annotated[int, Between(MIN_HEADS, MAX_HEADS)] = 4
    encoding_dim: Annotated[int, Between(256, 1024)] = 512
    patch_length: Count = 60
    fusion: Literal["late", "early"] = "late"
    readout: Literal["cls", "assets", "forecasts"] = "cls"
    horizons: tuple[Count, ...] = (1, 4, 24)
    pretrained: Annotated[str, Matching(".+", "'none', 'auto' or the path of a checkpoint")] = "none"
    frozen: bool = False
    activation_checkpointing: bool = False

    PATHS = ("pretrained",)

    def check(self) -> None:
        if self.d_token % self.n_heads:
            below, above = self.d_token // self.n_heads * self.n_heads, -(-self.d_token // self.n_heads) * self.n_heads
            widths = [width for width in (below, above) if MIN_D_TOKEN <= width <= MAX_D_TOKEN]
            heads = [n for n in range(MIN_HEADS, MAX_HEADS + 1) if self.d_token % n == 0]
            advice = [f"d_token {' or '.join(map(str, widths))}"]
            if heads:
                advice.append(f"n_heads {min(heads, key=lambda n: abs(n - self.n_heads))}")
            raise SpecError(
                f"d_token must be a multiple of n_heads, got d_token {self.d_token} and n_heads {self.n_heads}; "
                f"nearest: {', or '.join(advice)}"
            )
        if self.frozen and self.pretrained == "none":
            raise SpecError("frozen needs weights worth freezing: set pretrained to 'auto' or to a checkpoint's path")
        if not self.horizons or len({*self.horizons}) < len(self.horizons):
            raise SpecError(f"must be different numbers of bars, got {self.horizons}", ("horizons",))
        if self.readout == "forecasts" and self.fusion == "early":
            raise SpecError("forecasts know nothing of the account: set fusion to late, or readout to cls")

    def n_returns(self, n_assets: int) -> int:
        """Returns and ranks over every horizon; one asset has no rank.

        n_assets: of the market.
        """
        return len(self.horizons) * n_assets * (2 if n_assets > 1 else 1)

    def n_readouts(self, n_assets: int) -> int:
        """Vectors of `d_token` floats that the market vector is read from.

        n_assets: of the market.
        """
        return 1 if self.readout == "cls" else n_assets

    def market_width(self, n_assets: int) -> int:
        """Floats of the market vector.

        n_assets: of the market.
        """
        if self.readout == "forecasts":
            return n_assets + self.n_returns(n_assets)
        return self.n_readouts(n_assets) * self.d_token


@spec
class MLPSpec:
    """The baseline: one hidden layer over the flat observation, then the encoding.

    hidden: width of the hidden layer.
    encoding_dim: width of the encoding, which policy and value head read.
    """

    kind: Literal["mlp"] = "mlp"
    hidden: Annotated[int, Between(64, 2048)] = 512
    encoding_dim: Annotated[int, Between(64, 1024)] = 512


ENCODERS: Family[Any] = Family("encoder", fields=("encoding_dim",))
"""The classes of encoders (`ftray.nets.Encoder`), which `families` and plug-ins register."""

EncoderSpec = Annotated[FTSpec | MLPSpec, ENCODERS]

PRESETS: dict[str, FTSpec] = {
    "small": FTSpec(d_token=32, n_blocks=1, n_heads=2, encoding_dim=256),
    "balanced": FTSpec(d_token=64, n_blocks=2, n_heads=4, encoding_dim=512),
    "large": FTSpec(d_token=128, n_blocks=3, n_heads=8, encoding_dim=1024),
}
