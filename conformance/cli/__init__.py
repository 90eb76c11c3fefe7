"""The command `autograd-conformance`. Every mistake is one clear message and an exit code, never a traceback.

0 everything conforms, 1 something does not, 2 the command, a specification file, an engine or a result file is wrong,
3 the run itself could not be completed, 130 interrupted.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from conformance import __version__
from conformance.errors import KitError

INTERRUPTED, BROKEN = 130, 3
DEBUG = "AUTOGRAD_CONFORMANCE_DEBUG"

# command -> (module below conformance.cli, function): imported when it is asked for
COMMANDS = {
    "run": ("run", "run"),
    "list": ("look", "list_"),
    "show": ("look", "show"),
    "operators": ("operators", "operators"),
    "coverage": ("coverage", "coverage"),
    "report": ("results", "report"),
    "compare": ("results", "compare"),
}


class Commands(click.Group):
    """The commands, each imported only when it is needed: most need neither NumPy nor the specification."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, function = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(f"conformance.cli.{module}"), function)
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="autograd-conformance")
def cli() -> None:
    """Says, behaviour by behaviour, whether an engine differentiates the way PyTorch documents it.

    Exit codes: 0 everything conforms, 1 something does not, 2 the command or a file is wrong, 3 the run could not be
    completed.
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The console script."""
    sys.exit(call(arguments))


def call(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; messages about mistakes go to standard error."""
    _prepare_output()
    try:
        code = cli.main(args=arguments, prog_name="autograd-conformance", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as e:
        e.show()
        return e.exit_code
    except KitError as e:
        return _complain(str(e), e.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return _complain("interrupted", INTERRUPTED)
    except BrokenPipeError:  # the reader of our output has gone (`| head`): not our mistake, and nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as e:
        if os.environ.get(DEBUG):
            raise
        return _complain(f"a mistake in the kit itself: {type(e).__name__}: {e} (set {DEBUG}=1 to see where)", BROKEN)
    return code if isinstance(code, int) else 0


def _prepare_output() -> None:
    """Output that is closed is thrown away; characters that the terminal's encoding lacks are written as escapes."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  (it is open as long as the process)
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _complain(message: str, code: int) -> int:
    click.echo(f"error: {message}", err=True)
    return code
