"""The group of commands, and the firewall around all of them."""

from __future__ import annotations

import errno
import importlib
import os
import sys

import click

from spvnode.cli.exits import Exit, exit_help
from spvnode.errors import InputError, SpvnodeError, StoreError, StoreLocked
from spvnode.version import VERSION

COMMANDS = {
    "run": ("spvnode.cli.run", "Run the daemon."),
    "import": ("spvnode.cli.import_", "Check a file of headers and commit it."),
    "status": ("spvnode.cli.status", "Show what the daemon is doing."),
    "top": ("spvnode.cli.top", "Watch the daemon in the terminal."),
    "header": ("spvnode.cli.header", "Show a header by height or hash."),
    "proof": ("spvnode.cli.proof", "Make a portable proof of a header."),
    "verify": ("spvnode.cli.verify", "Check a proof, offline."),
    "call": ("spvnode.cli.call", "Call any method of the RPC."),
    "web": ("spvnode.cli.web", "Print a link to the dashboard."),
    "token": ("spvnode.cli.token", "Make, list and revoke tokens of the RPC."),
    "reload": ("spvnode.cli.reload", "Have the daemon read its configuration again."),
    "id": ("spvnode.cli.id", "Print this node's peer id and addresses."),
    "check": ("spvnode.cli.check", "Audit the stores of all networks."),
    "doctor": ("spvnode.cli.doctor", "Find what keeps the node from working."),
    "completion": ("spvnode.cli.completion", "Print a script that completes commands in a shell."),
}
"""Name: (module with a ``command``, help). The texts stand here so that ``--help`` imports no command."""
NATIVE_VARIABLES = ("SPVNODE_KERNELS", "SPVNODE_SHA256")
"""Variables that ``native`` reads when it is imported; its ValueError about one begins with the name."""
MAX_MESSAGE = 2_000
"""Characters of an error line. Messages may quote a reply of the daemon."""


class CommandFailed(SpvnodeError):
    """A command ends with ``code``; the message is for stderr."""

    def __init__(self, code: Exit, message: str) -> None:
        super().__init__(message)
        self.code = code


class LazyGroup(click.Group):
    """Commands that are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports the command's module."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of commands, from their names alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The exit codes, as they stand."""
        formatter.write("\n" + exit_help() + "\n")


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(VERSION, prog_name="spvnode", message="%(prog)s %(version)s")
def group() -> None:
    """A light node: follows block headers, checks every one, and proves them.

    Settings come from spvnode.toml in the data directory (or --config), then SPVNODE_... in the environment, then
    flags.
    """


def run_command(words: list[str]) -> int:
    """Runs ``words`` as a command line; returns the exit code. Writes one ``error: ...`` line where it failed."""
    try:
        code = group.main(words, prog_name="spvnode", standalone_mode=False)
        _flush()
        return int(code or 0)
    except BrokenPipeError:
        return _leave_quietly()
    except (click.ClickException, click.Abort, KeyboardInterrupt) as error:
        return _usage(error)
    except CommandFailed as error:
        return _say(str(error), error.code)
    except InputError as error:
        return _say(str(error), Exit.INPUT)
    except StoreLocked as error:
        return _say(str(error), Exit.BUSY)
    except StoreError as error:
        return _say(str(error), Exit.STORE)
    except SpvnodeError as error:
        return _say(str(error), Exit.INPUT)
    except OSError as error:
        if error.errno == errno.EPIPE:
            return _leave_quietly()
        place = f": {error.filename}" if error.filename else ""
        return _say(f"system: {error.strerror or error}{place}", Exit.STORE)
    except Exception as error:  # noqa: BLE001 - the firewall of the command line: our own defect, told in one line
        return _defect(error)


def _flush() -> None:
    if sys.stdout is not None:  # None where the shell closed it (>&-)
        sys.stdout.flush()


def _usage(error: click.ClickException | click.Abort | KeyboardInterrupt) -> int:
    if not isinstance(error, click.ClickException):
        return _say("interrupted", Exit.INTERRUPTED)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):  # `spvnode` alone: the help, whole, is the message
        sys.stderr.write(error.format_message() + "\n")
        return int(Exit.INPUT)
    field, message = "arguments", error.format_message()
    parameter = getattr(error, "param", None)
    if isinstance(parameter, click.Parameter):
        field = parameter.get_error_hint(getattr(error, "ctx", None)).strip("'")
        if not isinstance(error, click.MissingParameter):
            message = error.message  # without click's "Invalid value for ...", which names the field once more
    elif isinstance(error, click.NoSuchOption | click.BadOptionUsage):
        field = error.option_name
    elif isinstance(error, click.UsageError) and message.startswith("No such command"):
        message += f" There are: {', '.join(COMMANDS)}."
    return _say(f"{field}: {message}", Exit.INPUT)


def _defect(error: Exception) -> int:
    """In one line: what, and the place in our own code where it came up."""
    if isinstance(error, ValueError) and str(error).startswith(NATIVE_VARIABLES):
        return _say(str(error), Exit.INPUT)
    place, frame = "", error.__traceback__
    while frame is not None:
        file = frame.tb_frame.f_code.co_filename
        if "site-packages" not in file:
            place = f" at {file.rpartition('/')[2]}:{frame.tb_lineno}"
        frame = frame.tb_next
    return _say(f"internal: {type(error).__name__}: {error}{place}", Exit.SOFTWARE)


def _say(message: str, code: Exit) -> int:
    line = " ".join(message.split())[:MAX_MESSAGE]
    try:
        sys.stderr.write(f"error: {line}\n")
    except OSError:
        return _leave_quietly(code)
    return int(code)


def _leave_quietly(code: int = Exit.NEGATIVE) -> int:
    """The reader of our output is gone: nothing more is to be written, also not at interpreter exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return int(code)
