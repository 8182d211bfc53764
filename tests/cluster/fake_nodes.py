"""How many nodes trials that wait bring up: Ray's autoscaler over its fake nodes, raylets of made-up resources.

Run it where it is alone, as `python -m tests.cluster.fake_nodes SHARE...`: it ends every Ray that it can see. Prints a
line of JSON for each case: what the VRAM plan says, and how many nodes there were.
"""

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
import yaml
from ray import cluster_utils
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group

from ftray.capacity.nodes import Node, nodes_of_file

from .hosts import ROOT
from .played_job import plan_of
from .waiting import until

FILE, TYPE = "cluster/aws-gpu.yaml", "gpu-spot"
MOST = 4
LISTS = ("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands")
LISTS += ("head_start_ray_commands", "worker_start_ray_commands", "rsync_exclude", "rsync_filter")
LISTS += ("cluster_synced_files",)
PROVIDER = {
    "type": "fake_multinode", "use_node_id_as_ip": True, "disable_node_updaters": True, "launch_multiple": True,
    "disable_launch_config_check": True, "head_node_id": cluster_utils.FAKE_HEAD_NODE_ID,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Case:
    """So many trials of which `share` fit a GPU, waiting at once, and what came of it.

    planned: nodes, by the VRAM plan alone. asked: what each trial asks Ray for. most: nodes that there were at once.
    up, down: seconds to all of them, and from the end of the trials to none.
    """

    share: int
    trials: int
    planned: int
    asked: list[dict[str, float]]
    most: int
    up: float
    down: float


class FakeNodes(cluster_utils.AutoscalingCluster):
    """Ray's wheel lacks the example file that it reads its configuration from; what must be in it stands here."""

    def _generate_config(
        self, head_resources: dict, worker_node_types: dict, autoscaler_v2: bool = False, **more: Any
    ) -> dict[str, Any]:
        head = {"resources": head_resources, "node_config": {}, "max_workers": 0}
        config: dict[str, Any] = {name: [] for name in LISTS} | {"auth": {}, "docker": {}, "file_mounts": {}}
        config |= {"head_node": {}, "worker_nodes": {}, "file_mounts_sync_continuously": False, "upscaling_speed": 4.0}
        config |= {"cluster_name": "fake", "max_workers": MOST, "provider": PROVIDER, **more}
        config |= {"head_node_type": "ray.head.default", "available_node_types": {**worker_node_types}}
        config["available_node_types"]["ray.head.default"] = head
        self._complete(config)
        return config

    def _complete(self, config: dict[str, Any]) -> None:
        """The autoscaler's own process looks for the example, too."""
        path = Path(ray.__file__).parent / "autoscaler/_private/fake_multi_node/example.yaml"
        path.write_text(yaml.safe_dump(config))


def node_type() -> tuple[Node, dict[str, Any]]:
    """The GPU node of the cluster file, as the plan and as Ray see it."""
    (node,) = (node for node in nodes_of_file(ROOT / FILE) if node.name == TYPE)
    resources = yaml.safe_load((ROOT / FILE).read_text())["available_node_types"][TYPE]["resources"]
    resources |= {"object_store_memory": 100_000_000}
    return node, {"resources": resources, "node_config": {}, "min_workers": 0, "max_workers": MOST}


def n_nodes() -> int:
    return sum(entry["Alive"] and entry["Resources"].get("GPU", 0) > 0 for entry in ray.nodes())


def bring_up(share: int, trials: int, node: Node, patience: float) -> Case:
    """Lets trials wait, as Tune does: a placement group each; then takes them away."""
    placement, planned = plan_of(share, trials, node)
    began = time.monotonic()
    groups = [placement_group(placement.bundles, strategy=placement.strategy) for _ in range(trials)]
    most = _most_until(lambda: all(_placed(group) for group in groups), patience)
    up = time.monotonic() - began
    for group in groups:
        remove_placement_group(group)
    began = time.monotonic()
    most = max(most, _most_until(lambda: n_nodes() == 0, patience))
    return Case(share, trials, planned, placement.bundles, most, round(up, 1), round(time.monotonic() - began, 1))


def _placed(group: PlacementGroup) -> bool:
    return group.wait(timeout_seconds=0.1)


def _most_until(condition: Callable[[], bool], patience: float) -> int:
    seen = [0]

    def look() -> bool:
        seen.append(n_nodes())
        return condition()

    until(look, patience, f"nodes come and go, {seen[-1]} now")
    return max(seen)


def cases(shares: Sequence[int]) -> Iterator[Case]:
    """One trial more than a node holds, for each share."""
    node, kind = node_type()
    cluster = FakeNodes({"CPU": 0, "object_store_memory": 100_000_000}, {TYPE: kind}, True, idle_timeout_minutes=0.1)
    cluster.start()
    try:
        ray.init("auto", log_to_driver=False)
        for share in shares:
            yield bring_up(share, share + 1, node, patience=240)
    finally:
        ray.shutdown()
        cluster.shutdown()


def main() -> None:
    first = Path("/proc/1/comm").read_text().strip()
    assert first == "tini", f"this ends every Ray that it sees, so it must run on a host of its own, not under {first}"
    for case in cases([int(word) for word in sys.argv[1:]]):
        print(json.dumps(dataclasses.asdict(case)), flush=True)


if __name__ == "__main__":
    main()
