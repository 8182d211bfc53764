"""Each promise of an encoder can be broken, and whoever breaks it learns how."""

import subprocess
import sys
from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ftray.features import ObservationLayout
from ftray.nets import ENCODERS, Encoder, MLPSpec
from ftray.spec import Count, spec
from ftray.testing import EncoderContract, check_encoder


@spec
class SmallSpec:
    """What `Small` is built from."""

    kind: Literal["small"] = "small"
    encoding_dim: Count = 32


class Small(Encoder):
    """Two layers: an encoder that keeps every promise, each of which a class below breaks."""

    shares_bars = True

    def __init__(self, spec: SmallSpec, layout: ObservationLayout):
        super().__init__()
        self.spec, self.layout, self.d_market = spec, layout, 16
        self.tower = nn.Linear(layout.n_features, 16)
        self.projection = nn.Linear(16 + layout.n_account, spec.encoding_dim)

    def market(self, windows: Tensor) -> Tensor:
        return self.tower(windows.flatten(1))

    def fuse(self, market: Tensor, account: Tensor) -> Tensor:
        return torch.tanh(self.projection(torch.cat([market, account], dim=1)))


class TooWide(Small):
    def fuse(self, market: Tensor, account: Tensor) -> Tensor:
        return F.pad(super().fuse(market, account), (0, 1))


class ForOneLayout(Small):
    def __init__(self, spec: SmallSpec, layout: ObservationLayout):
        super().__init__(spec, layout)
        self.tower = nn.Linear(2 * 3 * 7, 16)


class Exponential(Small):
    def market(self, windows: Tensor) -> Tensor:
        return super().market(windows.exp().exp())

    def fuse(self, market: Tensor, account: Tensor) -> Tensor:
        return self.projection(torch.cat([market, account], dim=1))


class Transposed(Small):
    def split(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        windows, account = super().split(observation)
        return windows.flip(2), account


class BatchNormalised(Small):
    def __init__(self, spec: SmallSpec, layout: ObservationLayout):
        super().__init__(spec, layout)
        self.tower = nn.Sequential(self.tower, nn.LayerNorm(16))

    def market(self, windows: Tensor) -> Tensor:
        vectors = super().market(windows)
        return vectors - vectors.mean(dim=0) / 2


class WithDropout(Small):
    def market(self, windows: Tensor) -> Tensor:
        return F.dropout(super().market(windows), 0.1, training=self.training)


class WithNoise(Small):
    def fuse(self, market: Tensor, account: Tensor) -> Tensor:
        return super().fuse(market, account + 0.01 * torch.rand_like(account))


class AccountInTheMarket(Small):
    """Remembers the account of its last pass, and lets it into the market vector."""

    def forward(self, windows: Tensor, account: Tensor) -> Tensor:
        self.seen = account.sum(dim=1, keepdim=True)
        return self.fuse(self.market(windows), account)

    def market(self, windows: Tensor) -> Tensor:
        seen = getattr(self, "seen", None)
        return super().market(windows) + (0 if seen is None or len(seen) != len(windows) else seen)


class FusingAlthoughEarly(Small):
    shares_bars = False


class BlindToTheAccount(Small):
    def fuse(self, market: Tensor, account: Tensor) -> Tensor:
        return super().fuse(market, torch.zeros_like(account))


class BlindToTheOldestBar(Small):
    def market(self, windows: Tensor) -> Tensor:
        return super().market(F.pad(windows[:, :, 1:], (1, 0)))


class WithAnIdleLayer(Small):
    def __init__(self, spec: SmallSpec, layout: ObservationLayout):
        super().__init__(spec, layout)
        self.idle = nn.Linear(3, 3)


class WithAScaleOutsideTheTower(Small):
    def __init__(self, spec: SmallSpec, layout: ObservationLayout):
        super().__init__(spec, layout)
        self.scale = nn.Parameter(torch.ones(1))

    def market(self, windows: Tensor) -> Tensor:
        return super().market(windows) * self.scale


class WithHiddenWeights(Small):
    def __init__(self, spec: SmallSpec, layout: ObservationLayout):
        super().__init__(spec, layout)
        self.hidden = torch.randn(16)

    def market(self, windows: Tensor) -> Tensor:
        return super().market(windows) * self.hidden


class OnTheCPU(Small):
    def market(self, windows: Tensor) -> Tensor:
        return super().market(windows) + torch.arange(16.0, device="cpu") / 16


class LookingAtItsPast(Small):
    """Adds what it computed last: nothing, in the first pass."""

    last: Tensor | None = None

    def fuse(self, market: Tensor, account: Tensor) -> Tensor:
        encoding = super().fuse(market, account)
        blended = encoding if self.last is None or len(self.last) != len(encoding) else encoding + 0.1 * self.last
        self.last = encoding.detach()
        return blended


class Counting(Small):
    """Knows how often it was asked: what an account does then hangs on what others did before."""

    n_passes = 0

    def fuse(self, market: Tensor, account: Tensor) -> Tensor:
        self.n_passes += 1
        return super().fuse(market, account) + self.n_passes


class NoSpec:
    """Has what an encoder reads, and is no spec."""

    kind = "small"
    encoding_dim = 32


BROKEN = {
    "a width of its own": (
        TooWide,
        "test_an_encoding_is_as_wide_as_its_description_says",
        r"they are \(5, 33\) and \(5, 16\), not \(5, 32\)",
    ),
    "one layout alone": (
        ForOneLayout,
        "test_every_layout_can_be_read",
        "gave RuntimeError: mat1 and mat2 .* from the layout",
    ),
    "numbers that overflow": (
        Exponential,
        "test_an_encoding_is_finite_at_the_largest_features",
        "from -8 to 8.*keep exponentials",
    ),
    "slices of its own": (
        Transposed,
        "test_a_full_observation_is_sliced_through_the_layout",
        "leave `encode` and `split` to `Encoder`",
    ),
    "a batch that is normalised": (
        BatchNormalised,
        "test_samples_of_a_batch_do_not_touch_each_other",
        "in training mode they are up to .* apart.*never over the batch",
    ),
    "dropout": (
        WithDropout,
        "test_the_same_input_gives_the_same_encoding_in_training_and_in_evaluation",
        "PPO's ratio compares .* a pass in training mode is .* leave out dropout",
    ),
    "noise": (
        WithNoise,
        "test_the_same_input_gives_the_same_encoding_in_training_and_in_evaluation",
        "a pass in training mode is up to .* from the first one",
    ),
    "an account in the market vector": (
        AccountInTheMarket,
        "test_the_market_vector_and_the_account_make_the_encoding",
        "one market vector is computed per bar.* let the account into `fuse` alone",
    ),
    "fusing although its market knows the account": (
        FusingAlthoughEarly,
        "test_the_market_vector_and_the_account_make_the_encoding",
        "`fuse` returned although shares_bars is False.*raise TypeError",
    ),
    "no account": (
        BlindToTheAccount,
        "test_the_account_changes_the_encoding",
        "another account gave the same encodings",
    ),
    "no oldest bar": (
        BlindToTheOldestBar,
        "test_every_feature_changes_the_encoding",
        r"6 of 42 have no effect, close\[BTC, t-6\] is the first",
    ),
    "a layer without use": (
        WithAnIdleLayer,
        "test_gradients_reach_every_parameter",
        "no gradient reaches idle.weight, idle.bias",
    ),
    "a parameter outside the tower": (
        WithAScaleOutsideTheTower,
        "test_market_parameters_are_those_that_the_market_vector_depends_on",
        "it depends on scale, too",
    ),
    "weights that no checkpoint holds": (
        WithHiddenWeights,
        "test_weights_survive_a_checkpoint",
        "the encoding after loading is up to",
    ),
    "a tensor on the CPU": (
        OnTheCPU,
        "test_an_encoder_works_on_another_device",
        "on the meta device it raised .* `device=x.device`",
    ),
    "a state": (
        LookingAtItsPast,
        "test_the_same_input_gives_the_same_encoding_in_training_and_in_evaluation",
        "keep no state between passes",
    ),
    "a count of passes": (
        Counting,
        "test_no_encoding_and_no_action_depends_on_a_later_bar",
        "all that an account that acts by Counting sees and does .* another market followed bar 499.* on no state",
    ),
}


def contract_of(encoder: type[Encoder], spec: object = SmallSpec()) -> EncoderContract:
    contract = EncoderContract()
    contract.encoder, contract.spec = encoder, spec
    return contract


@pytest.mark.parametrize(("encoder", "promise", "words"), BROKEN.values(), ids=BROKEN)
def test_the_contract_catches(encoder, promise, words):
    with pytest.raises(AssertionError, match=f"(?s)must: .*{words}"):
        getattr(contract_of(encoder), promise)()


def test_a_description_that_is_no_spec_is_caught():
    with pytest.raises(AssertionError, match=r"(?s)must be a spec with a kind.*with @spec from ftray.spec"):
        contract_of(Small, NoSpec()).test_the_description_survives_a_file()


def test_every_promise_can_be_broken():
    tested = {promise for _, promise, _ in BROKEN.values()} | {"test_the_description_survives_a_file"}
    assert tested == set(EncoderContract.promises())


def test_a_check_names_every_broken_promise_and_passes_a_member_that_keeps_them():
    check_encoder(Small, SmallSpec())
    check_encoder(ENCODERS["mlp"], MLPSpec(hidden=64, encoding_dim=64))
    with pytest.raises(AssertionError, match=r"(?s)^1 of 15 promises are broken\ngradients reach every parameter:\n"):
        check_encoder(WithAnIdleLayer, SmallSpec())
    check_encoder(WithAnIdleLayer, SmallSpec(), without_effect=("idle.weight", "idle.bias"))


def test_what_needs_no_torch_imports_none():
    """Whoever tests an indicator waits for numpy alone."""
    code = "import sys, ftray.testing; assert not {'torch', 'pytest', 'ray', 'hypothesis'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
