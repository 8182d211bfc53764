"""A driver on a Ray that others started: its processes get the environment that they need, and a head that does
not answer ends the driver with a message that names the cause."""

import json
import socket

import pytest

from ftray.capacity.local_ray import WORKER_ENVIRONMENT
from tests.plugins.outside import INDICATOR, write

from .head import study_file
from .shipped import ROOT
from .waiting import until

pytestmark = [pytest.mark.ray, pytest.mark.long]

DRIVER = """
import json, os, ray
from ftray.capacity.local_ray import WORKER_ENVIRONMENT, local_ray

def read(_=None):
    return {name: os.environ.get(name) for name in WORKER_ENVIRONMENT}

with local_ray(say=lambda line: None):
    said = {"task": ray.get(ray.remote(read).remote())}
"""
TRAINS = """
    from pathlib import Path
    from ftray.agent import PPOSpec
    from ftray.agent.training import ppo_config
    from ftray.features import FeatureSpec, build_dataset
    from ftray.market import SimulatorSpec, WindowsSpec
    from ftray.nets import MLPSpec
    from ftray.trading import TradingSpec

    features = FeatureSpec(lookback=8, indicators=("close", "volume", "rsi"))
    dataset = build_dataset(SimulatorSpec(n_assets=2, n_bars=1_200), WindowsSpec(holding=6), features)
    ppo = PPOSpec(n_env_runners=1, train_batch_size=64, minibatch_size=64, envs_per_runner=2)
    encoder, trading = MLPSpec(hidden=64, encoding_dim=64), TradingSpec(episode_bars=50)
    algorithm = ppo_config(ppo, encoder, trading, dataset=dataset.save(Path("data") / "tiny")).build_algo()
    said["env runner"] = algorithm.env_runner_group.foreach_env_runner(read, local_env_runner=False)[0]
    algorithm.stop()
"""
WITH_ONE_OF_THE_USERS = """
os.environ["OMP_WAIT_POLICY"] = "ACTIVE"
with local_ray(say=lambda line: None):
    said["the user's"] = ray.get(ray.remote(read).remote())
"""
PLUGIN = """
import json, ray, shutil
from ftray.capacity.local_ray import local_ray
from ftray.plugins import carried, load_carried, load_plugins

def imports(plugins):
    from ftray.features import INDICATORS
    load_carried(plugins)
    return INDICATORS["body"].compute.__code__.co_filename

load_plugins(["my_bodies"], "laptop")
with local_ray(say=lambda line: None):
    shutil.rmtree("laptop")  # no other machine has it
    print(json.dumps([imports([]), ray.get(ray.remote(imports).remote(carried()))]))
"""
SAYS = "print(json.dumps(said))"

REFUSED = """
import json, os, sys
from ftray.errors import ClusterError
from ftray.capacity.local_ray import local_ray

said = []
for environment in json.loads(sys.stdin.read()):
    os.environ.update(environment)
    try:
        with local_ray(say=lambda line: None):
            said.append("connected")
    except ClusterError as error:
        said.append(str(error))
print(json.dumps(said))
"""


def test_tasks_and_env_runners_of_a_ray_that_was_started_without_them_get_the_variables(head):
    done = head.drives(DRIVER + TRAINS + WITH_ONE_OF_THE_USERS + SAYS)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["task"] == said["env runner"] == WORKER_ENVIRONMENT
    assert said["the user's"] == WORKER_ENVIRONMENT | {"OMP_WAIT_POLICY": "ACTIVE"}


def test_a_variable_of_a_jobs_own_runtime_environment_stays_and_does_not_stop_the_job(head, board):
    (head.home / "driver.py").write_text(DRIVER + SAYS)
    own = {"env_vars": {"OMP_WAIT_POLICY": "ACTIVE", "PYTHONPATH": str(ROOT)}}
    job = board.client.submit_job(entrypoint=f"python {head.home}/driver.py", runtime_env=own, submission_id="own")
    until(lambda: (found := board.job(job)) and found.has_ended, 120, "the job ends", every=0.5)
    ended = board.job(job)
    assert ended and ended.state == "SUCCEEDED", board.log(job)
    assert '"OMP_WAIT_POLICY": "ACTIVE"' in board.log(job)


def test_the_processes_of_a_cluster_get_the_drivers_plug_ins(head):
    write(head.home / "laptop", "my_bodies", INDICATOR)
    done = head.drives(PLUGIN)
    assert done.returncode == 0, done.stderr
    here, there = json.loads(done.stdout)
    assert here == str(head.home / "laptop" / "my_bodies.py") and there.endswith("/my_bodies.py") and there != here


def test_a_wrong_token_ends_a_study_with_one_line_that_names_address_token_and_mode(head):
    file, there = study_file(head.home, "wrong", 1), {"RAY_ADDRESS": head.gcs, "RAY_AUTH_MODE": "token"}
    # `ray.init` would wait minutes; the refusal itself takes 20 s at most, imports on a busy machine the rest.
    done = head.ftray("tune", file, "--runs", head.home / "runs", **there, seconds=60, RAY_AUTH_TOKEN="no such token")
    assert done.returncode == 1, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("ftray: a Ray cluster must answer at ") and "it refuses the token" in line
    assert f"(RAY_ADDRESS={head.gcs})" in line and "RAY_AUTH_MODE=token, and the token is in RAY_AUTH_TOKEN" in line
    assert "no such token" not in done.stdout + done.stderr


def test_every_other_failure_to_connect_ends_with_a_message_that_names_its_cause(head):
    with socket.create_server(("", 0)) as silent:
        asked = [
            {"RAY_ADDRESS": "127.0.0.1:1"},
            {"RAY_ADDRESS": "head.invalid:6379"},
            {"RAY_ADDRESS": f"127.0.0.1:{silent.getsockname()[1]}"},
            {"RAY_ADDRESS": "somewhere"},
            {"RAY_ADDRESS": "", "RAY_TMPDIR": str(head.home)},
            {"RAY_ADDRESS": head.gcs},
            {"RAY_ADDRESS": head.gcs, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": f"{head.home}/nowhere"},
        ]
        (head.home / "ray").mkdir()
        (head.home / "ray" / "ray_current_cluster").write_text("127.0.0.1:1")
        done = head.drives(REFUSED, said=json.dumps(asked), RAY_AUTH_MODE="")
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    nobody, nameless, mute, no_address, gone, no_mode, no_token = json.loads(done.stdout)
    assert "nothing answers there: Connection refused" in nobody
    assert "nothing answers there: Domain name not found" in nameless
    assert "nothing answered within 10 s" in mute
    assert all("the token is in ~/.ray/auth_token" in message for message in (nobody, mute, no_mode))
    assert "RAY_ADDRESS must be HOST:PORT of a running Ray, got somewhere" in no_address
    assert (
        "it asks for a token and got none" in no_mode and "RAY_AUTH_MODE is not set, so Ray sends no token" in no_mode
    )
    assert f"no token was found in RAY_AUTH_TOKEN or {head.home}/nowhere" in no_token
    assert f"(as `ray start` noted in {head.home}/ray/ray_current_cluster), but nothing answers there" in gone
    for message, place in ((nobody, asked[0]), (mute, asked[2]), (no_mode, asked[5]), (no_token, asked[6])):
        assert f"(RAY_ADDRESS={place['RAY_ADDRESS']})" in message and "RAY_AUTH_MODE" in message
