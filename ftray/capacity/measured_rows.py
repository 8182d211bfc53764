"""Nodes with what was measured on their GPUs, for every plan of a study there.

Takes: where run folders lie, nodes. Gives: the same nodes, whose GPUs know their measured rows.
"""

import dataclasses
from collections.abc import Iterable

from ftray.capacity.cluster_view import ClusterView, cluster_view
from ftray.capacity.nodes import Node
from ftray.storage import Location
from ftray.vram.gpus import Measured
from ftray.vram.rows import read_rows


class MeasuredRows:
    """The rows of a runs root. Each GPU model's file is read once, so that the plan of a running study stays the same.

    They count before what the machine that plans has in its own cache, and that before table and formula.
    """

    def __init__(self, runs: Location):
        self.runs = runs
        self._rows: dict[str, tuple[Measured, ...]] = {}

    def nodes(self, nodes: Iterable[Node]) -> tuple[Node, ...]:
        """The same nodes, whose GPUs know these rows. Raises: SpecError for a file that holds something else."""
        return tuple(
            dataclasses.replace(node, gpu=node.gpu.with_rows(self._of(node.gpu.name))) if node.gpu else node
            for node in nodes
        )

    def look(self) -> ClusterView:
        """The view of the running Ray, whose nodes know these rows."""
        view = cluster_view()
        return dataclasses.replace(view, nodes=self.nodes(view.nodes))

    def _of(self, name: str) -> tuple[Measured, ...]:
        if name not in self._rows:
            self._rows[name] = read_rows(self.runs, name)
        return self._rows[name]
