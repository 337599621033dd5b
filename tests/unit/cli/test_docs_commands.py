"""What the pages for people say can be typed, exists: commands, options, make targets, files, readiness reasons."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from spvnode.cli.shell import COMMANDS, group
from spvnode.follow.bitcoin import BitcoinFollower
from spvnode.follow.ethereum import EthereumFollower
from spvnode.node import Node

ROOT = Path(__file__).resolve().parents[3]
PAGES = ("README.md", "ARCHITECTURE.md", "docs/operating.md")
WRITTEN_BY_BENCH = "docs/benchmarks.md"
"""Made by ``make bench`` on the machine that is measured."""


def typed(text: str) -> Iterator[list[str]]:
    """The words of every ``spvnode ...`` command line in ``text``, comments left out."""
    for line in re.findall(rf"\bspvnode ((?:{'|'.join(COMMANDS)})\b[^\n`&|]*)", text):
        yield shlex.split(line, comments=True)


def options(command: str) -> set[str]:
    """Every spelling of every option of a command."""
    found = group.get_command(click.Context(group), command)
    assert found is not None
    names = {"--help", "-h"}
    for parameter in found.params:
        names |= {*parameter.opts, *parameter.secondary_opts}
    return names


def unknown(words: list[str]) -> set[str]:
    return {word for word in words[1:] if word.startswith("-") and word != "-"} - options(words[0])


@pytest.mark.parametrize("page", ["README.md", "docs/operating.md"])
def test_every_command_line_can_be_typed(page: str) -> None:
    lines = list(typed((ROOT / page).read_text()))
    assert len(lines) >= 5
    assert {" ".join(words): bad for words in lines if (bad := unknown(words))} == {}


@pytest.mark.parametrize("page", ["docker-compose.yml", "Dockerfile"])
def test_every_command_of_the_containers_exists(page: str) -> None:
    text = (ROOT / page).read_text()
    lists = [re.findall(r'"([^"]*)"', found) for found in re.findall(r"(?:command:|CMD|test:)\s*\[(.*)\]", text)]
    lines = [words[words.index("spvnode") + 1 :] if "spvnode" in words else words for words in lists]
    lines = [words for words in lines if words[0] in COMMANDS] + list(typed(text.replace('"', "\n")))
    assert len(lines) >= 2
    assert {" ".join(words): bad for words in lines if (bad := unknown(words))} == {}


def test_an_option_that_does_not_exist_is_found() -> None:
    assert [unknown(words) for words in typed("`spvnode verify --root HEX`, spvnode run --no-mesh  # --x")] == [
        {"--root"},
        set(),
    ]


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_and_linked_file_exists(page: str) -> None:
    text = (ROOT / page).read_text()
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z]+)\b", text, re.MULTILINE)) <= targets
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    missing = {link for link in links if not ((ROOT / page).parent / link).exists()}
    assert missing <= {WRITTEN_BY_BENCH}


def test_every_readiness_reason_is_explained() -> None:
    page = (ROOT / "docs" / "operating.md").read_text()
    parts = set()
    for method in (Node.readiness, BitcoinFollower.reasons, BitcoinFollower._held_reasons, EthereumFollower.reasons):
        tree = ast.parse(textwrap.dedent(inspect.getsource(method)))
        texts = {
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        parts |= texts - {ast.get_docstring(tree.body[0], clean=False)}  # type: ignore[arg-type]
    reasons = {part.strip() for part in parts if len(part) > len(".0f")}
    assert {"no peer", "synchronising:", "starting"} <= reasons
    assert {reason for reason in reasons if reason not in page} == set()
