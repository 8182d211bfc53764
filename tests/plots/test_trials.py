"""Plots draw what they are given, readable without colour."""

import json
import sys

import pytest

from ftray.errors import MissingDependencyError
from ftray.plots import plot_attention

DATA = {
    "series": {"close": {"BTC": 0.5, "ETH": 0.1}, "rsi": {"BTC": 0.1, "ETH": 0.2}},
    "assets": {"BTC": 0.6, "ETH": 0.3},
    "indicators": {"close": 0.6, "rsi": 0.3},
    "account": 0.0,
    "cls": 0.1,
}


def figure_of(data=DATA):
    return json.loads(plot_attention(data).to_json())


def test_bars_and_map_show_the_shares_under_their_names():
    assets, indicators, both = figure_of()["data"]
    assert (assets["x"], assets["y"]) == (["BTC", "ETH"], [0.6, 0.3])
    assert (indicators["y"], indicators["x"], indicators["orientation"]) == (["close", "rsi"], [0.6, 0.3], "h")
    assert (both["x"], both["y"], both["z"]) == (["BTC", "ETH"], ["close", "rsi"], [[0.5, 0.1], [0.1, 0.2]])


def test_every_mark_shows_its_number():
    assets, indicators, both = figure_of()["data"]
    assert assets["text"] == indicators["text"] == ["60.0%", "30.0%"]
    assert both["text"] == [["50.0%", "10.0%"], ["10.0%", "20.0%"]] and both["texttemplate"] == "%{text}"


def luminance(colour):
    """Relative luminance of `#rrggbb`, WCAG 2.2."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_the_scale_darkens_with_the_share_and_black_numbers_stand_out_on_all_of_it():
    scale = [luminance(colour) for _, colour in figure_of()["data"][2]["colorscale"]]
    assert scale == sorted(scale, reverse=True) and scale[0] / scale[-1] > 2
    assert (scale[-1] + 0.05) / 0.05 > 7  # WCAG's contrast for level AAA


def test_dotted_lines_mark_even_attention():
    horizontal, vertical = figure_of()["layout"]["shapes"]
    assert horizontal["y0"] == horizontal["y1"] == pytest.approx(0.45)
    assert vertical["x0"] == vertical["x1"] == pytest.approx(0.45)


def test_the_title_shows_the_attention_to_itself_and_to_the_account():
    assert "to [CLS] 10.0%;" in figure_of()["layout"]["title"]["text"]
    early = DATA | {"account": 0.05, "cls": 0.05}
    assert "to [CLS] 5.0%, to the account 5.0%;" in figure_of(early)["layout"]["title"]["text"]


def test_without_plotly_the_error_names_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'ftray\[plots\]'"):
        plot_attention(DATA)
