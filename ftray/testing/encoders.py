"""The contract of encoders: sample by sample, the same in training and evaluation, market and account joined last.

Legend: B batch, S series, L lookback, A assets.
"""

import functools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ftray.features import FeatureSpec, FeatureTable, ObservationLayout, build_table
from ftray.market import Candles, SimulatorSpec, Window, simulate
from ftray.nets import Encoder, load_market_weights, market_state_dict, policy_head
from ftray.testing.contract import Contract, broken
from ftray.testing.look_ahead import assert_walk_has_no_look_ahead
from ftray.testing.specs import assert_survives_a_file

LAYOUT = ObservationLayout(("BTC", "ETH"), ("close", "rsi", "macd"), lookback=7)
OTHER_LAYOUTS = (ObservationLayout(("BTC",), ("close",), lookback=1), ObservationLayout(tuple("ABCDE"), ("x", "y"), 13))
TOLERANCE = 1e-6
"""How far two encodings near 1 may be apart that were computed in another order."""


class EncoderContract(Contract):
    """What an encoder promises.

    encoder: the member, a class. It need not be registered.
    spec: an example of its description, small, as the encoder is built many times.
    without_effect: endings of the names of parameters that no encoding depends on, if there are.

        class TestGru(EncoderContract):
            encoder = GruEncoder
            spec = GruSpec(hidden=16, encoding_dim=32)
    """

    encoder: type[Encoder]
    spec: Any
    without_effect: tuple[str, ...] = ()

    def built(self, layout: ObservationLayout = LAYOUT, *, seed: int = 0) -> Encoder:
        """A freshly initialised encoder."""
        torch.manual_seed(seed)
        return self.encoder(self.spec, layout)

    def test_an_encoding_is_as_wide_as_its_description_says(self) -> None:
        encoder, (windows, account) = self.built(), samples()
        shapes = tuple(encoder(windows, account).shape), tuple(encoder.market(windows).shape)
        expected = (len(windows), self.spec.encoding_dim), (len(windows), encoder.d_market)
        if shapes != expected:
            raise broken(
                "an encoding must be (B, spec.encoding_dim), and a market vector (B, d_market): heads are built for it",
                f"they are {shapes[0]} and {shapes[1]}, not {expected[0]} and {expected[1]}",
                "end `fuse` in a layer of width spec.encoding_dim, and set d_market to the width that `market` returns",
            )

    def test_every_layout_can_be_read(self) -> None:
        for layout in OTHER_LAYOUTS:
            try:
                shape = tuple(self.built(layout)(*samples(3, layout)).shape)
            except RuntimeError as error:
                shape = f"{type(error).__name__}: {error}"
            if shape != (3, self.spec.encoding_dim):
                raise broken(
                    "an encoder must read every layout: any number of assets, indicators and bars",
                    f"three samples of {layout} gave {shape}",
                    "take every width from the layout that the constructor gets",
                )

    def test_an_encoding_is_finite_at_the_largest_features(self) -> None:
        clip = FeatureSpec().clip
        _, account = samples(2)
        windows = torch.full((2, LAYOUT.n_series, LAYOUT.lookback), clip) * torch.tensor([-1.0, 1.0])[:, None, None]
        if not self.built()(windows, account).isfinite().all():
            raise broken(
                f"an encoding must be finite for all features that a table holds: from {-clip:g} to {clip:g}",
                f"it is not, where all of them are {-clip:g} or {clip:g}",
                "keep exponentials, logarithms and divisors in range",
            )

    def test_a_full_observation_is_sliced_through_the_layout(self) -> None:
        encoder, (windows, account) = self.built(), samples()
        observation = torch.cat([account, windows.flatten(1)], dim=1)
        if not _close(encoder.encode(observation), encoder(windows, account)):
            raise broken(
                "`encode` must give what windows and account give that are sliced out of the observation",
                f"they are up to {_apart(encoder.encode(observation), encoder(windows, account)):.3g} apart",
                "leave `encode` and `split` to `Encoder`",
            )

    def test_samples_of_a_batch_do_not_touch_each_other(self) -> None:
        encoder, (windows, account) = self.built(), samples()
        for mode in (True, False):
            batch, alone = encoder.train(mode)(windows, account)[2:3], encoder(windows[2:3], account[2:3])
            if not _close(batch, alone):
                raise broken(
                    "a sample must be encoded in a batch as it is alone, in training mode, too",
                    f"in {'training' if mode else 'evaluation'} mode they are up to {_apart(batch, alone):.3g} apart",
                    "normalise over features (LayerNorm), never over the batch (BatchNorm)",
                )

    def test_the_same_input_gives_the_same_encoding_in_training_and_in_evaluation(self) -> None:
        encoder, (windows, account) = self.built(), samples()
        modes = ("training", "training", "evaluation", "evaluation")
        passes = [encoder.train(mode == "training")(windows, account) for mode in modes]
        for mode, one in zip(modes, passes, strict=True):
            if not torch.equal(one, passes[0]):
                raise broken(
                    "the same input must give the same encoding, to the last bit, in both modes: PPO's ratio compares "
                    "the pass that sampled an action with the pass that learns from it",
                    f"a pass in {mode} mode is up to {_apart(one, passes[0]):.3g} from the first one in training mode",
                    "leave out dropout, noise and running statistics, and keep no state between passes",
                )

    def test_the_market_vector_and_the_account_make_the_encoding(self) -> None:
        encoder, (windows, account) = self.built(), samples()
        if not encoder.shares_bars:
            try:
                encoder.fuse(encoder.market(windows), account)
            except TypeError:
                return
            raise broken(
                "an encoder that does not share bars must refuse to fuse a market vector: its market knows the account",
                "`fuse` returned although shares_bars is False",
                "raise TypeError in `fuse` and override `forward`, or set shares_bars to True",
            )
        encoder(windows, account.flip(0))  # whatever a pass leaves behind must not matter to the next
        fused, whole = encoder.fuse(encoder.market(windows), account), encoder(windows, account)
        if not _close(fused, whole):
            raise broken(
                "`fuse(market(windows), account)` must be the encoding, if shares_bars is True: one market vector is "
                "computed per bar, and serves all accounts that stand there",
                f"they are up to {_apart(fused, whole):.3g} apart",
                "let the account into `fuse` alone, or set shares_bars to False",
            )

    def test_the_account_changes_the_encoding(self) -> None:
        encoder, (windows, account) = self.built(), samples()
        if _close(encoder(windows, account), encoder(windows, account.flip(0))):
            raise broken(
                "an encoding must depend on the account: what to do depends on what is held",
                "another account gave the same encodings",
                "join the account in `fuse`, by a layer of its own, say",
            )

    def test_every_feature_changes_the_encoding(self) -> None:
        encoder, (windows, account) = self.built(), samples()
        windows.requires_grad_()
        encoder(windows, account).square().sum().backward()
        gradient = torch.zeros_like(windows) if windows.grad is None else windows.grad
        series, bars = torch.nonzero(gradient.abs().sum(0) == 0, as_tuple=True)
        if len(series):
            first = LAYOUT.feature_name(int(series[0]) * LAYOUT.lookback + int(bars[0]))
            raise broken(
                "an encoding must depend on every feature of its window",
                f"{len(series)} of {LAYOUT.n_features} have no effect, {first} is the first of them",
                "read the whole window (B, S, L), the oldest bar first",
            )

    def test_gradients_reach_every_parameter(self) -> None:
        encoder = self.built()
        encoder(*samples()).square().sum().backward()
        lost = [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
        lost = [name for name in lost if not name.endswith(self.without_effect)]
        if lost:
            raise broken(
                "every parameter must be learned",
                f"no gradient reaches {', '.join(lost)}",
                "remove what has no effect, or name it in `without_effect`; do not detach",
            )

    def test_market_parameters_are_those_that_the_market_vector_depends_on(self) -> None:
        encoder = self.built()
        encoder.market(samples()[0]).square().sum().backward()
        market = {id(p) for p in encoder.market_parameters()}
        outside = [name for name, p in encoder.named_parameters() if p.grad is not None and id(p) not in market]
        if outside:
            raise broken(
                "`market` must depend on the parameters of `tower` alone: they are what a checkpoint carries over",
                f"it depends on {', '.join(outside)}, too",
                "put all modules that `market` uses into `self.tower`",
            )

    def test_weights_survive_a_checkpoint(self) -> None:
        encoder, other, tower = self.built(), self.built(seed=1), self.built(seed=2)
        other.load_state_dict(encoder.state_dict())
        load_market_weights(tower, market_state_dict(encoder))
        windows, account = samples()
        for what, one, loaded in (
            ("encoding", encoder(windows, account), other(windows, account)),
            ("market vector", encoder.market(windows), tower.market(windows)),
        ):
            if not torch.equal(one, loaded):
                raise broken(
                    "weights that were saved and loaded must encode as before, to the last bit",
                    f"the {what} after loading is up to {_apart(one, loaded):.3g} from the one before",
                    "register what `forward` uses as parameters or persistent buffers, not as plain attributes",
                )

    def test_the_description_survives_a_file(self) -> None:
        assert_survives_a_file(self.spec, type(self.spec))

    def test_an_encoder_works_on_another_device(self) -> None:
        """The meta device has shapes without memory: it stands for a GPU, and memory is counted on it."""
        with torch.device("meta"):
            encoder = self.encoder(self.spec, LAYOUT)
        try:
            encoder(*(x.to("meta") for x in samples())).sum().backward()
        except RuntimeError as error:
            raise broken(
                "an encoder must compute on the device that its parameters and its input are on",
                f"on the meta device it raised {type(error).__name__}: {error}",
                "make new tensors with `device=x.device` or `torch.zeros_like(x)`, and keep constants as buffers",
            ) from error

    def test_no_encoding_and_no_action_depends_on_a_later_bar(self) -> None:
        candles = market()
        encoder = self.built(table(candles).layout).eval()
        head = policy_head(encoder.encoding_dim, candles.n_assets)
        torch.nn.init.normal_(head[-1].weight)  # type: ignore[arg-type]  # its small gain would hide what differs

        @torch.inference_mode()
        def policy(observation: np.ndarray) -> tuple[np.ndarray, ...]:
            encoding = encoder.encode(torch.from_numpy(observation)[None])
            return encoding.numpy(), head(encoding)[0, : candles.n_assets].tanh().numpy()

        name = f"an account that acts by {self.encoder.__name__}"
        for t in (TRAIN.stop - 1, len(candles) - 50):
            assert_walk_has_no_look_ahead(candles, table, t, policy, name=name)


TRAIN = Window(0, 500)


@functools.cache
def market() -> Candles:
    """Two assets, 700 hourly bars."""
    return simulate(SimulatorSpec(n_assets=2, n_bars=700, seed=11))


def table(candles: Candles) -> FeatureTable:
    return build_table(candles, FeatureSpec(lookback=30, indicators=("close", "volume", "range_breakout")), TRAIN)


def samples(n: int = 5, layout: ObservationLayout = LAYOUT) -> tuple[Tensor, Tensor]:
    """Windows (B, S, L) and accounts (B, 1 + A)."""
    generator = torch.Generator().manual_seed(1)
    shape = (n, layout.n_series, layout.lookback)
    return torch.randn(shape, generator=generator), torch.rand((n, layout.n_account), generator=generator)


def _close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=0, atol=TOLERANCE)


def _apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).detach().abs().max())


def check_encoder(encoder: type[Encoder], spec: Any, *, without_effect: tuple[str, ...] = ()) -> None:
    """Holds an encoder to every promise of `EncoderContract`.

    encoder: the class. It need not be registered.
    spec: an example of its description, small, as the encoder is built many times.
    without_effect: endings of the names of parameters that no encoding depends on, if there are.

    Raises: AssertionError, which names every promise that it breaks, how, and what to do.
    """
    contract = EncoderContract()
    contract.encoder, contract.spec, contract.without_effect = encoder, spec, without_effect
    contract.check()
