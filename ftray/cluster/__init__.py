"""Cluster files, told what is wrong with them before anything is started."""

from ftray.cluster.files import check_cluster_file

__all__ = ["check_cluster_file"]
