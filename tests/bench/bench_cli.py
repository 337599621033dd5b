"""What starting costs: CPU of ``spvnode --help``, of completion, and of importing the client, each a whole process."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

from tests.bench.row import Row

TRIES = 15
"""The least of so many counts: what else runs on the machine only adds to it."""


def cpu_ms(*words: str) -> float:
    """CPU time of a Python process, user and system."""
    best = float("inf")
    for _ in range(TRIES):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL, env=os.environ)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return best * 1000


def rows() -> list[Row]:
    """Two seconds."""
    bare = cpu_ms("-c", "pass")
    reference = f"python -c pass, {bare:.0f} ms"
    told = cpu_ms("-m", "spvnode", "--help")
    completed = cpu_ms("-m", "spvnode", "__complete", "call", "get")
    imported = cpu_ms("-c", "from spvnode import client") - bare
    return [
        Row("CPU of spvnode --help", reference, told, 80, "ms", at_least=False),
        Row("CPU of completing a method's name", reference, completed, 60, "ms", at_least=False),
        Row("CPU of importing spvnode.client, beyond Python's own", reference, imported, 40, "ms", at_least=False),
    ]
