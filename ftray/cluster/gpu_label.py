"""Prints the label that says how many GiB a node's GPU really has; runs on the node before Ray starts there.

    ray start --address=... $(python -m ftray.cluster.gpu_label)          --labels=ftray/gpu-gib=22.04, or nothing
    export RAY_OVERRIDE_LABELS=$(python -m ftray.cluster.gpu_label json)  the same for Ray's own variable, in a pod

Ray names a GPU by its model alone: a vGPU has less memory than its model, and ftray does not know every model. The
driver reserves some memory for itself (2 to 4 % of a T4 or L4); the rest is what PyTorch reports as the total. Of
several GPUs the smallest counts. With MIG the driver reports the whole card, so there is no label: give the slice's
GiB by hand. Nothing here may stop Ray from starting: without nvidia-smi, or where it fails, there is no label.
"""

import csv
import json
import subprocess
import sys

LABEL = "ftray/gpu-gib"
QUERY = ("nvidia-smi", "--query-gpu=memory.total,memory.reserved,mig.mode.current", "--format=csv,noheader,nounits")


def smallest_gib(output: str) -> float | None:
    """The GiB of the smallest GPU in the output of nvidia-smi; None where it does not say.

    >>> smallest_gib("23034, 462, [N/A]")
    22.04
    >>> [smallest_gib(output) for output in ("81559, 551, Enabled", "[N/A], [N/A], [N/A]", "")]
    [None, None, None]
    """
    found = []
    for line in csv.reader(output.splitlines(), skipinitialspace=True):
        if len(line) != 3 or not line[0].isdecimal() or line[2] == "Enabled":
            return None
        total, reserved = int(line[0]), int(line[1]) if line[1].isdecimal() else 0
        found.append((total - reserved) / 1024)
    return round(min(found), 2) if found else None


def main() -> None:
    try:
        done = subprocess.run(QUERY, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return
    if found := smallest_gib(done.stdout):
        print(json.dumps({LABEL: f"{found}"}) if sys.argv[1:] == ["json"] else f"--labels={LABEL}={found}")


if __name__ == "__main__":
    main()
