import dataclasses
import itertools
import math

import pytest
import rtdl_revisiting_models as rtdl
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from ftray.errors import SpecError
from ftray.features import ObservationLayout
from ftray.nets import FTSpec, FTTransformer, build_encoder, patch_sums

LAYOUT = ObservationLayout(("BTC", "ETH"), ("close", "rsi", "macd"), lookback=7)


def spec(**changes):
    return dataclasses.replace(FTSpec(d_token=32, n_blocks=3, n_heads=4, encoding_dim=256), **changes)


def encoder(seed=0, dropout=0.0, **changes):
    torch.manual_seed(seed)
    model = FTTransformer(spec(**changes), LAYOUT, dropout=dropout)
    for parameter in model.parameters():  # no zeros or ones left that would hide a bias or a scale
        nn.init.normal_(parameter, std=0.3)
    return model


def windows(n=4):
    return torch.randn(n, LAYOUT.n_series, LAYOUT.lookback, generator=torch.Generator().manual_seed(1))


def reference_of(ours: FTTransformer, early: bool) -> rtdl.FTTransformer:
    """The authors' own model with our weights; late fusion gives their backbone without its output layer."""
    d, tower = ours.spec.d_token, ours.tower
    theirs = rtdl.FTTransformer(
        n_cont_features=LAYOUT.size if early else LAYOUT.n_features,
        cat_cardinalities=[],
        d_out=ours.encoding_dim if early else None,
        n_blocks=ours.spec.n_blocks,
        d_block=d,
        attention_n_heads=ours.spec.n_heads,
        attention_dropout=0.0,
        ffn_d_hidden=None,
        ffn_d_hidden_multiplier=4 / 3,
        ffn_dropout=0.0,
        residual_dropout=0.0,
    )
    weight, bias = tower.tokenizer.weight.reshape(-1, d), tower.tokenizer.bias.reshape(-1, d)
    if early:
        weight, bias = torch.cat([ours.account_weight, weight]), torch.cat([ours.account_bias, bias])
    state = {"cls_embedding.weight": tower.cls, "cont_embeddings.weight": weight, "cont_embeddings.bias": bias}
    for i, block in enumerate(tower.blocks):
        names = {"W_q": block.attention.query, "W_k": block.attention.key, "W_v": block.attention.value}
        layers = {f"attention.{name}": layer for name, layer in names.items()}
        layers |= {"attention.W_out": block.attention.output, "ffn_normalization": block.feed_forward_norm}
        layers |= {"attention_normalization": block.attention_norm} if i else {}
        for name, layer in (layers | {"ffn.linear2": block.feed_forward.contract}).items():
            state |= {f"backbone.blocks.{i}.{name}.{kind}": value for kind, value in layer.named_parameters()}
        for kind in ("weight", "bias"):
            both = (getattr(block.feed_forward.value, kind), getattr(block.feed_forward.gate, kind))
            state[f"backbone.blocks.{i}.ffn.linear1.{kind}"] = torch.cat(both)
    if early:
        for name, layer in {"normalization": tower.norm, "linear": ours.projection}.items():
            state |= {f"backbone.output.{name}.{kind}": value for kind, value in layer.named_parameters()}
    theirs.load_state_dict(state)
    return theirs


@pytest.mark.parametrize("n_blocks", [1, 3])
def test_one_token_per_feature_and_early_fusion_is_the_authors_model(n_blocks):
    ours = encoder(patch_length=1, fusion="early", n_blocks=n_blocks)
    observation = torch.randn(4, LAYOUT.size, generator=torch.Generator().manual_seed(1))
    expected = reference_of(ours, early=True)(observation, None).relu()
    torch.testing.assert_close(ours.encode(observation), expected, rtol=1e-5, atol=1e-5)


def test_the_market_vector_at_one_token_per_feature_is_the_authors_backbone():
    ours = encoder(patch_length=1)
    expected = ours.tower.norm(reference_of(ours, early=False)(windows().flatten(1), None))
    torch.testing.assert_close(ours.market(windows()), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("patch_length", range(1, LAYOUT.lookback + 1))
def test_a_patch_is_the_sum_of_its_features_even_where_the_last_one_is_shorter(patch_length):
    rows = torch.randn(LAYOUT.n_series, LAYOUT.lookback, 32)
    per_feature = windows()[..., None] * rows
    expected = torch.stack([part.sum(dim=2) for part in per_feature.split(patch_length, dim=2)], dim=2)
    torch.testing.assert_close(patch_sums(windows(), rows, patch_length), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("patch_length", "n_tokens"), [(1, 43), (3, 19), (6, 13), (7, 7), (60, 7)])
def test_every_patch_is_a_token_and_a_patch_is_at_most_the_lookback(patch_length, n_tokens):
    assert encoder(patch_length=patch_length).tokens(windows()).shape == (4, n_tokens, 32)


def test_every_feature_keeps_an_embedding_row_of_its_own_at_any_patch_length():
    for patch_length in (1, 3, 7):
        assert encoder(patch_length=patch_length).tower.tokenizer.weight.shape == (6, 7, 32)


def test_tokens_start_at_the_same_scale_at_any_patch_length():
    def scale(patch_length):
        torch.manual_seed(0)
        tokenizer = FTTransformer(spec(patch_length=patch_length), LAYOUT).tower.tokenizer
        return (tokenizer(windows(256)).unflatten(1, (6, -1)) - tokenizer.bias).std()

    torch.testing.assert_close(scale(7), scale(1), rtol=0.1, atol=0.0)


@pytest.mark.parametrize("n_blocks", [1, 2])
def test_reading_the_first_token_alone_is_the_first_of_all_tokens(n_blocks):
    ours = encoder(patch_length=3, n_blocks=n_blocks)
    torch.testing.assert_close(ours.market(windows()), ours.tokens(windows())[:, 0], rtol=1e-5, atol=1e-5)


def attention_pooling(ours):
    """PyTorch's own attention with the weights of our readout, which makes a key and a value per token."""
    layer, d = ours.tower.readout.attention, ours.spec.d_token
    theirs = nn.MultiheadAttention(d, ours.spec.n_heads, batch_first=True)
    projections = (layer.query, layer.key, layer.value)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([projection.weight for projection in projections]))
        theirs.in_proj_bias.copy_(torch.cat([layer.query.bias, torch.zeros(d), layer.value.bias]))
        theirs.out_proj.weight.copy_(layer.output.weight)
        theirs.out_proj.bias.copy_(layer.output.bias)
    return theirs


@pytest.mark.parametrize("fusion", ["late", "early"])
@pytest.mark.parametrize("n_blocks", [1, 2])
def test_a_query_per_asset_reads_what_an_attention_with_keys_and_values_reads(n_blocks, fusion):
    ours = encoder(patch_length=3, n_blocks=n_blocks, readout="assets", fusion=fusion)
    account = torch.rand(4, LAYOUT.n_account, generator=torch.Generator().manual_seed(2))
    tokens, readout = ours.tower.norm(ours.tower(ours._embed(windows(), account))), ours.tower.readout
    read, _ = attention_pooling(ours)(readout.queries.expand(4, -1, -1), tokens, tokens)
    expected = readout.norm(read).flatten(1)
    assert expected.shape == (4, ours.d_market) == (4, 2 * 32)
    torch.testing.assert_close(ours.tower.market(ours._embed(windows(), account)), expected, rtol=1e-4, atol=1e-5)


def test_a_query_per_asset_has_the_gradients_of_an_attention_with_keys_and_values():
    ours = encoder(patch_length=3, readout="assets")
    theirs, readout, weights = attention_pooling(ours), ours.tower.readout, torch.randn(4, 64)
    tokens = torch.randn(4, 13, 32, generator=torch.Generator().manual_seed(2))
    (readout(tokens) * weights).sum().backward()
    mine, layer = readout.queries.grad, readout.attention
    readout.queries.grad = None
    read, _ = theirs(readout.queries.expand(4, -1, -1), tokens, tokens)
    (readout.norm(read).flatten(1) * weights).sum().backward()
    torch.testing.assert_close(mine, readout.queries.grad, rtol=1e-4, atol=1e-4)
    ours_of_all = torch.cat([projection.weight.grad for projection in (layer.query, layer.key, layer.value)])
    torch.testing.assert_close(ours_of_all, theirs.in_proj_weight.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("readout", ["cls", "assets"])
def test_the_market_vector_does_not_depend_on_the_order_of_tokens(readout):
    ours = encoder(patch_length=3, readout=readout)
    tokens = ours.tower.tokenizer(windows())
    order = torch.randperm(tokens.shape[1], generator=torch.Generator().manual_seed(3))
    read = ours.tower.market(tokens)
    torch.testing.assert_close(ours.tower.market(tokens[:, order]), read, rtol=1e-4, atol=1e-5)
    values_alone = ours.tower.tokenizer(windows()[:, torch.tensor([1, 0, 2, 3, 4, 5])])  # biases stay where they are
    assert not torch.allclose(ours.tower.market(values_alone), read, atol=1e-2)


def test_queries_of_assets_read_all_tokens_and_differ():
    ours = encoder(readout="assets")
    tokens = torch.randn(4, 7, 32, requires_grad=True)
    of_btc, of_eth = ours.tower.readout(tokens).unflatten(1, (2, 32)).unbind(1)
    assert not torch.allclose(of_btc, of_eth, atol=0.1)
    for read in (of_btc, of_eth):
        (gradient,) = torch.autograd.grad(read.square().sum() + read.sum(), tokens, retain_graph=True)
        assert gradient.abs().sum(dim=-1).bool().all()


def test_a_hidden_cell_shows_its_mask_row_and_never_its_value():
    ours, rows = encoder(patch_length=3), torch.randn(6, 7, 32)
    mask = torch.zeros(4, 6, 7, dtype=torch.bool)
    mask[:, 2, 4] = True
    altered = windows()
    altered[:, 2, 4] = 1e3
    hidden = ours.tokens(windows(), mask, rows)
    assert torch.equal(hidden, ours.tokens(altered, mask, rows))
    zeroed = windows().masked_fill(mask, 0.0)
    assert not torch.allclose(hidden, ours.tokens(zeroed))
    token = ours.tower.tokenizer(windows(), mask, rows) - ours.tower.tokenizer(zeroed)
    torch.testing.assert_close(token[:, 2 * 3 + 1], rows[2, 4].expand(4, -1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("readout", ["cls", "assets"])
def test_activation_checkpointing_changes_memory_and_not_gradients(readout):
    plain, frugal = encoder(readout=readout), encoder(readout=readout, activation_checkpointing=True)
    for model in (plain, frugal):
        model(windows(), torch.rand(4, 3, generator=torch.Generator().manual_seed(2))).sum().backward()
    for a, b in zip(plain.parameters(), frugal.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_dropout_is_active_only_while_training():
    model = encoder(dropout=0.3)
    assert not torch.equal(model.train().tokens(windows()), model.tokens(windows()))
    assert torch.equal(model.eval().tokens(windows()), model.tokens(windows()))


class Recorder(TorchDispatchMode):
    """The size of the largest tensor that any operation gives, forward and backward."""

    largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        tensors = [x for x in torch.utils._pytree.tree_leaves(out) if isinstance(x, torch.Tensor)]
        self.largest = max([self.largest, *(x.numel() for x in tensors)])
        return out


def largest_tensor(model, layout, batch):
    account = torch.rand(batch, layout.n_account)
    with Recorder() as recorder:
        model(torch.randn(batch, layout.n_series, layout.lookback), account).square().sum().backward()
        model.tokens(torch.randn(batch, layout.n_series, layout.lookback)).square().sum().backward()
    return recorder.largest


LONG = ObservationLayout(("BTC", "ETH"), ("close", "rsi"), lookback=60)


@pytest.mark.parametrize("readout", ["cls", "assets"])
@pytest.mark.parametrize("fusion", ["late", "early"])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_no_attention_map_is_ever_held_forward_or_backward(fusion, dropout, readout):
    model = FTTransformer(spec(patch_length=1, fusion=fusion, readout=readout), LONG, dropout=dropout).train()
    assert largest_tensor(model, LONG, batch=1) < 241 * 241


@pytest.mark.parametrize("fusion", ["late", "early"])
@pytest.mark.parametrize("patch_length", [60, 25, 12])
def test_nothing_of_size_features_times_width_is_held_per_sample_forward_or_backward(fusion, patch_length):
    batch, model = 64, FTTransformer(spec(patch_length=patch_length, fusion=fusion), LONG)
    assert largest_tensor(model, LONG, batch) < batch * LONG.n_features * model.d_market / 4


def test_the_recorder_sees_both_where_they_are_held():
    model = FTTransformer(spec(patch_length=1), LONG)
    assert largest_tensor(model, LONG, batch=64) >= 64 * LONG.n_features * model.d_market
    with Recorder() as recorder:
        model.attention(torch.randn(1, LONG.size))
    assert recorder.largest >= 241 * 241


def peak_bytes(work):
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        work()
    events = profile.profiler.kineto_results.events()
    return max(itertools.accumulate(event.nbytes() for event in events if event.name() == "[memory]"))


def test_activation_checkpointing_lowers_the_peak_of_memory():
    def peak(activation_checkpointing):
        model = encoder(n_blocks=4, activation_checkpointing=activation_checkpointing)
        account = torch.rand(64, LAYOUT.n_account)
        return peak_bytes(lambda: model(windows(64), account).sum().backward())

    assert peak(True) < 0.7 * peak(False)


@settings(max_examples=25)
@given(
    n_assets=st.integers(1, 4),
    n_indicators=st.integers(1, 4),
    lookback=st.integers(1, 9),
    patch_length=st.integers(1, 12),
    fusion=st.sampled_from(["late", "early"]),
    n_blocks=st.integers(1, 2),
    readout=st.sampled_from(["cls", "assets"]),
)
def test_any_market_and_any_patch_length_fit(n_assets, n_indicators, lookback, patch_length, fusion, n_blocks, readout):
    layout = ObservationLayout(tuple("ABCD"[:n_assets]), tuple("efgh"[:n_indicators]), lookback)
    torch.manual_seed(0)
    shape = {"patch_length": patch_length, "fusion": fusion, "n_blocks": n_blocks, "readout": readout}
    model = FTTransformer(spec(**shape), layout)
    observation = torch.randn(2, layout.size)
    account_tokens = layout.n_account if fusion == "early" else 0
    market_tokens = layout.n_series * math.ceil(lookback / min(patch_length, lookback))
    assert len(model.token_names) == 1 + account_tokens + market_tokens
    assert model.tokens(model.split(observation)[0]).shape == (2, 1 + market_tokens, 32)
    encoding = model.encode(observation)
    assert encoding.shape == (2, 256)
    encoding.sum().backward()
    assert model.tower.tokenizer.weight.grad.abs().sum(dim=-1).bool().all()  # every feature has a gradient


def test_at_one_token_per_feature_only_the_token_biases_come_on_top():
    layout = ObservationLayout(tuple("ABCDEFG"), tuple("abcdefghijklmn"), 60)
    with torch.device("meta"):
        default, literal = (build_encoder(FTSpec(patch_length=length), layout) for length in (60, 1))
    more = sum(p.numel() for p in literal.parameters()) - sum(p.numel() for p in default.parameters())
    assert more == (5_880 - 98) * 64


def test_forecasts_are_what_heads_say_of_each_assets_query_standardised():
    ours = encoder(readout="forecasts", horizons=(1, 3))
    ours.eval()
    with torch.no_grad():
        head = ours.tower.readout.raw(ours.tower.norm(ours.tower(ours.tower.tokenizer(windows(64)))))
    assert head.shape[1] == ours.d_market == 2 + 2 * 2 * 2  # volatility; returns and ranks over two horizons
    torch.testing.assert_close(ours.market(windows(64)), head)
    ours.standardise(windows(64).split(10))
    found = ours.market(windows(64))
    torch.testing.assert_close(found, (head - head.mean(dim=0)) / head.std(dim=0), rtol=1e-4, atol=1e-4)


def test_one_asset_has_no_ranks_and_an_account_no_influence_on_forecasts():
    assert FTSpec(horizons=(1, 4)).n_returns(1) == 2
    assert FTSpec(horizons=(1, 4)).n_returns(3) == 12
    with pytest.raises(SpecError, match="forecasts know nothing of the account"):
        spec(readout="forecasts", fusion="early")


@pytest.mark.parametrize("horizons", [(), (1, 4, 1)])
def test_horizons_are_different_numbers_of_bars(horizons):
    with pytest.raises(SpecError, match="horizons: must be different numbers of bars"):
        spec(horizons=horizons)
