"""One browser for all tests of the boards: it takes longer to start than a page takes to open."""

from collections.abc import Iterator
from typing import Any

import pytest

from .browser import CHROMIUM, FLAGS


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield launched
        launched.close()
