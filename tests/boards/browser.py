"""Debian's Chromium, driven by Playwright: a real page in a real browser."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

needs_chromium = pytest.mark.skipif(
    not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}: apt-get install chromium, or name one in CHROMIUM"
)

PATIENCE = 120_000
"""Milliseconds to wait for what must come: the machine may be busy."""


class Opened:
    """A page, what it asked the network for, and what went wrong in it."""

    def __init__(self, page: Any):
        self.page = page
        self.requests: list[str] = []
        self.problems: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", lambda message: self.problems.append(message.text) if message.type == "error" else None)

    def wait_for(self, condition: str) -> None:
        """condition: JavaScript that is true once the page is so far; before, it may look for what is not there yet."""
        tried = f"() => {{ try {{ return {condition} }} catch (error) {{ return false }} }}"
        self.page.wait_for_function(tried, timeout=PATIENCE)

    def text(self, selector: str) -> str:
        return self.page.inner_text(selector)


@contextlib.contextmanager
def opened(browser: Any, url: str, width: int = 1400, height: int = 900, offline: bool = False) -> Iterator[Opened]:
    """A page in a profile of its own. browser: the fixture."""
    context = browser.new_context(viewport={"width": width, "height": height}, offline=offline)
    context.set_default_timeout(PATIENCE)
    shown = Opened(context.new_page())
    shown.page.goto(url)
    yield shown
    context.close()
