"""The exceptions that a user may see. Each names the field and the limit; none needs a traceback to be understood."""

from __future__ import annotations

WANT_BLOCK_PEERS = (
    "wait for some (`spvnode status` counts them), allow them (no --no-p2p), or name a full node with "
    "--connect HOST:PORT"
)
"""What to do where no peer serves blocks."""


class SpvnodeError(Exception):
    """Base of every error that is ours to raise and the user's to read."""


class InputError(SpvnodeError):
    """Bad input from a file, a flag, the config, or an RPC caller.

    ``field`` names the input, ``problem`` says what is wrong with it and which limit it breaks.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class StoreError(SpvnodeError):
    """The store cannot be used, and cannot heal by itself (a lock, a full disk, a schema from the future)."""


class StoreLocked(StoreError):
    """Another process holds the store."""


class Unavailable(SpvnodeError):
    """What was asked for lies with peers, and none of them gave it in time. Asking again may help."""


class Undecided(Unavailable):
    """Peers contradict each other, and asking again will not help: another source has to tell."""
