"""Coverage-guided fuzzing of everything in ``targets``: ``python -m tests.fuzz [SECONDS] [TARGET ...]``.

Each target runs in a process of its own for its share of the time (default: 20 s each). A finding is kept in
``tests/fuzz/findings/`` with the target's name, and ends the run with exit code 1; give the file to
``python -m tests.fuzz replay TARGET FILE`` to see it again.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

SECONDS = 20


def run(name: str, seconds: int, corpus: Path) -> int:
    """One target in this process. Exits the process at a finding."""
    import atheris  # noqa: PLC0415 - only where it is installed

    with atheris.instrument_imports(include=["p2p", "merkle", "spvnode", "targets", "proof_targets"]):
        from targets import TARGETS, seeds  # noqa: PLC0415 - instrumented, so here

    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds().get(name, [])):
        (corpus / f"seed-{number}").write_bytes(seed)
    findings = HERE / "findings"
    findings.mkdir(exist_ok=True)
    options = [f"-max_total_time={seconds}", "-max_len=4096", "-rss_limit_mb=1024", "-print_final_stats=0",
               f"-artifact_prefix={findings}/{name}-", "-verbosity=0"]  # fmt: skip
    atheris.Setup([sys.argv[0], *options, str(corpus)], TARGETS[name])
    atheris.Fuzz()
    return 0


def main(arguments: list[str]) -> int:
    """Returns the exit code."""
    if arguments[:1] == ["one"]:
        return run(arguments[1], int(arguments[2]), Path(arguments[3]))
    from targets import TARGETS  # noqa: PLC0415 - not before ``one``, which instruments it

    if arguments[:1] == ["replay"]:
        sys.stdout.write(f"{TARGETS[arguments[1]](Path(arguments[2]).read_bytes())!r}\n")
        return 0
    try:
        import atheris  # noqa: F401, PLC0415 - to say it once
    except ImportError:
        sys.stderr.write("no coverage-guided fuzzing: atheris has no wheel for this machine\n")
        return 0
    seconds = int(arguments[0]) if arguments else SECONDS
    bad = [name for name in arguments[1:] or TARGETS if not passes(name, seconds)]
    sys.stdout.write(f"{len(bad)} findings" + (f": {', '.join(bad)}\n" if bad else "\n"))
    return 1 if bad else 0


def passes(name: str, seconds: int) -> bool:
    """Fuzzes one target in a process of its own."""
    import tempfile  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as corpus:
        done = subprocess.run(
            [sys.executable, "-m", "tests.fuzz", "one", name, str(seconds), corpus],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        kept = len(list(Path(corpus).iterdir()))
    sys.stdout.write(f"{name:20} {'ok' if not done.returncode else 'FOUND'}  {kept} inputs kept\n")
    sys.stdout.flush()
    if done.returncode:
        sys.stdout.write(done.stdout[-3000:] + done.stderr[-3000:])
    return not done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
