"""The life of clusters on hosts made of namespaces, told with times: `python -m tests.cluster.walk` (root, minutes).

Takes: which clusters. Gives: a line for everything that was waited for, and in the end all of them in a table.
"""

import argparse
import sys
from collections.abc import Callable, Iterator

from .hosts import missing
from .on_aws import on_aws
from .own_machines import FAULTS, own_machines

Say = Callable[[str], None]


def walk_own_machines(say: Say) -> dict[str, float]:
    """`cluster/local.yaml`: up, studies, three faults of a machine, a driver's death, down."""
    with own_machines(say) as own:
        own.comes_up()
        own.runs_a_study()
        own.submits_with_ftray()
        own.shows_the_page()
        for name, fault in FAULTS.items():
            own.survives(name.replace(" ", "-"), *fault)
        own.survives_its_drivers_death()
        own.goes_down()
        return own.clock.times


def walk_aws(say: Say) -> dict[str, float]:
    """`cluster/aws-gpu.yaml`: up, spot nodes come, one is taken back, they go, down."""
    with on_aws(say) as aws:
        aws.comes_up()
        aws.scales_up()
        aws.survives_reclaim()
        aws.scales_down()
        aws.goes_down()
        return aws.clock.times


WALKS = {"own": walk_own_machines, "aws": walk_aws}


def table(name: str, times: dict[str, float]) -> Iterator[str]:
    yield f"{name}: {WALKS[name].__doc__}"
    for what, seconds in times.items():
        yield f"{seconds:8.1f} s  {what}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("clusters", nargs="*", choices=[*WALKS, []], default=list(WALKS), help="default: all")
    given = parser.parse_args()
    if reason := missing():
        print(reason, file=sys.stderr)
        return 1
    told = [line for name in given.clusters for line in table(name, WALKS[name](lambda line: print(line, flush=True)))]
    print("", *told, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
