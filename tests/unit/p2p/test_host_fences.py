"""The table of fences: each row holds against the library that is installed."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

import pytest

from p2p.host.defects import DEFECTS, Defect
from p2p.host.fences.table import ALL, FENCES, Parts, build_parts
from p2p.host.limits import Limits

ROOT = Path(__file__).resolve().parents[3]
LIBRARY = Path(str(importlib.metadata.distribution("libp2p").locate_file("libp2p")))
ROWS = [defect for defects in DEFECTS.values() for defect in defects]
LOCATION = re.compile(r"[\w/]+\.py:\d+")


@pytest.mark.parametrize("defect", ROWS, ids=lambda defect: defect.where)
def test_each_defect_stands_where_it_is_said_to(defect: Defect) -> None:
    file, number = defect.where.rsplit(":", 1)
    line = (LIBRARY / file).read_text().splitlines()[int(number) - 1]
    assert line.strip().startswith(defect.code)
    assert defect.what


def test_every_place_that_the_code_names_is_in_the_table() -> None:
    known = {defect.where for defect in ROWS}
    named = {
        location for file in (ROOT / "p2p" / "host").rglob("*.py") for location in LOCATION.findall(file.read_text())
    }
    assert named <= known


def test_every_fence_has_its_defects_and_every_defect_its_fence() -> None:
    assert {fence.name for fence in FENCES} | {"always"} == set(DEFECTS)
    assert all(fence.defects for fence in FENCES)
    assert len({defect.where for defect in ROWS}) == len(ROWS)


@pytest.mark.parametrize("fence", FENCES, ids=lambda fence: fence.name)
def test_each_fence_replaces_something(fence: object) -> None:
    name = fence.name  # type: ignore[attr-defined]
    with_it, without = build_parts(Limits(), ALL), build_parts(Limits(), ALL - {name})
    stock = Parts(Limits())
    changed = [field for field in vars(stock) if _shape(vars(with_it)[field]) != _shape(vars(without)[field])]
    assert changed


def _shape(part: object) -> object:
    """Names of the classes that a part is made of: classes are made anew for each node."""
    return (
        [kind.__qualname__ for kind in part.__mro__] if isinstance(part, type) else getattr(part, "__qualname__", part)
    )


def test_every_limit_says_why() -> None:
    source = (ROOT / "p2p" / "host" / "limits.py").read_text()
    names = re.findall(r"^    (\w+): (?:int|float) = ", source, flags=re.MULTILINE)
    assert set(names) == set(Limits.__slots__)
    undocumented = re.findall(r"^    (\w+): (?:int|float) = [^\n]+\n(?=\n|    #)", source, flags=re.MULTILINE)
    assert undocumented == []
