"""The ``spvnode`` command.

``--version`` and completion answer before click is imported, ``--help`` before any command is: each command is a module
that is loaded when it is called. Whatever a command raises ends here as one line on stderr and an exit code, never as a
traceback.
"""

from __future__ import annotations

import sys
from typing import NoReturn


def main(arguments: list[str] | None = None) -> NoReturn:
    """Runs the command line and exits."""
    words = sys.argv[1:] if arguments is None else arguments
    if words == ["--version"]:
        from spvnode.version import VERSION  # noqa: PLC0415 - the fast path imports nothing else

        sys.stdout.write(f"spvnode {VERSION}\n")
        sys.exit(0)
    if words[:1] == ["__complete"]:
        from spvnode.cli.complete import main as complete  # noqa: PLC0415 - at each press of the key

        complete(words[1:])
        sys.exit(0)
    from spvnode.cli.shell import run_command  # noqa: PLC0415 - click costs 40 ms

    sys.exit(run_command(words))
