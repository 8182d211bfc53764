"""The parts of a report about what the study cost, what failed, where it comes from and how to run it again.

Takes: a study. Gives: blocks. Raises: NoResultError where a study has no answer, with the reason.
"""

import json
import shlex
from typing import Any

import yaml

from ftray import plots
from ftray.analysis.study import Study
from ftray.analysis.test_window import describe_reads
from ftray.boards.blocks import Block, Code, Facts, Paragraph, Plot, Table, plot_or_why, table_of
from ftray.boards.columns import FAILURES, MACHINES
from ftray.boards.live import failures_page
from ftray.boards.status import machines_data, status_data
from ftray.metrics import WALL_SECONDS, format_metric


def costs(study: Study) -> list[Block]:
    status = status_data(study)
    blocks: list[Block] = [
        Facts(
            {
                "wall time, while it was driven": format_metric(WALL_SECONDS, status.seconds),
                "CPU core hours": f"{status.cpu_seconds / 3600:,.2f}",
                "GPU hours": f"{status.gpu_seconds / 3600:,.2f}",
            }
        ),
        Paragraph("Booked shares times the time they were booked, pre-training included.", "note"),
        table_of(MACHINES, machines_data(study)),
        plot_or_why(lambda: plots.plot_cost(plots.cost_data(study)), "cost"),
    ]
    memory = plots.vram_data(study)
    return [*blocks, Plot(plots.plot_vram(memory), "vram")] if len(memory) else blocks


def failures(study: Study) -> list[Block]:
    groups = failures_page(study)
    return [table_of(FAILURES, groups) if groups else Paragraph("No trial failed.")]


def test_window(study: Study) -> list[Block]:
    """Every read of it; no other part of a report shows it."""
    lines = describe_reads(study.run.events())
    never = "It was never read: nothing here was chosen by it. ftray promote reads it, once."
    return [Paragraph(line) for line in lines or [never]]


def provenance(study: Study) -> list[Block]:
    best = study.best()
    lineage = study.lineage(best.trial)
    blocks: list[Block] = [
        Facts(
            {
                "run folder": study.run.where,
                "id": study.run.id,
                "fingerprint": study.run.fingerprint,
                "candles": lineage["candles"],
                "git commit": lineage["commit"],
                "machine": ", ".join(str(lineage[key]) for key in ("host", "cpu", "gpu") if lineage[key]) or None,
                "versions": ", ".join(f"{name} {version}" for name, version in (lineage["versions"] or {}).items()),
                "seeds": f"{lineage['n_seeds']} from {lineage['seed']} on" if lineage["seed"] is not None else None,
            }
        ),
        Paragraph(f"The winner's trainings, of {best.trial}:"),
        Table(["fold", "seed", "trained on", "dataset", "encoder"], [_origin(run) for run in lineage["runs"]]),
    ]
    reasons = dict.fromkeys(one["why"] for one in lineage["encoders"] if one.get("why"))
    blocks += [Paragraph(f"Encoder: {why}") for why in reasons]
    return [*blocks, Code(yaml.safe_dump(lineage["spec"], sort_keys=False), "Its resolved spec")]


def _origin(run: dict[str, Any]) -> list[str]:
    spans = " and ".join(" to ".join(span) for span in run.get("trained_on") or [])
    return [run["fold"], run["seed"], spans, str(run.get("dataset"))[:12], str(run.get("encoder") or "-")[:12]]


def reproduce(study: Study) -> list[Block]:
    commit = next((row for row in study.frame("trials", ["commit"])["commit"].dropna()), None)
    changed = ", which had changes" if commit and commit.endswith("+") else ""
    at = f", in a working tree at commit {commit.rstrip('+')}{changed}" if commit else ""
    return [
        Paragraph(f"One command. The study ran with ftray {study.run.versions['ftray']}{at}."),
        Code(command(study)),
        Paragraph("The market's candles must be the same: ftray compares their fingerprint.", "note"),
        *(
            Paragraph(f"It imports {module}, whose source must have the hash {source}.", "note")
            for module, source in study.run.study.get("plugins", {}).items()
        ),
    ]


def command(study: Study) -> str:
    """One shell command that runs the same study."""
    n_trials = status_data(study).n_trials
    asked = "" if n_trials is None else f" --set search.n_trials={n_trials}"
    file = shlex.quote(f"{study.name}.yaml")
    return f"cat > {file} <<'END' && ftray tune {file}{asked}\n{study_file(study)}END"


def study_file(study: Study) -> str:
    """What `ftray tune` takes to run the same study."""
    tree = {
        key: value for key, value in study.run.study.items() if key in ("name", "plugins", "trial", "search") and value
    }
    if "plugins" in tree:
        tree["plugins"] = list(tree["plugins"])
    if "search" in tree:  # a study that stores no least number of round trips has none
        tree["search"] = {"min_round_trips": 0} | tree["search"]
    return yaml.safe_dump(json.loads(json.dumps(tree)), sort_keys=False)
