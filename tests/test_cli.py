"""The command line: quick to help, clear about mistakes, and nothing is lost when it is stopped."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import yaml

from ftray.cli import main
from ftray.cli.keys import check_keys
from ftray.cli.looking import watch
from ftray.errors import SpecError
from ftray.runs import RunFolder
from ftray.shipped import find_study, shipped_studies
from ftray.trading import TradingSpec
from tests.study.tiny import TINY
from tests.trial.clocks import without_clocks

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
        ["init"],
        ["schema"],
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


@pytest.mark.parametrize("verb", ["check", pytest.param("vram", marks=pytest.mark.long)])
def test_checking_and_planning_a_study_touch_no_ray(verb):
    code = f"from ftray.cli import main\nassert main([{verb!r}, {str(CONFIGS / 'demo.yaml')!r}, '--gpu', 'T4']) == 0"
    assert "ray" not in imported_by(code)


def test_measuring_needs_neither_ray_nor_optuna():
    code = (
        "import sys\nsys.modules['ray'] = sys.modules['optuna'] = None\nfrom ftray.cli import main\n"
        "sys.exit(main(['vram', '--measure']))"
    )
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "RAY_ADDRESS": ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=hidden)
    assert done.returncode == 1 and done.stderr.startswith("ftray: measuring needs a CUDA device")


@pytest.mark.long
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
    assert "The pooled vector" in done.stdout and "whole window, raw" in done.stdout


def test_results_need_neither_torch_nor_ray(tmp_path):
    RunFolder.create(tmp_path / "run", {})
    code = f"from ftray.cli import main\nassert main(['results', {str(tmp_path / 'run')!r}]) == 0"
    assert imported_by(code).isdisjoint({"torch", "ray"})


def test_results_for_other_programs_go_to_a_file_or_to_standard_output(tmp_path, capsys):
    for option, begins in (("--csv", "rank,trial,"), ("--json", '{\n "study": "format_1"')):
        assert main(["results", str(OLD_STUDY), option, "-"]) == 0
        printed = capsys.readouterr().out
        assert printed.startswith(begins)
        assert main(["results", str(OLD_STUDY), option, str(tmp_path / "file")]) == 0
        assert capsys.readouterr().out == ""
        assert (tmp_path / "file").read_text() == printed


def test_a_watched_study_is_printed_again_when_it_has_changed_until_it_is_done(tmp_path, capsys):
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
    out = capsys.readouterr().out
    assert len(looks) == 3 and out.count("1 trial: 1 PENDING") == 1 and out.count("1 trial: 1 COMPLETE") == 1
    assert "1.25" in out and "\x1b" not in out


def test_a_typo_is_refused_with_the_path_and_the_nearest_name(capsys):
    assert main(["check", str(CONFIGS / "demo.yaml"), "--set", "trial.ppo.learning_rat=1"]) == 1
    out, errors = capsys.readouterr()
    assert errors.startswith("ftray: trial.ppo.learning_rat: no such key; did you mean 'learning_rate'?") and not out


@pytest.mark.parametrize(
    "command",
    [
        ["tune", "deom"],
        ["tune", "demo", "--set", "trial.ppo.learning_rat=1"],
        ["tune", "demo", "--runs", "/dev/null"],
        ["train", "demo", "--set", "search.budget.hour=1"],
        ["pretrain", "demo", "--set", "trial.pretraining.epoch=1"],
        ["check", "demo", "--set", "trail.seeds=[1]"],
        ["vram", "demo", "--set", "trial.encoder.d_tokens=32"],
        ["submit", "demo", "--address", "http://127.0.0.1:1", "--set", "search.n_trial=3"],
        ["backtest", "nowhere"],
        ["promote", "nowhere"],
        ["init", "nowhere", "--output", "/dev/null"],
    ],
    ids=" ".join,
)
def test_a_typo_is_refused_before_anything_heavy_is_imported(command):
    code = f"from ftray.cli import main\nassert main({command!r}) == 1"
    assert imported_by(code) == set()


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ("{trial: {ppo: {epoch: 4}}}", r"^trial\.ppo\.epoch: no such key; did you mean 'epochs'"),
        ("{serch: {n_trials: 4}}", r"^serch: no such key; did you mean 'search'"),
        (
            "{trial: {encoder: {choice: [{kind: ft, d_tokens: 3}]}}}",
            r"^trial\.encoder\.d_tokens: .* mean 'd_token'",
        ),
        (
            "{trial: {encoder: {kind: mlp, hiden: 64}}}",
            r"^trial\.encoder\.hiden: .*'hidden'\? Known: kind, hidden",
        ),
    ],
)
def test_a_misspelt_key_of_a_file_is_refused_before_anything_heavy_is_imported(tree, message, tmp_path):
    (tmp_path / "study.yaml").write_text(tree)
    with pytest.raises(SpecError, match=message):
        check_keys(tmp_path / "study.yaml", [])
    replacing = message.split(":")[0].removeprefix("^").replace("\\", "").rpartition(".")[0]
    if replacing:
        check_keys(tmp_path / "study.yaml", [f"{replacing}={{kind: ft}}"])
    if "epoch" in message:
        code = f"from ftray.cli import main\nassert main(['tune', {str(tmp_path / 'study.yaml')!r}]) == 1"
        assert imported_by(code) == set()


def test_no_key_of_an_earlier_version_is_called_misspelt(tmp_path):
    for name in TradingSpec.MOVED:
        (tmp_path / "old.yaml").write_text(f"trial: {{trading: {{{name}: 0}}}}")
        check_keys(tmp_path / "old.yaml", [f"trial.trading.{name}=0"])


def test_no_key_that_a_study_may_have_is_refused_without_its_parser():
    for name in shipped_studies():
        check_keys(find_study(name), [])
        keys = list(_leaves(yaml.safe_load(find_study(name).read_text())))
        assert len(keys) > 3
        check_keys(find_study("demo"), [f"{'.'.join(key)}=1" for key in keys])
    fine = ["trial.ppo.learning_rate.log=[1e-4, 1e-3]", "trial.encoder.choice=[]", "search.points.0=1", "a"]
    check_keys(find_study("demo"), fine)


def test_keys_of_a_study_with_plug_ins_are_left_to_its_parser(tmp_path):
    (tmp_path / "mine.yaml").write_text("plugins: [mine]\n")
    check_keys(tmp_path / "mine.yaml", ["trial.encoder.d_tokens=3"])
    check_keys(find_study("demo"), ["plugins=[mine]", "trial.encoder.d_tokens=3"])
    with pytest.raises(SpecError, match=r"^trial\.encoder\.d_tokens: no such key"):
        check_keys(find_study("demo"), ["trial.encoder.d_tokens=3"])


def _leaves(tree: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of a study file's values, as --set names them."""
    if not isinstance(tree, dict):
        yield path
    for key, value in tree.items() if isinstance(tree, dict) else ():
        yield from _leaves(value, (*path, key))


def test_a_missing_run_is_refused_with_the_reason(tmp_path):
    done = ftray("results", tmp_path / "nowhere")
    assert done.returncode == 1 and "nowhere" in done.stderr and "Traceback" not in done.stderr


def test_check_prints_the_sizes_of_the_real_study(capsys):
    assert main(["check", str(CONFIGS / "crypto_1h.yaml"), "--set", "trial.market={kind: simulator}"]) == 0
    out = capsys.readouterr().out
    goal = "9, validation/active_sharpe to be maximized"
    for part in ("5,888 floats", goal, "trial/encoder/d_token: 32, 64", "parameters"):
        assert part in out


@pytest.mark.ray
@pytest.mark.long
def test_a_study_stopped_by_ctrl_c_continues_where_it_was(tmp_path):
    command, run_path = ["tune", stoppable(tmp_path), "--runs", tmp_path / "runs"], tmp_path / "runs" / "tiny"
    status, errors = stopped(command, signal.SIGINT, lambda: _completed(run_path))
    assert status == 130 and "the same command continues" in errors
    assert "Traceback" not in errors
    assert {r.state for r in RunFolder.open(run_path).records()}.isdisjoint({"RUNNING"})
    kept = {r.id: r.ended_at for r in RunFolder.open(run_path).records() if r.state == "COMPLETE"}
    assert kept and not RunFolder.open(run_path).is_done

    second = ftray(*command)
    assert second.returncode == 0, second.stderr
    run = RunFolder.open(run_path)
    trials = {r.id: r for r in run.records()}
    assert run.is_done and len([r for r in trials.values() if r.kind == "trial"]) == 3
    assert [r.state for r in trials.values() if r.kind == "trial"].count("FAILED") == 1
    assert {id: trials[id].ended_at for id in kept} == kept
    ended = [event["id"] for event in run.events() if event["event"] == "trial_ended" and event["state"] == "COMPLETE"]
    assert len(ended) == len(set(ended))
    assert "rank" in second.stdout and str(run_path) in second.stdout


@pytest.mark.ray
@pytest.mark.long
def test_a_study_stopped_by_sigterm_ends_as_if_nothing_had_stopped_it(tmp_path):
    """`kill`, `ray job stop` and batch systems send it. Ray's own handler prints a native stack and aborts."""
    file = stoppable(tmp_path, env_steps=2048)
    whole, parts = (["tune", file, "--runs", tmp_path / name] for name in ("whole", "parts"))
    assert ftray(*whole).returncode == 0
    run_path = tmp_path / "parts" / "tiny"
    status, errors = stopped(parts, signal.SIGTERM, lambda: _has_checkpoint(run_path))
    assert status == 143 and errors.endswith("the same command continues\n"), errors
    assert not {"Traceback", "SIGTERM", "Stack trace"} & set(errors.split()) and len(errors.splitlines()) == 1
    assert {r.state for r in RunFolder.open(run_path).records()}.isdisjoint({"RUNNING"})

    assert ftray(*parts).returncode == 0
    runs = [RunFolder.open(tmp_path / name / "tiny") for name in ("whole", "parts")]
    assert all(run.is_done for run in runs)
    for record in runs[0].records():
        folders = [run.trial_folder(record.id) for run in runs]
        metrics = [without_clocks([folder.last_metrics()]) for folder in folders]
        assert metrics[0] == metrics[1]
        if record.state == "COMPLETE":
            weights = [(folder.folder / "policy" / "weights.npz").read_bytes() for folder in folders]
            assert weights[0] == weights[1]
    resumed = [event["exactly"] for event in runs[1].trial_folder("trial-0000").events() if event["event"] == "resumed"]
    assert resumed == [True]


@pytest.mark.long
def test_pretraining_ends_by_sigterm_as_by_ctrl_c(tmp_path):
    """It runs without Ray, where Python's own handler of SIGTERM would end the process on the spot."""
    encoder = TINY["trial"]["encoder"]["choice"][1] | {"pretrained": "auto"}
    longer = TINY["trial"]["pretraining"] | {"epochs": 200}
    (tmp_path / "alone.yaml").write_text(
        yaml.safe_dump({"trial": TINY["trial"] | {"encoder": encoder, "pretraining": longer, "ppo": {}}})
    )
    command = ["pretrain", tmp_path / "alone.yaml", "--runs", tmp_path / "runs"]
    status, errors = stopped(command, signal.SIGTERM, lambda: [*tmp_path.glob("runs/alone/encoders/.*/resume.pth")])
    assert status == 143 and errors == "\nftray: stopped; finished work is kept, and the same command continues\n"
    assert {r.state for r in RunFolder.open(tmp_path / "runs" / "alone").records()} == {"INTERRUPTED"}


@pytest.fixture
def own_ctrl_c():
    """Python's own handler of Ctrl-C: a shell's background process ignores it, and a study may have left Tune's."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("own_ctrl_c")
def test_sigterm_ends_a_command_like_ctrl_c_and_with_a_status_of_its_own(tmp_path, monkeypatch, capsys):
    run, before = RunFolder.create(tmp_path / "run", {"name": "run"}), signal.getsignal(signal.SIGTERM)
    for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        monkeypatch.setattr("ftray.cli.looking.time.sleep", lambda seconds, number=number: os.kill(os.getpid(), number))
        assert main(["results", str(run.path), "--watch"]) == status
        assert capsys.readouterr().err == "\nftray: stopped; finished work is kept, and the same command continues\n"
    assert signal.getsignal(signal.SIGTERM) is before


def test_sigterm_ends_a_command_that_ignores_ctrl_c(tmp_path, monkeypatch):
    """As background processes of a shell do."""
    run, before = RunFolder.create(tmp_path / "run", {"name": "run"}), signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        monkeypatch.setattr("ftray.cli.looking.time.sleep", lambda seconds: os.kill(os.getpid(), signal.SIGTERM))
        assert main(["results", str(run.path), "--watch"]) == 143
    finally:
        signal.signal(signal.SIGINT, before)


def stopped(arguments: Sequence[object], number: int, ready: Callable[[], object]) -> tuple[int, str]:
    """The status and the errors of a command that gets a signal as soon as it is ready for it."""
    command = [sys.executable, "-m", "ftray", *map(str, arguments)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and not ready():
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    process.send_signal(number)
    _, errors = process.communicate(timeout=100)
    return process.returncode, errors


def stoppable(folder: Path, env_steps: int = 1024) -> Path:
    """A study of two trials that take a few seconds and one that fails, one after the other."""
    ppo = TINY["trial"]["ppo"] | {"env_steps": env_steps, "learning_rate": 1e-3, "evaluate_every": 2}
    points = [*({"trial/encoder/kind": "mlp"} for _ in range(2)), TINY["search"]["points"][1]]
    search = {"n_trials": 3, "points": points, "max_concurrent": 1, "scheduler": "none"}
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump({"trial": TINY["trial"] | {"ppo": ppo}, "search": search}))
    return file


def _completed(path: Path) -> bool:
    """Whether an RL trial of the study has ended."""
    if not (path / "study.json").exists():
        return False
    return any(r.kind == "trial" and r.state == "COMPLETE" for r in RunFolder.open(path).records())


def _has_checkpoint(path: Path) -> bool:
    """Whether the first trial of the study is in the middle of its training."""
    return (path / "trials" / "trial-0000" / "checkpoint" / "progress.json").exists()


@pytest.mark.parametrize("arguments", [["results", OLD_STUDY], ["schema"]], ids=["by rich", "by print"])
def test_who_stops_reading_ends_a_command_without_a_word(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "ftray", *map(str, arguments)]
    try:
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=300)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")
