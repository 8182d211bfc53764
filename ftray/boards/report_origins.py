"""The parts of a report that say what it cost, what failed, where it comes from and how to do it again.

Takes: a study. Gives: HTML. Raises: NoResultError where a study has nothing to tell, with the reason.
"""

import json
import shlex

import yaml

from ftray import plots
from ftray.analysis.study import Study
from ftray.analysis.test_window import describe_reads
from ftray.boards import html
from ftray.boards.live import failures_page
from ftray.boards.standing import machines_data, standing_data
from ftray.boards.terminal import duration, figure, text


def costs(study: Study) -> str:
    standing = standing_data(study)
    told = html.facts(
        {
            "wall time, while it was driven": duration(standing.seconds),
            "CPU core hours": f"{standing.cpu_seconds / 3600:,.2f}",
            "GPU hours": f"{standing.gpu_seconds / 3600:,.2f}",
        }
    )
    told += html.paragraph("Booked shares times the time they were booked, pre-training included.", "note")
    shown = {
        "host": text,
        "cpu": text,
        "gpu": text,
        "ended": text,
        "cpu_hours": figure,
        "gpu_hours": figure,
        "vram_planned_gib": figure,
        "vram_used_gib": figure,
    }
    titles = ["machine", "processor", "GPU", "trials", "CPU core hours", "GPU hours", "GiB planned", "GiB used at most"]
    rows = [[write(row[key]) for key, write in shown.items()] for row in machines_data(study)]
    told += html.table(titles, rows, range(3, 8))
    told += html.plot(plots.plot_cost(plots.cost_data(study)), "cost")
    memory = plots.vram_data(study)
    return told + (html.plot(plots.plot_vram(memory), "vram") if len(memory) else "")


def failures(study: Study) -> str:
    groups = failures_page(study)
    if not groups:
        return html.paragraph("No trial failed.")
    rows = [
        [group["n"], ", ".join(group["trials"][:8]) + (", ..." if group["n"] > 8 else ""), group["error"]]
        for group in groups
    ]
    return html.table(["trials", "which", "first error"], rows, numbers=[0])


def test_window(study: Study) -> str:
    """Every look at it; nothing else of a report knows it."""
    told = describe_reads(study.run.events())
    if not told:
        return html.paragraph("It was never read: nothing here was chosen by it. ftray promote reads it, once.")
    return "".join(html.paragraph(line) for line in told)


def provenance(study: Study) -> str:
    best = study.best()
    lineage = study.lineage(best.trial)
    told = html.facts(
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
    )
    told += html.paragraph(f"The winner's runs, of {best.trial}:")
    rows = [
        [
            run["fold"],
            run["seed"],
            " and ".join(" to ".join(span) for span in run.get("trained_on") or []),
            str(run.get("dataset"))[:12],
            str(run.get("encoder") or "–")[:12],
        ]
        for run in lineage["runs"]
    ]
    told += html.table(["fold", "seed", "trained on", "dataset", "encoder"], rows)
    for why in dict.fromkeys(one["why"] for one in lineage["encoders"] if one.get("why")):
        told += html.paragraph(f"Encoder: {why}")
    spec = html.verbatim(yaml.safe_dump(lineage["spec"], sort_keys=False))
    return told + html.folded("Its resolved spec", spec)


def reproduce(study: Study) -> str:
    commit = next((row for row in study.frame("trials", ["commit"])["commit"].dropna()), None)
    at = (
        ""
        if commit is None
        else f" At commit {commit.rstrip('+')}{', which had changes' if commit.endswith('+') else ''}:"
    )
    told = html.paragraph(f"One command, where ftray is installed.{at}") + html.verbatim(command(study))
    return told + html.paragraph("The market's candles must be the same: ftray compares their fingerprint.", "note")


def command(study: Study) -> str:
    """One shell command that runs the same study."""
    n_trials = standing_data(study).n_trials
    asked = "" if n_trials is None else f" --set search.n_trials={n_trials}"
    file = shlex.quote(f"{study.name}.yaml")
    return f"cat > {file} <<'END' && ftray tune {file}{asked}\n{study_file(study)}END"


def study_file(study: Study) -> str:
    """What `ftray tune` takes to run the same study."""
    tree = {key: value for key, value in study.run.study.items() if key in ("name", "trial", "search") and value}
    return yaml.safe_dump(json.loads(json.dumps(tree)), sort_keys=False)
