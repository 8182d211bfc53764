"""Recognises that GPU memory ran out, whichever process and library reports it."""

import torch

SIGNS = (
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",  # what a library raises that could not even start
    "torch.OutOfMemoryError",  # in the traceback of another process
)
HOST_MEMORY = "node running low on memory"
"""Ray's error of the same name is about the node's memory: it kills the process, and Tune starts it again."""


def out_of_memory_in(error: object) -> str | None:
    """The line of an error, or of its text, that says that GPU memory ran out; None if it says anything else."""
    lines = str(error).strip().splitlines()
    if HOST_MEMORY in str(error):
        return None
    found = next((line.strip() for line in lines if any(sign in line for sign in SIGNS)), None)
    if found is None and isinstance(error, torch.OutOfMemoryError):
        return f"{type(error).__name__}: {lines[-1] if lines else ''}"
    return found
