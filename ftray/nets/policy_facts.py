"""policy.json: what a policy's folder says of it, and what must hold for it to be read.

Takes: the folder of a policy. Gives: plain values.
"""

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ftray.errors import DataError, WeightsError
from ftray.families import registered
from ftray.features.history import History
from ftray.features.indicators import INDICATORS
from ftray.features.layout import ObservationLayout
from ftray.nets.onnx_process import FACTS
from ftray.nets.spec import ENCODERS, EncoderSpec
from ftray.plugins import check_loaded
from ftray.spec import fingerprint
from ftray.version import __version__

FORMAT = 3
READABLE = (2, FORMAT)
"""Format 2, of ftray 0.2 before no-trade zones, has no `actions`: its policies have no such zone."""
PARTS = ("layout", "encoder", "scaler", "actions")
"""Entries of policy.json that decide what the policy does; whoever edits one gets another policy."""

OPTIONAL = ("trial", "plugins", "candles", "windows")
"""Further entries that are mappings where they are; earlier versions did not write all of them."""


def plugins_of(encoder: EncoderSpec, layout: ObservationLayout) -> dict[str, str]:
    """The plug-ins that decide what a policy does → hash of their source; without those of indicators unknown here."""
    return ENCODERS.sources([encoder.kind]) | INDICATORS.sources(layout.indicators)


def versions() -> dict[str, str]:
    """What a policy was made with."""
    found = {"ftray": __version__, "python": platform.python_version()}
    return found | {"torch": str(torch.__version__), "numpy": np.__version__}


def check_plugins(folder: Path, recorded: Mapping[str, str], encoder: Mapping[str, Any]) -> None:
    """The plug-in behind an encoder is imported, and what is imported of all recorded ones is as it was.

    Indicators may be missing: who has the observations needs none.
    """
    there = registered()
    check_loaded({module: source for module, source in recorded.items() if module in there}, str(folder))
    if recorded and encoder.get("kind") not in ENCODERS:
        check_loaded({module: source for module, source in recorded.items() if module not in there}, str(folder))


def read_facts(folder: Path) -> dict[str, Any]:
    """policy.json, of this format and with all its entries."""
    path = folder / FACTS
    try:
        facts = json.loads(path.read_text())
    except FileNotFoundError:
        what = f"{FACTS} is missing" if folder.is_dir() else "there is no such folder"
        raise WeightsError(f"{folder} holds no policy: {what}. A finished trial has one in policy/") from None
    except (ValueError, OSError) as error:
        raise WeightsError(f"{path} is damaged, or no JSON: {error}") from error
    if not isinstance(facts, dict) or "format" not in facts:
        raise WeightsError(f"{path} describes no policy: it must state its `format`, a number")
    found = facts.pop("format")
    if found == READABLE[0]:
        facts["actions"] = {"no_trade": 0.0}
    if found not in READABLE:
        raise WeightsError(
            f"{folder} has the policy format {found}, written with {facts.get('versions', 'unknown versions')}, and "
            f"this ftray reads format {FORMAT}: export the policy again, or load it with the ftray that wrote it"
        )
    missing = [name for name in (*PARTS, "sha256") if not isinstance(facts.get(name), dict)]
    missing += [name for name in OPTIONAL if not isinstance(facts.get(name, {}), dict)]
    if missing:
        raise WeightsError(f"{path} must hold a mapping under {', '.join(missing)}, and does not: export it again")
    if found == READABLE[0]:
        facts["sha256"].setdefault("actions", fingerprint(facts["actions"]))
    try:
        History.from_facts(facts)
    except DataError as error:
        raise WeightsError(f"{path} does not say what the policy has seen: {error}. Export it again") from error
    return facts
