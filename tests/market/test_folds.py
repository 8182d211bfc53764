"""Folds: nothing that is trained on reaches into what is validated, and no piece is ever joined to another."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skfolio.model_selection import CombinatorialPurgedCV, WalkForward

from ftray import stats
from ftray.errors import DataError, SpecError
from ftray.features import Dataset, FeatureTable, ObservationLayout, Scaler
from ftray.market import (
    FOLDS,
    Candles,
    CombinatorialSpec,
    Fold,
    FoldsSpec,
    WalkForwardSpec,
    Window,
    Windows,
    WindowsSpec,
    fold,
    n_folds,
    split,
)
from ftray.spec import parse_member, to_mapping
from ftray.trading import MarketRules, backtest

LOOKBACK, HOLDING = 30, 10
REACH = LOOKBACK + HOLDING

SPECS = st.one_of(
    st.builds(WindowsSpec, validation=st.floats(0.1, 0.3), test=st.floats(0.1, 0.3), holding=st.just(HOLDING)),
    st.builds(
        WalkForwardSpec,
        n_folds=st.integers(1, 6),
        train=st.floats(0.2, 0.7),
        expanding=st.booleans(),
        test=st.sampled_from([0.0, 0.15]),
        purge=st.none() | st.integers(REACH, 2 * REACH),
        holding=st.just(HOLDING),
    ),
    st.builds(
        CombinatorialSpec,
        n_groups=st.integers(3, 7),
        n_validation_groups=st.integers(1, 2),
        embargo=st.floats(0.0, 0.03),
        test=st.sampled_from([0.0, 0.15]),
        purge=st.none() | st.integers(REACH, 2 * REACH),
        holding=st.just(HOLDING),
    ),
)


def bars(windows: tuple[Window, ...]) -> np.ndarray:
    return np.concatenate([np.arange(w.start, w.stop) for w in windows])


@given(st.integers(1_500, 6_000), SPECS)
def test_training_keeps_the_purge_from_every_validated_bar_and_from_the_test_window(n_bars, spec):
    folds = fold(n_bars, spec, LOOKBACK)
    purge = spec.purge or REACH
    assert len(folds.folds) == n_folds(spec)
    for one in folds.folds:
        for train, validated in itertools.product(one.train, one.validation):
            gap = max(validated.start - train.stop, train.start - validated.stop)
            assert gap >= purge
        if len(folds.test):
            assert folds.test.start - max(w.stop for w in (*one.train, *one.validation)) >= purge


@given(st.integers(1_500, 6_000), SPECS)
def test_every_piece_is_long_enough_and_none_overlaps_another(n_bars, spec):
    for one in fold(n_bars, spec, LOOKBACK).folds:
        assert all(len(window) >= REACH for window in one.validation)
        for windows in (one.train, one.validation):
            assert list(windows) == sorted(windows)
            assert all(a.stop <= b.start for a, b in itertools.pairwise(windows))


@given(st.integers(1_500, 6_000), SPECS)
def test_every_path_walks_each_validated_window_once_in_time_order(n_bars, spec):
    folds = fold(n_bars, spec, LOOKBACK)
    windows = sorted({window for one in folds.folds for window in one.validation})
    used = []
    for path in folds.paths():
        assert [window for _, window in path] == windows
        assert all(window in folds.folds[i].validation for i, window in path)
        used += path
    assert len(set(used)) == len(used)  # no validation is counted in two paths
    assert len(used) == sum(len(one.validation) for one in folds.folds)  # and none is lost


@given(st.integers(2_000, 6_000), st.integers(3, 7), st.integers(1, 2), st.floats(0.0, 0.03))
def test_combinatorial_folds_train_on_all_that_purge_and_embargo_leave(n_bars, n_groups, n_validation, embargo):
    spec = CombinatorialSpec(
        n_groups=n_groups, n_validation_groups=n_validation, embargo=embargo, test=0.0, holding=HOLDING
    )
    folds = fold(n_bars, spec, LOOKBACK)
    assert len(folds.folds) == math.comb(n_groups, n_validation)
    assert len(folds.paths()) == math.comb(n_groups - 1, n_validation - 1)
    after = REACH + math.ceil(n_bars * embargo)
    for one in folds.folds:
        forbidden = np.zeros(n_bars, bool)
        for window in one.validation:
            forbidden[max(0, window.start - REACH) : window.stop + after] = True
        np.testing.assert_array_equal(bars(one.train), np.flatnonzero(~forbidden))


@pytest.mark.parametrize("expanding", [True, False])
def test_walk_forward_agrees_with_skfolio(expanding):
    # 1,800 bars in all: 800 before the first validation, then 5 windows of 200
    spec = WalkForwardSpec(n_folds=5, train=800 / 1_800, expanding=expanding, test=0.0, purge=60, holding=HOLDING)
    theirs = WalkForward(test_size=200, train_size=740, purged_size=60, expand_train=expanding)
    folds = fold(1_800, spec, LOOKBACK).folds
    for one, (train, test) in zip(folds, theirs.split(np.zeros((1_800, 1))), strict=True):
        np.testing.assert_array_equal(bars(one.train), train)
        np.testing.assert_array_equal(bars(one.validation), test)


@pytest.mark.parametrize(("n_groups", "n_validation"), [(5, 2), (6, 2), (6, 3), (10, 2)])
@pytest.mark.parametrize("embargo", [0.0, 0.02])
def test_combinatorial_folds_agree_with_skfolio(n_groups, n_validation, embargo):
    n_bars = 300 * n_groups
    spec = CombinatorialSpec(
        n_groups=n_groups, n_validation_groups=n_validation, embargo=embargo, test=0.0, holding=HOLDING
    )
    theirs = CombinatorialPurgedCV(
        n_folds=n_groups,
        n_test_folds=n_validation,
        purged_size=REACH,
        embargo_size=math.ceil(n_bars * embargo),
    )
    folds = fold(n_bars, spec, LOOKBACK)
    for one, (train, tests) in zip(folds.folds, theirs.split(np.zeros((n_bars, 1))), strict=True):
        np.testing.assert_array_equal(bars(one.train), train)
        assert len(one.validation) == len(tests)
        for window, test in zip(one.validation, tests, strict=True):
            np.testing.assert_array_equal(np.arange(window.start, window.stop), test)
    recombined = np.array([[i for i, _ in path] for path in folds.paths()]).T
    np.testing.assert_array_equal(recombined, theirs.recombined_paths)


def test_the_single_fold_is_the_split():
    windows = split(5_000, WindowsSpec(), LOOKBACK)
    folds = fold(5_000, WindowsSpec(), LOOKBACK)
    assert folds.folds == (Fold(windows.train, windows.validation),)
    assert folds.test == windows.test
    assert folds.windows == (windows,)
    assert folds.paths() == (((0, windows.validation[0]),),)


@pytest.mark.parametrize("kind", FOLDS)
def test_every_kind_of_folds_parses_by_its_kind_and_has_defaults_without_leakage(kind):
    spec = parse_member(FoldsSpec, {"kind": kind})
    assert parse_member(FoldsSpec, to_mapping(spec)) == spec
    folds = fold(30_000, spec, lookback=60)
    assert folds.folds and len(folds.test) == 4_500


@pytest.mark.parametrize("spec", [WalkForwardSpec(purge=83), CombinatorialSpec(purge=83)])
def test_a_purge_below_lookback_and_holding_is_refused(spec):
    with pytest.raises(SpecError, match=r"purge: must be at least lookback \+ holding = 60 \+ 24 = 84 bars, got 83"):
        fold(10_000, spec, lookback=60)


@pytest.mark.parametrize(
    ("n_bars", "spec", "words"),
    [
        (1_000, WalkForwardSpec(n_folds=8), "the validation windows of every fold must hold .* = 84 bars, got 47"),
        (1_000, WalkForwardSpec(n_folds=2, train=0.1), "the train windows .* got 0 "),
        (1_000, WalkForwardSpec(test=0.05), "the test windows .* got 50 .1000 bars in all, 4 folds"),
        (1_000, CombinatorialSpec(n_groups=10), "the validation windows .* got 76 .* 45 folds.; take more candles"),
        (1_000, CombinatorialSpec(n_groups=3), "the train windows .* got 79"),
        (50, CombinatorialSpec(), "the validation windows .* got 0"),
    ],
)
def test_too_few_bars_are_refused_with_the_numbers(n_bars, spec, words):
    with pytest.raises(DataError, match=words):
        fold(n_bars, spec, lookback=60)


def test_combinatorial_folds_must_leave_groups_to_train_on():
    with pytest.raises(SpecError, match="n_validation_groups: must leave groups to train on: below n_groups = 4"):
        CombinatorialSpec(n_groups=4, n_validation_groups=4)


def jumping(n_bars: int, seams: list[int], hole: int) -> Candles:
    """A quiet market, but for a factor of 1,000 between each seam's bar and the bar before; and a hole in time."""
    rng = np.random.default_rng(0)
    level = np.zeros(n_bars)
    level[seams] = math.log(1_000.0) * (-1.0) ** np.arange(len(seams))
    closes = np.exp(np.cumsum(level)[:, None] + rng.normal(0, 1e-3, (n_bars, 2)))
    values = np.stack([closes] * 4 + [np.ones_like(closes)], axis=-1)
    hours = np.arange(n_bars) + np.where(np.arange(n_bars) >= hole, 5, 0)
    times = np.datetime64("2024-01-01T00", "ns") + hours * np.timedelta64(1, "h")
    return Candles(("AAVE", "BTC"), times, values, np.timedelta64(1, "h").astype("timedelta64[ns]"))


@pytest.mark.parametrize(
    "spec",
    [
        WindowsSpec(holding=HOLDING),
        WalkForwardSpec(n_folds=4, holding=HOLDING),
        CombinatorialSpec(n_groups=6, n_validation_groups=2, holding=HOLDING),
    ],
    ids=lambda spec: spec.kind,
)
class TestNoPieceIsJoinedToAnother:
    """The market jumps a thousandfold at every seam between two pieces: an account that trades across one shows it."""

    N_BARS = 1_500

    def validated(self, spec: FoldsSpec) -> list[Window]:
        return sorted({w for one in fold(self.N_BARS, spec, LOOKBACK).folds for w in one.validation})

    def market(self, spec: FoldsSpec) -> tuple[Dataset, list[int]]:
        pieces = self.validated(spec)
        hole = pieces[0].start + len(pieces[0]) // 2
        edges = {edge for w in pieces for edge in (w.start, w.stop)} | {hole}
        seams = sorted(edge for edge in edges if 0 < edge < self.N_BARS)
        candles = jumping(self.N_BARS, seams, hole)
        layout = ObservationLayout(candles.symbols, ("close",), LOOKBACK)
        scaler = Scaler(np.zeros(layout.n_series), np.ones(layout.n_series), 8.0)
        values = np.zeros((self.N_BARS, layout.n_series), np.float32)
        table = FeatureTable(layout, values, scaler, candles.segments)
        whole, no_test = Window(0, self.N_BARS), Window(self.N_BARS, self.N_BARS)
        return Dataset(candles, table, Windows((whole,), (whole,), no_test), "jumping"), seams

    def test_returns_inside_the_pieces_cross_no_seam(self, spec):
        dataset, _ = self.market(spec)
        closes = dataset.candles.column("close")
        for piece in self.validated(spec):
            for run in piece.segments(dataset.candles):
                assert np.abs(np.diff(np.log(closes[run.start : run.stop]), axis=0)).max(initial=0.0) < 0.01

    def test_a_backtest_of_the_pieces_earns_nothing_at_a_seam(self, spec):
        dataset, seams = self.market(spec)
        everything = lambda bars, _: np.tile([0.5, 0.5], (len(bars), 1))  # noqa: E731
        for piece in self.validated(spec):
            result = backtest(everything, dataset, piece, MarketRules())
            assert np.abs(result.returns).max() < 0.01
            assert result.bars.min() >= piece.start + LOOKBACK - 1 and result.bars.max() + 1 < piece.stop
            assert not np.isin(result.bars + 1, seams).any()

    def test_a_backtest_of_all_pieces_of_a_fold_at_once_earns_nothing_at_a_seam_either(self, spec):
        dataset, seams = self.market(spec)
        everything = lambda bars, _: np.tile([0.5, 0.5], (len(bars), 1))  # noqa: E731
        for one in fold(self.N_BARS, spec, LOOKBACK).folds:
            result = backtest(everything, dataset, one.validation, MarketRules())
            alone = [backtest(everything, dataset, piece, MarketRules()) for piece in one.validation]
            assert np.abs(result.returns).max() < 0.01
            assert not np.isin(result.bars + 1, seams).any()
            np.testing.assert_allclose(result.returns, np.concatenate([piece.returns for piece in alone]))

    def test_rebuilt_paths_make_a_matrix_in_which_no_seam_shows(self, spec):
        dataset, seams = self.market(spec)
        folds = fold(self.N_BARS, spec, LOOKBACK)
        weights = (np.array([1.0, 0.0]), np.array([0.0, 1.0]), np.array([0.5, 0.5]))
        held = {
            (config, window): backtest(lambda b, _, w=w: np.tile(w, (len(b), 1)), dataset, window, MarketRules())
            for config, w in enumerate(weights)
            for window in self.validated(spec)
        }
        for path in folds.paths():
            pieces = [[held[config, window] for _, window in path] for config in range(len(weights))]
            returns, where = stats.returns_matrix([[(p.bars, p.returns) for p in row] for row in pieces])
            assert returns.shape == (len(weights), len(where))
            assert len(where) == sum(len(p) for p in pieces[0])
            assert np.abs(returns).max() < 0.01 and not np.isin(where + 1, seams).any()
            assert 0.0 <= stats.overfitting_probability(returns, n_blocks=6) <= 1.0

    def test_no_observation_reads_across_a_seam(self, spec):
        dataset, seams = self.market(spec)
        for piece in self.validated(spec):
            for bar in dataset.table.decision_bars(piece):
                assert not any(bar - LOOKBACK + 1 < seam <= bar for seam in seams)

    def test_the_market_catches_pieces_that_are_joined(self, spec):
        dataset, _ = self.market(spec)
        closes = dataset.candles.column("close")
        joined = np.concatenate([closes[w.start : w.stop] for w in self.validated(spec)])
        assert np.abs(np.diff(np.log(joined), axis=0)).max() > 6.0
