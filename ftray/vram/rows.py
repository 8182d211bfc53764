"""What was measured on a cluster's GPUs, stored with its run folders: `RUNS/vram/MODEL.json`, also on object storage.

Takes: where run folders lie, a GPU model. Gives: its measured rows, which every plan of a study there uses.
"""

import dataclasses
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import torch

from ftray.files import replace_file
from ftray.storage import Location, Mirror, is_url, join
from ftray.vram.gpus import Gpu, Measured, measured_name, parse_measured

FOLDER = "vram"
"""The folder of measured rows, next to run folders."""


def rows_file(runs: Location, name: str) -> Location:
    """Where the rows of a GPU model lie."""
    return join(join(runs, FOLDER), measured_name(name))


def read_rows(runs: Location, name: str) -> tuple[Measured, ...]:
    """The rows that were measured on a GPU model for studies in `runs`; none where nothing was measured.

    Raises: SpecError for a file that holds something else; StorageError for object storage that cannot be read.
    """
    place = rows_file(runs, name)
    if is_url(runs):
        content = Mirror(runs, role="read").read(f"{FOLDER}/{measured_name(name)}")
        return parse_measured(content, str(place)) if content is not None else ()
    try:
        return parse_measured(Path(place).read_bytes(), str(place))
    except (FileNotFoundError, NotADirectoryError):
        return ()


def save_rows(runs: Location, gpu: Gpu, found: Iterable[Measured]) -> Location:
    """Adds rows to those of the GPU's model, in place of rows of the same key; returns where they are stored."""
    place = rows_file(runs, gpu.name)
    content = measured_json(gpu, (*read_rows(runs, gpu.name), *found))
    if is_url(runs):
        Mirror(runs, role="read").write(f"{FOLDER}/{measured_name(gpu.name)}", content.encode())
    else:
        replace_file(Path(place), content.encode())
    return place


def measured_json(gpu: Gpu, rows: Iterable[Measured]) -> str:
    """The content of a file of measured rows; of rows of one key the last one counts."""
    content = {
        "gpu": gpu.name,
        "gib": gpu.gib,
        "torch": str(torch.__version__),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "rows": [dataclasses.asdict(row) for row in {row.key: row for row in rows}.values()],
    }
    return json.dumps(content, indent=1) + "\n"
