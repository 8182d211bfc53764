"""Short labels of encoders, for tables and plots.

Takes: an encoder's spec as a mapping. Gives: a short text; None if unknown.
"""

from collections.abc import Mapping
from typing import Any


def encoder_label(spec: Mapping[str, Any]) -> str | None:
    """An encoder in a few letters.

    >>> ft = {"kind": "ft", "d_token": 64, "n_blocks": 2, "n_heads": 4, "patch_length": 60}
    >>> encoder_label(ft), encoder_label(ft | {"readout": "assets"})
    ('ft 64/2/4 p60', 'ft 64/2/4 p60 assets')
    >>> encoder_label({"kind": "mlp", "hidden": 512})
    'mlp 512'
    """
    if spec.get("kind") == "ft":
        readout = f" {spec['readout']}" if spec.get("readout", "cls") != "cls" else ""
        return "ft {d_token}/{n_blocks}/{n_heads} p{patch_length}".format_map(_Unknown(spec)) + readout
    if spec.get("kind") == "mlp":
        return "mlp {hidden}".format_map(_Unknown(spec))
    return spec.get("kind")


def pretrained_label(spec: Mapping[str, Any]) -> str | None:
    """Where an encoder's weights come from, and whether they stay as they are.

    >>> pretrained_label({"pretrained": "auto", "frozen": True})
    'auto, frozen'
    """
    pretrained = spec.get("pretrained")
    if pretrained in (None, "none"):
        return pretrained
    return f"{pretrained}, {'frozen' if spec.get('frozen') else 'fine-tuned'}"


class _Unknown(dict):
    def __missing__(self, key: str) -> str:
        return "?"
