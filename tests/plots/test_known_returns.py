"""What an encoder card says about coming returns."""

import pytest

from ftray.plots import describe_known_returns, describe_pooled, known_returns


def interval(mean, width=0.01):
    return {"mean": mean, "low": mean - width, "high": mean + width}


def card(**horizons):
    """horizons: h1=(R² of the pooled vector, R² of the tokens), and so on."""
    found = {
        name.removeprefix("h"): {
            "skill": {"encoder": interval(own), "tokens": interval(theirs)},
            "gain": {"tokens": interval(own - theirs)},
        }
        for name, (own, theirs) in horizons.items()
    }
    returns = {"horizons": found, "n_inputs": {"encoder": 32, "tokens": 1_376}, "n_bars": {"fit": 1_024, "scored": 363}}
    return {"figures": {"returns": returns}}


@pytest.mark.parametrize(
    ("horizons", "sentence"),
    [
        (
            {"h1": (0.012, 0.058), "h4": (-0.001, 0.1), "h24": (0.05, 0.05)},
            "The pooled vector lost more than a tenth of what all tokens know of the return of the next 1 and 4 bars "
            "(R² 1.2 %, -0.1 %, theirs 5.8 %, 10.0 %), but shows no such loss for the next 24 bars "
            "(R² 5.0 %, theirs 5.0 %).",
        ),
        (
            {"h1": (0.05, 0.058), "h4": (0.0, 0.005)},
            "The pooled vector shows no loss of what all tokens know of the return of the next bar "
            "(R² 5.0 %, theirs 5.8 %).",
        ),
        (
            {"h1": (0.0, 0.1), "h24": (-0.3, -0.2)},
            "The pooled vector lost more than a tenth of what all tokens know of the return of the next bar "
            "(R² 0.0 %, theirs 10.0 %).",
        ),
        (
            {"h1": (0.2, 0.009), "h4": (0.0, 0.0), "h24": (-0.5, -0.3)},
            "The pooled vector had nothing to lose: all tokens know no return of the next 1, 4 and 24 bars.",
        ),
        ({}, "What the pooled vector knows of coming returns was not measured."),
    ],
    ids=["lost and kept", "kept, and nothing to know", "lost", "nothing to lose", "no horizon"],
)
def test_a_sentence_says_whether_the_pooled_vector_lost_what_the_tokens_know(horizons, sentence):
    assert describe_pooled(card(**horizons)) == sentence


def test_a_difference_below_a_tenth_of_what_the_tokens_know_is_no_loss_however_sure_it_is():
    found = card(h1=(0.0975, 0.1))
    found["figures"]["returns"]["horizons"]["1"]["gain"]["tokens"] = interval(-0.0025, 0.0001)
    assert "shows no loss" in describe_pooled(found)


def test_the_table_has_a_row_per_vector_and_prints_a_negative_r2_as_it_is():
    assert known_returns(card(h1=(0.012, 0.058), h24=(-0.02, 0.1))) == [
        ["R² in % [95 % interval]", "numbers", "next bar", "next 24 bars"],
        ["pooled vector", "32", "1.2 [0.2, 2.2]", "-2.0 [-3.0, -1.0]"],
        ["all tokens", "1,376", "5.8 [4.8, 6.8]", "10.0 [9.0, 11.0]"],
    ]
    assert "1,024 bars" in describe_known_returns(card(h1=(0.0, 0.0)))


@pytest.mark.parametrize("figures", [None, {}, {"returns": {"horizons": {}, "n_inputs": {}, "n_bars": {}}}])
def test_a_card_without_probes_of_returns_has_no_table_and_says_so(figures):
    assert known_returns({"figures": figures}) == []
    assert "not measured" in describe_pooled({"figures": figures})
