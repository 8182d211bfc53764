"""`ftray dashboard --cluster` where it cannot work: errors in plain words, without Ray's tracebacks."""

import json

import pytest

from ftray.cli import main
from ftray.cluster.page import serve_on_head
from ftray.cluster.ray_cli import RayCli
from ftray.errors import ClusterError


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A cluster whose head was never started."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    local = {"type": "local", "head_ip": "127.0.0.9", "worker_ips": []}
    path = tmp_path / "own.yaml"
    path.write_text(
        json.dumps({"cluster_name": f"x{tmp_path.name}", "provider": local, "auth": {"ssh_user": "nobody"}})
    )
    return path


def test_a_missing_head_is_reported_with_the_command_that_starts_it(file):
    lines: list[str] = []
    with pytest.raises(ClusterError, match=rf"not found! \(is the cluster up, `ray up {file}`, and"):
        serve_on_head(RayCli(lines.append), file, "/mnt/runs/demo", 0)
    assert len(lines) == 2 and lines[1].startswith("$ ray exec --port-forward ") and "Traceback" not in "".join(lines)


@pytest.mark.parametrize("option", [["--optuna"], ["--tensorboard"], ["--host", "0.0.0.0"]])
def test_what_would_not_come_through_the_tunnel_is_refused(file, option, capsys):
    assert main(["dashboard", "demo", "--cluster", str(file), *option]) == 1
    assert "--cluster shows the page alone" in capsys.readouterr().err
