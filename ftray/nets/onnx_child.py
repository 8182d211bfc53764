"""Exports one policy and ends: `python -m ftray.nets.onnx_child FOLDER FILE`, which `onnx_process` starts.

Takes: a policy folder, and the file to write. Gives: the file and exit status 0; or 1, with the reason on standard
output.
"""

import json
import os
import signal
import sys

from ftray.nets.deployment import Policy
from ftray.nets.export import export_onnx
from ftray.nets.onnx_process import LIMIT, PLUGINS
from ftray.plugins import load_carried


def main(folder: str, file: str) -> int:
    signal.alarm(int(LIMIT) + 60)  # ends this process where its parent was killed and nothing waits for it
    try:
        load_carried(json.loads(os.environ.get(PLUGINS, "[]")))
        export_onnx(Policy.load(folder).network, file)
    except Exception as error:
        print(error if isinstance(error, ImportError) else f"{type(error).__name__}: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
