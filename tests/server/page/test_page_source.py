"""Rules of the page that its source shows, without a browser."""

import re
from importlib.resources import files
from pathlib import Path

import pytest

PAGE = Path(str(files("bvllm") / "server" / "page"))
MARKUP = (PAGE / "index.html").read_text(encoding="utf-8")
SCRIPTS = sorted(PAGE.glob("*.js"))
SOURCES = sorted(file for file in PAGE.iterdir() if file.suffix in (".html", ".js", ".css"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_text_never_becomes_markup_or_code(script):
    markup = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser"
    sinks = markup + r"|\beval\b|new Function|setTimeout\([\"'`]"
    assert not re.search(sinks, script.read_text(encoding="utf-8"))


def test_nothing_is_inline_so_that_the_strict_policy_holds():
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", MARKUP)
    assert not re.search(r"<script(?![^>]*\ssrc=)", MARKUP)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_nothing_comes_from_elsewhere(source):
    without_names = source.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|@import|url\(", without_names)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_a_source_stays_readable(source):
    lines = source.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 300


def test_every_file_that_is_named_is_there():
    named = set(re.findall(r"page/([\w.-]+)", MARKUP))
    for script in SCRIPTS:
        named |= set(re.findall(r"from \"\./([\w.-]+)\"", script.read_text(encoding="utf-8")))
    assert named == {file.name for file in PAGE.iterdir()} - {"index.html"}


def test_every_element_that_a_script_asks_for_is_in_the_page():
    ids = set(re.findall(r"\sid=\"([\w-]+)\"", MARKUP))
    asked = {
        word
        for script in SCRIPTS
        for word in re.findall(r"byId\(\"([\w-]+)\"\)", script.read_text(encoding="utf-8"))
    }
    assert asked
    assert asked <= ids
