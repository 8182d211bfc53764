"""`ftray submit`, `status` and `fetch` against a real head with token authentication, and what they say without one."""

import json
import os
import re
import shlex
import signal
from pathlib import Path

import pytest

from ftray.cli import main
from ftray.cluster.dashboard import ClusterJob
from ftray.cluster.fetching import place_of
from ftray.cluster.status import demands, pending_nodes
from ftray.cluster.submitting import job_name, jobs_of, measuring_name, place_of_runs
from ftray.errors import SpecError, StorageError
from ftray.runs import RunFolder
from ftray.runs.looks import Ledger
from ftray.study import load_study
from ftray.study.tree import check_portable
from ftray.tables.parquet import compact

from ..runs.seen import candles, ran, study_bars
from .head import study_file
from .waiting import until


@pytest.mark.long
@pytest.mark.ray
def test_a_study_runs_as_a_job_and_every_command_is_shown_and_can_be_typed(head, board):
    file, runs = study_file(head.home, "one", 1), head.home / "runs"
    done = head.ftray("submit", file, "--address", head.address, "--runs", runs, "--set", "search.seed=3")
    assert done.returncode == 0, done.stderr
    spec = load_study(file, ["search.seed=3"])
    name = job_name("one", spec.identity, str(runs))
    shown = [shlex.split(line[2:]) for line in done.stdout.splitlines() if line.startswith("$ ")]
    assert shown[0] == ["export", "RAY_AUTH_MODE=token"]
    where, entrypoint = ["--address", head.address], f"python -m ftray tune one.yaml --runs {runs} --set search.seed=3"
    submitted = shown[1]
    assert submitted[:6] == ["ray", "job", "submit", *where, "--submission-id"] and submitted[6] == name
    assert " ".join(submitted[submitted.index("--") + 1 :]) == entrypoint
    packed = Path(submitted[submitted.index("--working-dir") + 1])
    assert {path.name for path in packed.iterdir()} == {"ftray", "one.yaml"}
    assert shown[2] == ["ray", "job", "logs", *where, "--follow", name]
    assert "trial-0000              COMPLETE" in done.stdout and done.stdout.endswith(f"{name}: SUCCEEDED\n")
    assert head.token not in done.stdout + done.stderr
    assert RunFolder.open(runs / "one").is_done


@pytest.mark.long
@pytest.mark.ray
def test_ctrl_c_leaves_a_job_running_the_next_submission_follows_it_and_one_after_its_death_continues(head, board):
    runs = head.home / "runs"
    words = ("submit", study_file(head.home, "long", 200), "--address", head.address, "--runs", runs)
    with head.typing(*words) as first:
        assert first.stdout is not None
        until(lambda: "trial-0001" in first.stdout.readline(), 240, "the second trial starts", every=0)  # type: ignore[union-attr]
        first.send_signal(signal.SIGINT)
        out, wrong = first.communicate(timeout=60)
    assert first.returncode == 130, wrong
    (job,) = [job for job in board.jobs() if job.id.startswith("long-")]
    assert job.state == "RUNNING" and job.metadata == {"study": "long", "run": str(runs / "long")}
    again = f"ftray submit {words[1]} --address {head.address} --runs {runs}"
    assert f"{job.id} keeps running on the cluster; follow it again with: {again}" in out
    assert f"ray job stop --address {head.address} {job.id}" in out

    shown = rf"  {job.id}  RUNNING since .*\n    {runs}/long: .*\d+ COMPLETE"

    def status() -> str:
        out = head.ftray("status", "--address", head.address).stdout
        return out if re.search(shown, out) else ""  # two trials run at once: the first may not have ended yet

    assert "head: 2 CPUs" in until(status, 120, f"`ftray status` shows {shown}", every=1)

    with head.typing(*words) as second:
        assert second.stdout is not None
        lines = [second.stdout.readline() for _ in range(3)]
        assert f"long is already RUNNING as {job.id}: following it, not submitting it again\n" in lines
        driver = board.client.get_job_info(job.id).driver_info
        assert driver is not None
        os.kill(int(driver.pid), signal.SIGKILL)
        rest, _ = second.communicate(timeout=120)
    assert second.returncode == 1 and f"{job.id}: FAILED" in rest

    ended = sum(record.state == "COMPLETE" for record in RunFolder.open(runs / "long").records())
    assert ended >= 1
    third = head.ftray(*words, "--set", f"search.n_trials={ended + 1}")
    assert third.returncode == 0, third.stdout + third.stderr
    assert f"long was submitted before: {job.id} is FAILED; this job continues it" in third.stdout
    assert f"{ended} of them ended earlier" in third.stdout and f"{job.id}-2: SUCCEEDED" in third.stdout


@pytest.mark.long
@pytest.mark.ray
def test_measuring_runs_as_a_job_on_the_cluster_and_one_without_gpus_says_so(head, board):
    file, runs = study_file(head.home, "planned", 1), head.home / "runs"
    words = ("vram", file, "--measure", "--address", head.address, "--runs", runs, "--set", "search.seed=3")
    done = head.ftray(*words, RAY_ADDRESS="127.0.0.1:2")  # what is typed counts more than what the shell exports
    (job,) = [job for job in board.jobs() if job.id.startswith("vram-")]
    assert job.entrypoint == f"python -m ftray vram planned.yaml --measure --runs {runs} --set search.seed=3"
    assert "measuring needs GPUs, and this cluster has none" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 1 and done.stdout.endswith(f"{job.id}: FAILED\n")
    nowhere = head.ftray("vram", "--measure", "--address", head.address)
    assert nowhere.returncode == 1 and "name the place for run folders" in nowhere.stderr


@pytest.mark.long
@pytest.mark.ray
def test_a_wrong_token_and_a_missing_one_are_reported_without_a_traceback(head, tmp_path):
    wrong = head.ftray("status", "--address", head.address, RAY_AUTH_TOKEN="no such token")
    assert wrong.returncode == 1 and "Invalid authentication token" in wrong.stderr
    assert "Traceback" not in wrong.stderr and "no such token" not in wrong.stdout + wrong.stderr
    missing = head.ftray("status", "--address", head.address, HOME=str(tmp_path))
    assert missing.returncode == 1 and "ray get-auth-token --generate" in missing.stderr
    assert str(tmp_path / ".ray" / "auth_token") in missing.stderr


def test_a_missing_head_is_reported_with_the_command_that_starts_it(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    assert main(["status", "--address", "http://127.0.0.1:1"]) == 1
    assert "must answer at http://127.0.0.1:1" in capsys.readouterr().err
    file = tmp_path / "own.yaml"
    local = {"type": "local", "head_ip": "127.0.0.9", "worker_ips": []}
    file.write_text(
        json.dumps({"cluster_name": f"x{tmp_path.name}", "provider": local, "auth": {"ssh_user": "nobody"}})
    )
    assert main(["status", "--cluster", str(file)]) == 1
    shown, error = capsys.readouterr()
    assert f"ray up {file}" in error and f"$ ray dashboard {file} --port " in shown, error


def test_a_job_has_the_name_of_its_study_and_place_whatever_its_budget(tmp_path):
    few, many = (load_study(study_file(tmp_path, "same", n)) for n in (2, 9))
    assert job_name("same", few.identity, "s3://a/runs") == job_name("same", many.identity, "s3://a/runs")
    assert job_name("same", few.identity, "s3://b/runs") != job_name("same", few.identity, "s3://a/runs")
    jobs = [
        ClusterJob("s-1a", "FAILED"),
        ClusterJob("s-1a-2", "RUNNING"),
        ClusterJob("s-1ab", "RUNNING"),
        ClusterJob("s-1a-x", "RUNNING"),
    ]
    assert [job.id for job in jobs_of("s-1a", jobs)] == ["s-1a", "s-1a-2"]


def test_a_measuring_job_has_the_name_of_its_place_its_study_file_and_its_options(tmp_path):
    few, many = (study_file(tmp_path, name, n) for name, n in (("few", 2), ("many", 9)))
    asked = [("s3://a/runs",), ("s3://b/runs",), ("s3://a/runs", few), ("s3://a/runs", many)]
    asked.append(("s3://a/runs", few, ["--set", "search.seed=3"]))
    names = [measuring_name(*words) for words in asked]
    assert len(set(names)) == len(names)
    assert names == [measuring_name(*words) for words in asked]


def test_measuring_asks_the_cluster_that_is_typed_not_the_one_that_the_shell_exports(capsys, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:2")
    assert main(["vram", "--measure", "--address", "http://127.0.0.1:1", "--runs", "/mnt/runs"]) == 1
    assert "must answer at http://127.0.0.1:1" in capsys.readouterr().err


def test_a_place_that_only_the_laptop_knows_is_refused():
    assert place_of_runs(None, "s3://bucket/runs/") == "s3://bucket/runs"
    assert place_of_runs(Path("/mnt/runs"), "s3://bucket/runs") == "/mnt/runs"
    with pytest.raises(SpecError, match="absolute path on the cluster, got runs"):
        place_of_runs(Path("runs"), None)
    with pytest.raises(SpecError, match="--runs s3://"):
        place_of_runs(None, None)
    with pytest.raises(StorageError, match="hold no credentials"):
        place_of_runs("s3://key:secret@bucket/runs", None)


@pytest.mark.parametrize("override", ["trial.market={kind: files, path: data/x}", "search.warm_start=runs/other"])
def test_a_study_whose_paths_mean_something_on_the_laptop_alone_is_refused(tmp_path, override):
    file = study_file(tmp_path, "here", 1)
    check_portable(file)
    with pytest.raises(SpecError, match=r"an absolute path that all machines see, got (data/x|runs/other): --set"):
        check_portable(file, [override])
    check_portable(file, [re.sub(r"data/|runs/", "s3://bucket/", override)])


def test_a_run_is_named_by_its_url_its_path_or_with_a_cluster_file_its_name():
    assert place_of("s3://bucket/runs/x/", None) == "s3://bucket/runs/x"
    assert place_of("x", "/mnt/runs") == "/mnt/runs/x"
    with pytest.raises(SpecError, match="--cluster FILE"):
        place_of("x", None)


STATUS = """Node status
Active:
 1 head
Pending:
 10.0.0.7: gpu-spot, setting-up
Recent failures:
 (no failures)

Total Demands:
 {'CPU': 1.0, 'GPU': 0.2} * 1 (PACK): 4+ pending placement groups
"""


def test_what_waits_and_what_is_on_its_way_are_read_from_the_words_of_ray_status():
    assert demands(STATUS) == ["{'CPU': 1.0, 'GPU': 0.2} * 1 (PACK): 4+ pending placement groups"]
    assert pending_nodes(STATUS) == ["10.0.0.7: gpu-spot, setting-up"]
    assert demands("Pending Demands:\n (no resource demands)\n") == []


def test_results_on_object_storage_are_fetched_whole_and_again(bucket, machine, tmp_path, capsys):
    machine("cache")
    run = RunFolder.create(f"{bucket}/runs/far", {"name": "far"})
    with run.driven():
        run.add_trial("trial-0000", 0, "trial", {}, {})
    assert main(["fetch", f"{bucket}/runs/far", "--to", str(tmp_path)]) == 0
    assert [record.state for record in RunFolder.open(tmp_path / "far").records()] == ["PENDING"]
    with run.driven():
        run.trial_started("trial-0000")
        run.trial_ended("trial-0000", "COMPLETE", {"validation/sharpe": 1.0})
        compact(run, whole=True)
        run.mark_done()
    near = ran(f"{bucket}/runs/near", study_bars(candles()), 2)
    assert main(["fetch", f"{bucket}/runs/far", "--to", str(tmp_path)]) == 0
    assert {look.run for look in Ledger(tmp_path).read().looks} == {near.id}  # it counts here, too
    assert RunFolder.open(tmp_path / "far").is_done and (tmp_path / "far" / "tables" / "manifest.json").is_file()
    assert f"ftray results {tmp_path / 'far'}" in capsys.readouterr().out
