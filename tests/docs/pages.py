"""The pages for people, README.md and docs/*.md, as tests read them: blocks of code, commands, links.

Every block of code is one of `KINDS`, and a test for its kind runs or checks it. A comment `<!-- example: NAME -->` on
the line above names a block, for a test that says what it must leave behind.
"""

import dataclasses
import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = (README, *sorted((ROOT / "docs").glob("*.md")))

KINDS = {"python", "pycon", "yaml", "bash", "text"}

_BLOCK = re.compile(r"^(?:<!-- example: (?P<name>.+?) -->\n)?```(?P<kind>.*)\n(?P<code>(?:.*\n)*?)```$", re.MULTILINE)
_FILE = re.compile(r"# (?P<file>[\w/]+\.(?:py|yaml))\n")

BETWEEN = {"&&", "||", "|", ";", "&", "(", ")"}
"""What a shell puts between two commands."""


@dataclasses.dataclass(frozen=True)
class Block:
    """A block of code. line: of its fence. name: its example's, if it has one."""

    page: Path
    line: int
    kind: str
    code: str
    name: str | None = None

    @property
    def file(self) -> str | None:
        """The file that the block is the content of: its first line is a comment with nothing but the file's name."""
        found = _FILE.match(self.code) if self.kind in ("python", "yaml") else None
        return found["file"] if found else None

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for found in _BLOCK.finditer(text):
        line = text.count("\n", 0, found.start("kind")) + 1
        yield Block(page, line, found["kind"], found["code"], found["name"])


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def blocks(kind: str) -> list[Block]:
    return [block for block in BLOCKS if block.kind == kind]


def files_before(block: Block) -> dict[str, str]:
    """The files that earlier blocks of its page are the content of."""
    earlier = (other for other in BLOCKS if other.page == block.page and other.line < block.line)
    return {other.file: other.code for other in earlier if other.file}


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return _BLOCK.sub("", page.read_text())


def commands(code: str) -> Iterator[list[str]]:
    """The commands of a block for a shell, as words, without comments and redirections; those of a loop, once for each
    of its values."""
    rest = _simple_commands(code)
    for words in rest:
        if words[0] == "for":
            _, name, _, *values = words
            body = list(itertools.takewhile(lambda inner: inner != ["done"], rest))
            assert body and body[0][0] == "do", code
            body = [inner for inner in (body[0][1:], *body[1:]) if inner]  # `do` may be on a line of its own
            for value in values:
                yield from ([word.replace(f"${name}", value) for word in inner] for inner in body)
        else:
            yield words


def _simple_commands(code: str) -> Iterator[list[str]]:
    words: list[str] = []
    skip = False
    for line in _whole_lines(code):
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        for word in [*lexer, ";"]:
            if word in BETWEEN:
                if words:
                    yield words
                words = []
            elif word in (">", ">>", "<"):
                skip = True
            elif skip:
                skip = False
            else:
                words.append(word)


def _whole_lines(code: str) -> Iterator[str]:
    """Lines, joined where one ends with a backslash or inside of quotes."""
    whole = ""
    for line in code.splitlines():
        whole = f"{whole}\n{line}" if whole else line
        if whole.endswith("\\"):
            whole = whole[:-1]
            continue
        try:
            shlex.split(whole, comments=True)
        except ValueError:
            continue
        yield whole
        whole = ""
    assert not whole, whole


def inline_commands(page: Path) -> list[str]:
    """Commands between backticks in prose and tables."""
    return re.findall(r"(?<!`)`((?:ftray|python|make|ray|pip) [^`\n]+)`(?!`)", prose(page))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them: of several equal ones, the later have a number."""
    found: dict[str, int] = {}
    made = set()
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        anchor = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        n = found[anchor] = found.get(anchor, -1) + 1
        made.add(f"{anchor}-{n}" if n else anchor)
    return made


def links(page: Path) -> list[str]:
    """The targets of a page's links and pictures that are no addresses on the web."""
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    return [target for target in targets if "://" not in target]
