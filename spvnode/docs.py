"""Writes the pages of docs/ that must not lie (limits, state machine, RPC, command line, manual page), and the code
that is derived (the client's methods, the words of completion). ``--check`` only tells whether they are true.

The limits page is read off the source: every module constant that holds a number and carries a docstring.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from spvnode.cli.docs import render as render_cli
from spvnode.cli.man import render as render_man
from spvnode.cli.words_code import words_page
from spvnode.metrics_docs import render as render_metrics
from spvnode.rpc.client_code import async_methods_page, methods_page, names_page
from spvnode.rpc.docs import render as render_rpc
from spvnode.sync.table import TRANSITIONS, diagram

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("merkle", "native", "p2p", "spvnode")
GENERATED = "<!-- written by `make docs` from the source: do not edit -->\n"


def constants(source: str) -> Iterator[tuple[str, str, str]]:
    """(name, value as written, docstring) of each documented numeric constant of a module."""
    body = ast.parse(source).body
    for node, after in pairwise(body):
        if not (isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(after, ast.Expr)):
            continue
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        text = after.value.value if isinstance(after.value, ast.Constant) else None
        if not (isinstance(target, ast.Name) and target.id.isupper() and isinstance(text, str) and node.value):
            continue
        if not any(isinstance(part, ast.Constant) and isinstance(part.value, str) for part in ast.walk(node.value)):
            yield target.id, ast.unparse(node.value), " ".join(text.split())


def limits_page() -> str:
    """docs/limits.md."""
    lines = [
        GENERATED,
        "# Limits",
        "",
        "Every number that bounds something, where it lives, and why it is that number.",
        "",
    ]
    for path in sorted(p for package in PACKAGES for p in (ROOT / package).rglob("*.py")):
        rows = list(constants(path.read_text()))
        if rows:
            lines += [f"## `{path.relative_to(ROOT)}`", "", "| name | value | why |", "|---|---|---|"]
            lines += [
                f"| `{name}` | {value.replace('|', '¦')} | {text.replace('|', '¦')} |" for name, value, text in rows
            ]
            lines.append("")
    return "\n".join(lines)


def state_page() -> str:
    """docs/state-machine.md."""
    rows = [
        f"| {source} | {trigger} | {target} | {what} |" for (source, trigger), (target, what) in TRANSITIONS.items()
    ]
    return "\n".join([
        GENERATED, "# The header-sync state machine", "",
        "Drawn from the table in `spvnode/sync/table.py`. Fetching goes on while the head of the line is validated and",
        "committed; the state tells where that head is.", "",
        "```mermaid", diagram(), "```", "",
        "| from | on | to | what is done |", "|---|---|---|---|", *rows, "",
    ])  # fmt: skip


PAGES = {
    "spvnode/method_names.py": names_page,
    "spvnode/client/methods.py": methods_page,
    "spvnode/client/async_methods.py": async_methods_page,
    "spvnode/cli/words.py": words_page,
    "docs/limits.md": limits_page,
    "docs/state-machine.md": state_page,
    "docs/rpc.md": render_rpc,
    "docs/cli.md": render_cli,
    "docs/metrics.md": render_metrics,
    "docs/spvnode.1": render_man,
}
"""What is written where. Code first: the limits are read off it."""


def main(arguments: list[str]) -> int:
    """Writes the pages, or with ``--check`` names those that differ. Returns the exit code."""
    stale = []
    for name, render in PAGES.items():
        path, text = ROOT / name, render()
        if "--check" not in arguments:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            stale.append(name)
    if stale:
        sys.stderr.write(f"error: out of date, run `make docs`: {', '.join(stale)}\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
