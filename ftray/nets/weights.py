"""The market tower's weights on their way between modules and files: nothing is skipped, nothing fits by accident.

Takes: encoders, state mappings, checkpoint files. Gives: state mappings, fingerprints, or an error that names the
fields which differ.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ftray.errors import WeightsError
from ftray.nets.encoder import Encoder
from ftray.nets.misfit import misfits
from ftray.nets.transformer import FTTransformer

State = dict[str, Tensor]


def market_state_dict(encoder: Encoder) -> State:
    """The weights of the market tower, detached copies on the CPU, with what their shapes do not say."""
    state = {name: value.detach().cpu().clone() for name, value in encoder.tower.state_dict().items()}
    return {**state, **{name: torch.tensor(number) for name, number in _geometry(encoder).items()}}


def load_market_weights(encoder: Encoder, source: str | Path | Mapping[str, Any]) -> None:
    """Copies pre-trained weights into the encoder's market tower.

    source: a checkpoint file, its content (with the key `encoder_state_dict`), or the state mapping itself.

    Raises: WeightsError where the file is missing or damaged, or any name, shape, patch length, head count, symbol or
    indicator differs.
    """
    state = check_market_weights(encoder, source)
    encoder.tower.load_state_dict({name: state[name] for name in encoder.tower.state_dict()})


def check_market_weights(encoder: Encoder, source: str | Path | Mapping[str, Any]) -> Mapping[str, Tensor]:
    """The state mapping that `load_market_weights` would copy from; the encoder may be on torch's `meta` device.

    Raises: as `load_market_weights`.
    """
    where = f"{source}: " if isinstance(source, str | Path) else ""
    content = read_checkpoint(source) if isinstance(source, str | Path) else source
    state = content.get("encoder_state_dict", content)
    ours = encoder.tower.state_dict()
    expected = ours | {name: torch.tensor(number) for name, number in _geometry(encoder).items()}
    problems = [*_layout_problems(encoder, content.get("layout")), *misfits(state, expected)]
    if problems:
        raise WeightsError(
            f"{where}the weights do not fit the encoder: {'; '.join(problems)}. Give the encoder what the weights "
            "have, or pre-train it: pretrained: auto"
        )
    return state


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The content of a checkpoint file, read without running any code in it.

    Raises: WeightsError where there is no such file or it is no checkpoint.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such checkpoint") from None
    except Exception as error:  # torch names no common class for what a damaged archive can raise
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise WeightsError(f"{path}: damaged, or no checkpoint of weights: {reason}") from error
    if not isinstance(content, dict) or "encoder_state_dict" not in content:
        raise WeightsError(f"{path}: a checkpoint must hold the key 'encoder_state_dict'")
    state = content["encoder_state_dict"]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path}: encoder_state_dict must be a mapping of names to tensors; pre-train again")
    return content


def weights_fingerprint(source: nn.Module | Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes: equal weights, equal name; 64 hex digits."""
    state: Mapping[str, Tensor] = source.state_dict() if isinstance(source, nn.Module) else source
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _geometry(encoder: Encoder) -> dict[str, int]:
    """Numbers that the weights' shapes do not give away."""
    if not isinstance(encoder, FTTransformer):
        return {}
    return {"patch_length": encoder.tower.tokenizer.patch_length, "n_heads": encoder.tower.n_heads}


def _layout_problems(encoder: Encoder, layout: Mapping[str, Any] | None) -> list[str]:
    ours = encoder.layout.to_mapping()
    return [
        f"{key} {', '.join(map(str, layout[key]))} there, {', '.join(ours[key])} here"
        for key in ("symbols", "indicators")
        if layout is not None and list(layout.get(key, ours[key])) != ours[key]
    ]
