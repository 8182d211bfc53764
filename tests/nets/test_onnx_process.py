"""Whatever becomes of the process that exports ONNX, the policy folder is whole and says what happened."""

import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from ftray.nets import Policy, exporting_onnx, load_policy

from .test_deployment import facts_of, names, observations, policy_of, sha256

WITHOUT = {"policy.json", "weights.npz"}


def python(code: str) -> tuple[str, ...]:
    """A command that does something else than to export; the last two arguments are the folder and the file."""
    return (sys.executable, "-c", f"import os, signal, sys, time\nfolder, file = sys.argv[1:]\n{code}")


def crash(number: str) -> str:
    return f"open(file, 'w').write('half'); os.kill(os.getpid(), signal.{number})"


MISHAPS = {
    "a crash": (python(crash("SIGSEGV")), "the process that exported it was ended by SIGSEGV"),
    "too little memory": (python(crash("SIGKILL")), "the process that exported it was ended by SIGKILL"),
    "a hang": (python("time.sleep(600)"), "the process that exported it took longer than 0.5 s and was killed"),
    "an error": (python("print('RuntimeError: no such operator'); sys.exit(1)"), "RuntimeError: no such operator"),
    "an error at its start": (
        python("import no_such_module"),
        "ModuleNotFoundError: No module named 'no_such",
    ),
    "no file": (python(""), "the process that exported it exited with 0 and no file"),
    "no such program": (("/no/such/python",), "[Errno 2] No such file or directory: '/no/such/python'"),
}


@pytest.fixture
def policy() -> Policy:
    return policy_of("mlp")


@pytest.fixture
def folder(policy, tmp_path) -> Path:
    return policy.save(tmp_path / "policy")


@pytest.mark.parametrize("mishap", MISHAPS)
def test_a_process_that_comes_to_grief_costs_the_onnx_file_alone(mishap, policy, folder):
    command, reason = MISHAPS[mishap]
    with exporting_onnx(folder, command, limit=0.5 if mishap == "a hang" else 60.0):
        pass
    assert names(folder) == WITHOUT and names(folder.parent) == {"policy"}
    assert facts_of(folder)["onnx_left_out"].startswith(reason)
    np.testing.assert_array_equal(load_policy(folder)(observations(2)), policy(observations(2)))


def test_what_the_exporter_itself_raises_is_the_reason(folder):
    (folder / "weights.npz").write_bytes(b"no weights")
    with exporting_onnx(folder):
        pass
    assert facts_of(folder)["onnx_left_out"].startswith("WeightsError: ")
    assert names(folder) == WITHOUT


@pytest.mark.long
def test_the_file_is_made_while_the_block_runs_in_any_thread_and_any_working_directory(policy, tmp_path, monkeypatch):
    """Ray runs a worker's trials in one thread after the other."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "torch.py").write_text("raise SystemExit('not that torch')")
    monkeypatch.chdir(tmp_path / "elsewhere")

    def export(folder: Path) -> None:
        with exporting_onnx(policy.save(folder)):
            load_policy(folder)  # whole without it
            assert names(folder) == WITHOUT
            assert facts_of(folder)["onnx_left_out"] == "its export did not end"  # what a kill would leave

    folder = Path("../policy")
    thread = threading.Thread(target=export, args=(folder,))
    thread.start()
    thread.join()
    assert names(folder) == {*WITHOUT, "policy.onnx"}
    facts = facts_of(folder)
    assert facts["sha256"]["policy.onnx"] == sha256(folder / "policy.onnx") and "onnx_left_out" not in facts
    load_policy(folder)

    with exporting_onnx(folder, python(crash("SIGSEGV"))):  # again, in vain
        pass
    assert names(folder) == WITHOUT and "policy.onnx" not in facts_of(folder)["sha256"]
    load_policy(folder)


def test_a_process_that_no_caller_waits_for_any_longer_is_ended_and_writes_nothing(folder):
    with pytest.raises(KeyboardInterrupt), exporting_onnx(folder, python("time.sleep(600)")):
        raise KeyboardInterrupt
    assert names(folder) == WITHOUT and names(folder.parent) == {"policy"}
    load_policy(folder)


def test_it_sees_no_gpu_and_finds_what_this_process_finds(folder, monkeypatch, tmp_path):
    (tmp_path / "added.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    code = "import added, ftray; print('GPUs:', repr(os.environ['CUDA_VISIBLE_DEVICES'])); sys.exit(1)"
    with exporting_onnx(folder, python(code)):
        pass
    assert facts_of(folder)["onnx_left_out"] == "GPUs: ''"
