"""Run `retention` in the terminal.

Standard output carries only the result. Progress and messages go to standard error. Exit
status: 0 done, 2 bad input, 1 failed.

Help and suggestions import little (`tests/bot/terminal/test_start_imports.py`). A command's own
run imports what it needs, in `bot.terminal.terminal_runner`.
"""

import gc
import logging
import os
import sys
from importlib.metadata import version
from typing import Any

import click

from bot.commands.parsing import usage_error_message
from bot.commands.tree import Command, root
from retention import logs
from retention.errors import BadInput, Cancelled, Refused
from retention.text import gettext, remove_controls, replace_unstorable
from workers.hints import sentence

DONE, FAILED, BAD_INPUT = 0, 1, 2


def main(args: list[str] | None = None) -> None:
    """Run one command and exit with its status."""
    logs.configure(logging.ERROR)
    # As for training workers (`workers.app.WAITING`), which this module cannot import.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    gc.disable()  # imports create objects that stay; looking for garbage among them is wasted
    sys.exit(run(args))


def _refuse_invalid_utf8(args: list[str]) -> None:
    """Refuse arguments that are not valid UTF-8. No database stores them."""
    for word in args:
        if replace_unstorable(word) != word:
            readable = word.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
            text = gettext("{word!r} holds bytes that are no text; write it in UTF-8.")
            raise BadInput(text.format(word=readable))


def run(args: list[str] | None = None) -> int:
    """Run one command. Print an error as one sentence."""
    words = sys.argv[1:] if args is None else args
    if words == ["--version"]:
        click.echo(f"retention-desk {version('retention-desk')}")
        return DONE
    failed = False
    try:
        _refuse_invalid_utf8(words)
        failed = root().main(words, prog_name="retention", standalone_mode=False, obj=_Terminal())
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "")
    except click.UsageError as error:
        if error.ctx is None:
            return _print_error(error.format_message(), BAD_INPUT)
        return _print_error(usage_error_message(error, error.ctx.command, error.ctx), BAD_INPUT)
    except Refused as error:
        return _print_error(sentence(error).replace("`/retention ", "`retention "), BAD_INPUT)
    except (KeyboardInterrupt, click.Abort, Cancelled):
        return _print_error(gettext("Stopped; nothing was published."), FAILED)
    except Exception as error:
        from bot.terminal.terminal_runner import explain

        message, is_bad_input = explain(error)
        return _print_error(message, BAD_INPUT if is_bad_input else FAILED)
    return FAILED if failed else DONE


class _Terminal:
    """The root context's object in the terminal: runs a parsed command."""

    def run(self, command: Command, params: dict[str, Any]) -> bool:
        from bot.terminal import terminal_runner

        gc.freeze()  # nor later
        gc.enable()
        return terminal_runner.run(command, params)


def _print_error(message: str, status: int) -> int:
    click.echo(remove_controls(message), err=True)
    return status
