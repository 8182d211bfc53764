"""Cluster files, told what is wrong with them before anything is started."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ftray.cluster.files import check_cluster_file

__all__ = ["check_cluster_file"]


def __getattr__(name: str) -> Any:
    """Loads the checks when they are first asked for: they bring Ray and torch, which other parts do without."""
    if name not in __all__:
        raise AttributeError(f"module 'ftray.cluster' has no attribute {name!r}")
    from ftray.cluster import files

    return getattr(files, name)
