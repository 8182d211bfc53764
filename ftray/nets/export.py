"""Encoders and policies as ONNX files, to run where there is neither torch nor Ray.

Takes: an `Encoder` or a `PolicyNetwork`. Gives: one file with the input `observation` (B, size), any B, and the output
`encoding` (B, encoding_dim) or `action` (B, A). The layout travels along as metadata.
"""

import contextlib
import copy
import importlib.util
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from ftray.errors import MissingDependencyError
from ftray.files import partial_file
from ftray.nets.encoder import Encoder
from ftray.nets.policy import PolicyNetwork
from ftray.outputs import check_output_file


def export_onnx(network: Encoder | PolicyNetwork, path: str | Path) -> Path:
    """Writes a network over full observations as one ONNX file; the network stays as it is.

    The file's metadata holds `layout`, JSON of `ObservationLayout.to_mapping()`: what the floats of `observation` are.
    onnxruntime holds the attention maps that torch avoids: 1.2 GB for one observation at 5,889 tokens (balanced), next
    to nothing at the default `patch_length`.

    Raises: MissingDependencyError where the packages of the extra `onnx` are missing; OutputError for a path that no
        file can be written to.
    """
    path = check_output_file(path)
    check_packages()
    is_policy = isinstance(network, PolicyNetwork)
    copied = copy.deepcopy(network).cpu()
    module = copied if is_policy else _FullObservation(copied)  # type: ignore[arg-type]
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            module.eval(),
            (torch.zeros(2, network.layout.size),),
            dynamo=True,
            verbose=False,
            input_names=["observation"],
            output_names=["action" if is_policy else "encoding"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )
    assert program is not None
    # Where a module reads its batch as a plain number, torch exports that number without a word.
    if isinstance(program.model.graph.inputs[0].shape[0], int):  # type: ignore[index]
        raise RuntimeError(f"{type(network).__name__} fixes its batch size: it cannot be exported for any batch")
    program.model.metadata_props["layout"] = json.dumps(network.layout.to_mapping())
    with partial_file(path) as partial:
        program.save(partial, external_data=False)
    return path


def check_packages() -> None:
    """Raises: MissingDependencyError where the packages of the extra `onnx` are missing. Imports neither, which takes
    seconds."""
    for package in ("onnx", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            raise MissingDependencyError(
                f"an ONNX export needs the package {package}, which is not installed: pip install 'ftray[onnx]'"
            )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns about itself, and that torchvision, of which nothing is exported, is not there."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logger.setLevel(level)


class _FullObservation(nn.Module):
    """An encoder that reads full observations in `forward`."""

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, observation: Tensor) -> Tensor:
        return self.encoder.encode(observation)
