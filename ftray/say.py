"""How code that works speaks to whoever started it: it calls `say` with a line, and never prints by itself."""

from collections.abc import Callable

Say = Callable[[str], None]
"""Takes a line; `print` is one."""
