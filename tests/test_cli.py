"""The command line: quick to help, clear about mistakes, and nothing is lost when it is stopped."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from ftray.cli.looking import watch
from ftray.runs import RunFolder
from tests.study.tiny import TINY, tiny_file

OLD_STUDY = Path(__file__).parent / "runs" / "format_1"
CONFIGS = Path(__file__).parents[1] / "tune_configs"


def ftray(*arguments: object, **how) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ftray", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **how)


def imported_by(code: str) -> set[str]:
    """The heavy modules that some code imports."""
    probe = f"import sys\n{code}\nprint('|'.join({{'torch', 'ray', 'pandas', 'optuna', 'numpy'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return set(filter(None, done.stdout.splitlines()[-1].split("|")))


@pytest.mark.parametrize(
    "verb",
    [
        [],
        ["check"],
        ["vram"],
        ["pretrain"],
        ["train"],
        ["tune"],
        ["results"],
        ["dashboard"],
        ["report"],
        ["backtest"],
        ["submit"],
        ["status"],
        ["fetch"],
    ],
)
def test_help_imports_nothing_heavy(verb):
    code = f"from ftray.cli import main\ntry:\n    main({[*verb, '--help']!r})\nexcept SystemExit:\n    pass"
    assert imported_by(code) == set()


@pytest.mark.parametrize("verb", ["check", "vram"])
def test_checking_and_planning_a_study_touch_no_ray(verb):
    code = f"from ftray.cli import main\nassert main([{verb!r}, {str(CONFIGS / 'demo.yaml')!r}, '--gpu', 'T4']) == 0"
    assert "ray" not in imported_by(code)


def test_measuring_needs_neither_ray_nor_optuna():
    code = (
        "import sys\nsys.modules['ray'] = sys.modules['optuna'] = None\nfrom ftray.cli import main\n"
        "sys.exit(main(['vram', '--measure']))"
    )
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=hidden)
    assert done.returncode == 1 and done.stderr.startswith("ftray: measuring needs a CUDA device")


def test_pretraining_runs_where_ray_cannot_be_imported(tmp_path):
    spec = TINY["trial"] | {"encoder": TINY["trial"]["encoder"]["choice"][1] | {"pretrained": "auto"}, "ppo": {}}
    (tmp_path / "alone.yaml").write_text(yaml.safe_dump({"trial": spec}))
    code = (
        "import sys\nsys.modules['ray'] = None\nfrom ftray.cli import main\n"
        f"sys.exit(main(['pretrain', {str(tmp_path / 'alone.yaml')!r}, '--runs', {str(tmp_path / 'runs')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    best = Path(done.stdout.partition("best encoder: ")[2].splitlines()[0])
    assert best.name == "best_encoder.pth" and best.is_file()


def test_results_need_neither_torch_nor_ray(tmp_path):
    RunFolder.create(tmp_path / "run", {})
    code = f"from ftray.cli import main\nassert main(['results', {str(tmp_path / 'run')!r}]) == 0"
    assert imported_by(code).isdisjoint({"torch", "ray"})


def test_results_for_other_programs_go_to_a_file_or_to_standard_output(tmp_path):
    for option, begins in (("--csv", "rank,trial,"), ("--json", '{\n "study": "format_1"')):
        done = ftray("results", OLD_STUDY, option, "-")
        assert done.returncode == 0 and done.stdout.startswith(begins)
        assert ftray("results", OLD_STUDY, option, tmp_path / "file").stdout == ""
        assert (tmp_path / "file").read_text() == done.stdout


def test_a_watched_study_is_told_again_when_it_has_changed_until_it_is_done(tmp_path, capsys):
    run = RunFolder.create(tmp_path / "run", {"name": "run"})
    name = run.add_trial("trial-0000", 0, "trial", {}, {"encoder": {"kind": "mlp"}}).folder.name
    looks = []

    class Watched(RunFolder):
        @property
        def is_done(self) -> bool:
            looks.append(1)
            if len(looks) == 3:
                run.trial_started(name)
                run.trial_ended(name, "COMPLETE", {"validation/sharpe": 1.25})
                run.mark_done()
            return len(looks) == 3

    watch(Watched.open(run.path), every=0.0)
    told = capsys.readouterr().out
    assert len(looks) == 3 and told.count("1 trial: 1 PENDING") == 1 and told.count("1 trial: 1 COMPLETE") == 1
    assert "1.25" in told and "\x1b" not in told


def test_a_typo_is_refused_with_the_path_and_the_nearest_name_and_no_traceback():
    done = ftray("check", CONFIGS / "demo.yaml", "--set", "trial.ppo.learning_rat=1")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("ftray: trial.ppo.learning_rat: no such key; did you mean 'learning_rate'?")
    assert "Traceback" not in done.stderr


def test_a_missing_run_is_refused_in_words(tmp_path):
    done = ftray("results", tmp_path / "nowhere")
    assert done.returncode == 1 and "nowhere" in done.stderr and "Traceback" not in done.stderr


def test_check_tells_the_sizes_of_the_real_study():
    done = ftray("check", CONFIGS / "crypto_1h.yaml", "--set", "trial.market={kind: simulator}")
    assert done.returncode == 0, done.stderr
    for told in ("5,888 floats", "9, validation/sharpe to be maximized", "trial/encoder/d_token: 32, 64", "parameters"):
        assert told in done.stdout


@pytest.mark.ray
@pytest.mark.parametrize(
    "sent",
    [pytest.param(signal.SIGINT, id="Ctrl-C"), pytest.param(signal.SIGKILL, id="kill -9", marks=pytest.mark.long)],
)
def test_a_stopped_study_goes_on_where_it_was(tmp_path, sent):
    command = [sys.executable, "-m", "ftray", "tune", str(tiny_file(tmp_path)), "--runs", str(tmp_path / "runs")]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    run_path = tmp_path / "runs" / "tiny"
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and not _completed(run_path):
        assert first.poll() is None, first.communicate()
        time.sleep(0.2)
    if sent == signal.SIGKILL:
        os.killpg(first.pid, sent)  # and all of its Ray with it
    else:
        first.send_signal(sent)
    _, errors = first.communicate(timeout=100)
    if sent == signal.SIGINT:
        assert first.returncode == 130 and "the same command continues" in errors
        assert "Traceback" not in errors
        assert {r.state for r in RunFolder.open(run_path).records()}.isdisjoint({"RUNNING"})
    kept = {r.id: r.ended_at for r in RunFolder.open(run_path).records() if r.state == "COMPLETE"}
    assert kept and not RunFolder.open(run_path).is_done

    second = ftray(*command[3:])
    assert second.returncode == 0, second.stderr
    run = RunFolder.open(run_path)
    trials = {r.id: r for r in run.records()}
    assert run.is_done and len([r for r in trials.values() if r.kind == "trial"]) == 4
    assert [r.state for r in trials.values() if r.kind == "trial"].count("FAILED") == 1
    assert {id: trials[id].ended_at for id in kept} == kept
    ended = [event["id"] for event in run.events() if event["event"] == "trial_ended" and event["state"] == "COMPLETE"]
    assert len(ended) == len(set(ended))
    assert "rank" in second.stdout and str(run_path) in second.stdout


def _completed(path: Path) -> bool:
    """Whether an RL trial of the study has ended."""
    if not (path / "study.json").exists():
        return False
    return any(r.kind == "trial" and r.state == "COMPLETE" for r in RunFolder.open(path).records())
