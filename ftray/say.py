"""The type of functions that print a line. Code outside `cli` gets one as its argument `say`, and does not print."""

from collections.abc import Callable

Say = Callable[[str], None]
"""Takes a line, as `print` does."""
