"""The pages: short where they promise to be, linked, and with tables that the code has."""

import importlib.util
import re

import pytest

import ftray

from .pages import BLOCKS, KINDS, PAGES, README, ROOT, Block, anchors, blocks_of, links, prose

EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def test_the_readme_is_short_and_narrow():
    lines = README.read_text().splitlines()
    assert len(lines) <= 160
    assert [line for line in lines if len(line) > 110] == []


def test_the_first_screen_has_a_picture_and_the_two_commands():
    first = README.read_text().splitlines()[:40]
    assert any(line.startswith("make demo") for line in first) and any(line.startswith("make test") for line in first)
    assert any(line.startswith("![") for line in first)


def test_the_readme_lists_every_page():
    assert {f"docs/{page.name}" for page in PAGES[1:]} <= set(links(README))


@EACH_PAGE
def test_every_block_is_of_a_kind_that_is_tested(page):
    found = list(blocks_of(page))
    assert [str(block) for block in found if block.kind not in KINDS] == []
    assert len(re.findall(r"^ *```", page.read_text(), re.MULTILINE)) == 2 * len(found), "a fence is not closed"
    if page.name != "api.md":  # its signatures are blocks that `docs/make_api.py` writes
        assert re.findall(r"\n\n(?: {4,}|\t)(?![-*\d]).*", prose(page)) == [], "an indented block is of no kind"
    assert "<!-- example:" not in prose(page), "the name of an example stands right above its block"


def test_names_of_examples_are_unique():
    named = [block.name for block in BLOCKS if block.name]
    assert sorted(set(named)) == sorted(named)


@EACH_PAGE
def test_links_lead_somewhere(page):
    for target in links(page):
        name, _, anchor = target.partition("#")
        other = (page.parent / name).resolve() if name else page
        assert other.exists(), target
        assert not anchor or anchor in anchors(other), target


@EACH_PAGE
def test_files_and_folders_that_are_named_exist(page):
    named = re.findall(r"`((?:ftray|tests|tune_configs|cluster|benchmarks|docs|notebooks)/[\w./-]*)`", prose(page))
    labels = {"ftray/gpu-gib", "ftray/price-per-hour"}
    assert [name for name in named if name not in labels and not (ROOT / name).exists()] == []


def _tables():
    spec = importlib.util.spec_from_file_location("make_tables", ROOT / "docs" / "make_tables.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@EACH_PAGE
def test_tables_are_what_the_code_has(page):
    assert page.read_text() == _tables().made(page.read_text()), "run: python docs/make_tables.py"


def test_every_table_that_is_made_is_on_a_page():
    tables = _tables()
    shown = [found["name"] for page in PAGES for found in tables.MARKED.finditer(page.read_text())]
    assert sorted(shown) == sorted(tables.TABLES)


def test_a_stale_table_is_found():
    tables = _tables()
    page = (ROOT / "docs" / "results.md").read_text()
    assert tables.made(page.replace("`validation/sharpe`", "`validation/sharp`")) == page


def test_a_block_of_an_unknown_kind_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- example: one -->\n```python\nx = 1\n```\n\n```\nno kind\n```\n")
    assert list(blocks_of(page)) == [Block(page, 2, "python", "x = 1\n", "one"), Block(page, 6, "", "no kind\n")]


def test_versions_that_are_named_are_this_one():
    for page in PAGES:
        for version in re.findall(r"ftray[:-](\d+\.\d+\.\d+)", page.read_text()):
            assert version == ftray.__version__, page.name
