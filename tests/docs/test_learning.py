"""The page of learning curves, which `docs/make_curves.py` writes from what the benchmarks measured."""

import importlib.util
import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from .pages import ROOT

_spec = importlib.util.spec_from_file_location("make_curves", ROOT / "docs" / "make_curves.py")
assert _spec and _spec.loader
curves = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(curves)

PAGE = ROOT / "docs" / curves.PAGE
SVG = "{http://www.w3.org/2000/svg}"


def row(way, growth, draw, market="mean reversion", seed=0):
    curve = [{"env_steps": float(steps), "seconds": steps / 10, "growth": one} for steps, one in growth]
    return {"market": market, "draw": draw, "seed": seed, "way": way, "growth": growth[-1][1], "curve": curve}


def level(way, growth, draw, market="mean reversion"):
    return row(way, [(0, growth)], draw, market) | {"curve": [{"growth": growth}]}


@pytest.fixture
def skill():
    rows = [level("informed", 0.04, 1), level("informed", 0.02, 2), level("informed", 0.0, 1, "noise")]
    rows += [row("alternatives", [(0, 0.0), (50, 0.01), (104, 0.02)], 1)]
    rows += [row("alternatives", [(0, 0.0), (50, 0.03), (104, 0.01)], 2, seed=seed) for seed in (0, 1)]
    rows += [row("direct, 1 bar", [(0, 0.0), (100, 0.03)], draw) for draw in (1, 2)]
    rows += [row("alternatives", [(0, 0.0), (104, -0.01)], 1, "noise")]
    share = {"market": "mean reversion", "draws": 2}
    shares = [
        share | {"way": "informed", "growth": 0.03, "share": 1.0, "low": 1.0, "high": 1.0},
        share | {"way": "alternatives", "growth": 0.015, "share": 0.5, "low": 0.41, "high": 0.62},
        share | {"way": "direct, 1 bar", "growth": 0.03, "share": 1.0, "low": 0.9, "high": 1.1},
        {"market": "noise", "draws": 1, "way": "informed", "growth": 0.0},
        {"market": "noise", "draws": 1, "way": "alternatives", "growth": -0.01},
    ]
    measured = {"at": "2026-11-27T16:50:30+00:00", "machine": {"device": "AMD EPYC", "cores": 2}}
    return measured | {"settings": {"steps": 100, "n_bars": 24_000}, "rows": rows, "shares": shares}


@pytest.fixture
def transfer():
    def difference(market, mean, low, high):
        words = {"market": market, "difference": "frozen - scratch", "draws": 2, "above_0": 1}
        return words | {"mean": mean, "low": low, "high": high}

    rows = [
        {"market": "motif", "draw": draw, "informed": 0.02, "growth": {"scratch": growth, "frozen": 0.004}}
        for draw, growth in ((1, 0.001), (2, 0.003))
    ]
    return {
        "settings": {"steps": 20_000},
        "rows": rows,
        "differences": [
            difference("motif", 0.002, 0.001, 0.003),
            difference("momentum", -0.002, -0.003, -0.001),
            difference("all", 0.001, -0.001, 0.003),
        ],
    }


@pytest.fixture
def demo():
    learned = {"market": "demo", "studies": 5, "clear": 4, "gate_opens": 3, "bound": 0.3426, "holds": True}
    return {"claims": [learned, learned | {"market": "noise", "studies": 59, "clear": 0, "bound": 0.0495}]}


def test_the_page_has_growth_shares_and_intervals_and_what_pre_training_buys(skill, transfer, demo):
    page = curves.page(skill, transfer, demo)
    assert "on each of 2 draws of a market, with 2 seeds\nper draw" in page
    assert "AMD EPYC, 2 cores that other work shared (2026-11-27)" in page
    assert "| demo | 5 | 4 | 3 | at least 0.343 |\n| noise | 59 | 0 | 3 | at most 0.050 |\n" in page
    assert "| alternatives | 2 | +0.0150 | 0.50 [0.41, 0.62] | 0.50 | 10 |" in page
    assert "| informed | 2 | +0.0300 | 1.00 [1.00, 1.00] | 1.00 |  |" in page
    assert "| alternatives | 1 | -0.0100 |  |  | 10 |" in page, "a share of nothing is none"
    assert "| learner | mean reversion |\n" in page and "| alternatives | 0.50 |\n" in page
    assert "| motif | 2 | +20.00 | +2.00 | +4.00 |" in page
    assert "| motif | frozen − scratch | +2.00 [1.00, 3.00] | 1 of 2 | more |" in page
    assert "| momentum | frozen − scratch | -2.00 [-3.00, -1.00] | 1 of 2 | less |" in page
    assert "| all | frozen − scratch | +1.00 [-1.00, 3.00] | 1 of 2 | nothing is shown |" in page


def test_a_curve_is_the_mean_over_draws_of_the_means_over_seeds(skill):
    found = curves.curve_of("mean reversion", "alternatives", skill, np.array([0.0, 25.0, 50.0, 200.0]))
    np.testing.assert_allclose(found, [0.0, 0.01, 0.02, 0.015])


def test_each_market_has_a_plot_with_a_line_and_a_label_for_each_learner(skill, transfer, demo):
    made = curves.made(skill, transfer, demo)
    shown = re.findall(r"!\[.+\]\((.+\.svg)\)", made[curves.PAGE])
    assert shown == ["learning/mean-reversion.svg", "learning/noise.svg"] == [p for p in made if p != curves.PAGE]
    root = ElementTree.fromstring(made["learning/mean-reversion.svg"])
    lines = [np.array([point.split(",") for point in line.get("points").split()], float)
             for line in root.iter(f"{SVG}polyline")]  # fmt: skip
    assert [line.shape for line in lines] == [(curves.N_POINTS, 2)] * 3
    informed, alternatives, direct = lines
    assert len(set(informed[:, 1])) == 1 and direct[-1, 1] == informed[0, 1] < alternatives[-1, 1]
    assert direct[0, 1] == alternatives[0, 1] == curves.BOTTOM and np.all(np.diff(direct[:, 1]) < 0)
    assert {"informed", "alternatives", "direct, 1 bar"} <= {text.text for text in root.iter(f"{SVG}text")}


def test_labels_keep_their_order_and_do_not_overlap():
    found = curves._apart([100.0, 340.0, 101.0, 349.0, 350.0])
    assert list(np.argsort(found)) == [0, 2, 1, 3, 4]
    assert min(np.diff(sorted(found))) >= 17.0 and max(found) <= curves.BOTTOM


def test_there_is_a_page_if_and_only_if_there_are_results():
    assert PAGE.exists() == curves.SKILL.exists(), "run: python docs/make_curves.py"


@pytest.mark.xfail(not curves.SKILL.exists(), reason=f"{curves.SKILL.name} has not been measured yet", strict=True)
def test_the_page_and_its_plots_are_what_was_measured():
    for path, text in curves.made(
        json.loads(curves.SKILL.read_text()), json.loads(curves.TRANSFER.read_text())
    ).items():
        assert (ROOT / "docs" / path).read_text() == text, f"{path} is stale, run: python docs/make_curves.py"
