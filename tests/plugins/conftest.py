"""Every test has the tables, the modules and the path as they were: plug-ins of one are not there in the next."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ftray import families
from ftray.features import INDICATORS
from ftray.market import MARKETS
from ftray.nets import ENCODERS
from ftray.search.samplers import SAMPLERS
from ftray.trading import REWARDS

FAMILIES = (INDICATORS, REWARDS, MARKETS, ENCODERS, SAMPLERS)


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[], None]]:
    """Makes this a process that has imported no plug-in, now and after the test; each has a working directory."""
    modules, path = set(sys.modules), list(sys.path)
    tables = [(family, dict(family._members), dict(family._homes)) for family in FAMILIES]
    monkeypatch.chdir(tmp_path)

    def forget() -> None:
        for name in set(sys.modules) - modules:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
                del sys.modules[name]
        sys.path[:] = path
        families._SOURCES.clear()
        for family, members, homes in tables:
            family._members, family._homes = dict(members), dict(homes)

    yield forget
    forget()
