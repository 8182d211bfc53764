"""The JSON Schema of study files, and of trial files: those without search parameters.

Takes: the specs and families as they are. Gives: a plain mapping, for editors and validators. What it leaves to the
parser: see `ftray.search.json_schema`; of a whole file also whether the options of a choice judge trials alike, whether
an objective's direction is the metric's, whether a constraint's metric is reported, whether an objective is there
twice, whether plug-ins can be imported, and whether points name search parameters and values in their ranges.

The members of plug-ins are known if their modules are imported before; a name that is not known is refused, with a
message about `--plugin`, whether or not a file has plug-ins: passing any name there would pass every misspelt one.
"""

import json
from collections.abc import Mapping

from ftray.metrics import searchable
from ftray.search.json_schema import Hint, Schema, SchemaWriter, one_of, or_null
from ftray.study.search_spec import SearchSpec
from ftray.study.spec import StudyName
from ftray.study.tree import NAMED, SECTIONS
from ftray.trial.judging import JUDGE
from ftray.trial.spec import TrialSpec

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def study_schema(ranges: bool = True) -> Schema:
    """The schema of a study file. ranges: False for a trial file, whose values are fixed.

    >>> study_schema()["properties"]["name"]["type"]
    'string'
    """
    definitions: dict[str, Schema] = {}
    trial = SchemaWriter(definitions, "trial", ranges, fixed=JUDGE).spec(TrialSpec)
    search = SchemaWriter(definitions, "search", ranges=False)
    sections = {
        "name": {
            "description": "Name of the run folder; by default the file's own.",
            **search.value(Hint.of(StudyName), None, "name"),
        },
        "plugins": {
            "description": "Modules that register further indicators, rewards, markets, encoders and samplers.",
            **search.value(Hint.of(tuple[str, ...] | None), None, "plugins"),
        },
        "trial": {
            "description": "What one trial does, with search parameters in place of some values.",
            **or_null(trial),
        },
        "search": {"description": "How the study searches.", **or_null(search.spec(SearchSpec))},
    }
    _add_names(definitions["search.SearchSpec"])
    _add_metrics(definitions)
    return {
        "$schema": DRAFT,
        "title": "ftray study file" if ranges else "ftray trial file",
        "type": "object",
        "properties": {name: sections[name] for name in SECTIONS},
        "additionalProperties": False,
        "$defs": dict(sorted(definitions.items())),
    }


def schema_text(ranges: bool = True) -> str:
    """The schema as `ftray schema` prints it."""
    return json.dumps(study_schema(ranges), indent=1, ensure_ascii=False) + "\n"


def _add_names(search: Schema) -> None:
    """Shorthand: a member of a family by its name alone."""
    for family, members in NAMED.items():
        field = search["properties"][family]
        kept = {key: field.pop(key) for key in list(field) if key not in ("description", "default")}
        named = one_of(members, open_=isinstance(members, Mapping))
        field |= {"examples": list(members), "if": {"type": "string"}, "then": named, "else": kept}


def _add_metrics(definitions: dict[str, Schema]) -> None:
    """Objectives are metrics that a job of the searched kind reports, and that are better one way."""

    def named(job: str) -> Schema:
        names = [name for name, metric in searchable(job).items() if metric.direction]
        one = {"properties": {"metric": {"enum": names}}}
        return {"properties": {"objective": {"enum": [*names, None]}, "objectives": {"items": one}}}

    pretraining = {"properties": {"job": {"const": "pretraining"}}, "required": ["job"]}
    definitions["search.SearchSpec"] |= {"if": pretraining, "then": named("pretraining"), "else": named("trial")}
