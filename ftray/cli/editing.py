"""The verb that describes study files to editors."""

import argparse
import sys

from ftray.cli.terminal import Add, add_verb


def add_verbs(add: Add) -> None:
    verb = add_verb(add, schema, "print the JSON Schema of study files, by which editors complete and check them")
    line = "of trial files: those without search parameters, which `ftray train` and `ftray pretrain` run"
    verb.add_argument("--trial", action="store_true", help=line)
    line = "know the members of this plug-in, too; may be repeated"
    verb.add_argument("--plugin", action="append", default=[], metavar="MODULE", help=line)
    verb.epilog = (
        "An editor with yaml-language-server reads it from the first line of a study file: "
        "# yaml-language-server: $schema=study.schema.json"
    )


def schema(given: argparse.Namespace) -> int:
    from ftray.plugins import load_plugins
    from ftray.study.json_schema import schema_text

    load_plugins(given.plugin)
    sys.stdout.write(schema_text(ranges=not given.trial))
    return 0
