"""A Ray that does not start is explained in one line."""

import pytest
import ray

from ftray.capacity import connecting
from ftray.errors import ClusterError


def test_whatever_ray_raises_at_its_start_is_explained(monkeypatch):
    """A node that takes longer than 30 s to start, as on a busy machine, raises an Exception of no other type."""

    def slow(**options):
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(connecting, "check_head", lambda: None)  # another Ray may run on this machine
    monkeypatch.setattr(ray, "init", slow)
    with pytest.raises(ClusterError, match=r"Ray must start .* but: The current node timed out .* it logged is in /"):
        connecting.connect({})
