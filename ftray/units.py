"""Units of numbers: what is stored, and how people read it.

Takes: a number. Gives: text.
"""

from typing import NamedTuple


class Unit(NamedTuple):
    """name: of what is stored. form: how a number is written, in the language that Python, d3 and plotly share."""

    name: str
    form: str

    def format(self, value: float | None) -> str:
        """A number as people read it; a dash where there is none.

        >>> UNITS["fraction"].format(0.25), UNITS["duration"].format(3_723.4), UNITS["ratio"].format(None)
        ('25.0%', '1:02:03', '-')
        """
        if value is None or value != value:
            return "-"
        if self.form == CLOCK:
            return _clock(value)
        if self.form == ANY_SIZE:
            return f"{value:.2f}" if 0.1 <= abs(value) < 1e4 else f"{value:.3g}"
        return f"{value:{self.form}}"

    @property
    def d3_form(self) -> str:
        """The form for d3 or plotly in a browser; of a duration, for its hours."""
        return {CLOCK: ",.2f", ANY_SIZE: ".3~g"}.get(self.form, self.form)


CLOCK, ANY_SIZE = "clock", ""

UNITS = {
    "fraction": Unit("fraction", ".1%"),
    "small fraction": Unit("fraction", ".2%"),
    "whole fraction": Unit("fraction", ".0%"),
    "ratio": Unit("ratio", ".2f"),
    "annual ratio": Unit("ratio, annual", ".2f"),
    "per year": Unit("per year", ".2f"),
    "count": Unit("count", ",.0f"),
    "bars": Unit("bars", ",.0f"),
    "years": Unit("years", ".2f"),
    "duration": Unit("seconds", CLOCK),
    "seconds": Unit("seconds", ".2f"),
    "per second": Unit("per second", ",.0f"),
    "GiB": Unit("GiB", ".2f"),
    "money": Unit("quote currency", ",.2f"),
    "loss": Unit("loss", ".4f"),
    "rate": Unit("rate", ".1e"),
    "number": Unit("number", ANY_SIZE),
}
"""Units by name. A fraction is stored as one, and written as a percentage."""

DURATION = UNITS["duration"]


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
