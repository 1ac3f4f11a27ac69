"""Log lines cannot be forged, flooded, or hold personal data."""

import json
import logging
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retention.logs import MAX_LINE, MAX_TRACE_LINES, LineFormatter, escape, json_formatter, mask

JSON = json_formatter()


def formatted(message: str, *args: object, error: BaseException | None = None) -> str:
    """Return what the formatter makes of one record."""
    info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("test", logging.WARNING, __file__, 1, message, args, info)
    return LineFormatter().format(record)


@given(st.text())
def test_json_record_is_one_object_on_one_line(text):
    info = failing("of jane@shop.example")
    record = logging.LogRecord(
        "shop", logging.WARNING, __file__, 1, "said %s", (text,), (type(info), info, None)
    )
    line = JSON.format(record)
    assert "\n" not in line
    assert "jane" not in line
    entry = json.loads(line)
    assert (entry["level"], entry["logger"]) == ("WARNING", "shop")
    assert entry["message"] == formatted_message(text)
    assert "KeyError" in entry["trace"]
    assert datetime.fromisoformat(entry["at"]).tzinfo == UTC


def formatted_message(text: str) -> str:
    return escape(mask(f"said {text}"))


@given(st.text())
def test_log_record_is_one_printable_line(text):
    line = formatted("said %s", text)
    assert len(line.splitlines()) == 1
    assert all(ord(character) >= 32 and character != "\x7f" for character in line)


@pytest.mark.nightly
@given(st.text(min_size=MAX_LINE + 1, max_size=MAX_LINE * 3))
def test_long_records_are_cut_and_say_by_how_much(text):
    line = escape(text)
    assert f"({len(text) - MAX_LINE} more characters)" in line


def failing(message: str) -> BaseException:
    try:
        try:
            {}[
                "customer-" + str(42)
            ]  # the value stands in the message only, not in the source line
        except KeyError as cause:
            raise ValueError(message) from cause
    except ValueError as error:
        return error


def test_exception_messages_cannot_forge_log_lines():
    text = formatted("failed", error=failing("x\n2026-01-01 00:00:00 INFO app: forged\x1b[2J"))
    first, *rest = text.split("\n")
    assert "failed" in first
    assert all(line.startswith("    ") for line in rest)
    assert "\x1b" not in text


def test_long_stack_traces_are_cut_in_the_middle():
    text = formatted("failed", error=failing("line\n" * 5_000))
    assert len(text.split("\n")) == MAX_TRACE_LINES + 2


@pytest.mark.parametrize("secret", ["jane@shop.example", "customer-42", "+44 20 7946 0000"])
def test_personal_data_in_exceptions_is_masked(secret):
    error = failing(f"could not parse '{secret}': Key (phone)=({secret}) exists")
    text = formatted("failed for jane@shop.example", error=error)
    assert secret not in text
    assert "could not parse" in text
    assert "KeyError" in text
    assert "in failing" in text  # the frames stay


def test_exceptions_as_arguments_are_masked():
    error = ValueError("Key (code, customer_id)=(AB12, customer-42) already exists")
    text = formatted("not stored: %s", error)
    assert "customer-42" not in text
    assert "not stored: Key (code, customer_id)='…' already exists" in text


def test_configured_logging_writes_escaped_lines():
    code = "import logging; from retention import logs; logs.configure(); logging.info('a\\nb')"
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )
    assert process.stderr.endswith("INFO root: a\\nb\n")


def test_http_requests_are_not_logged_in_the_demos_terminal():
    """A line for each request to the bot and each answer filled the terminal."""
    code = """
import logging
from retention import logs
logs.configure(logging.ERROR)
logging.getLogger().setLevel(logging.INFO)  # as `retention demo` does
from tests.standins.slack import StandIn
with StandIn.start() as slack, StandIn.start(slack.api_url) as other:
    other.command("lead", "crm", "help")
    logging.info("the end")
"""
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )
    assert process.stderr.endswith("INFO root: the end\n")
    assert len(process.stderr.splitlines()) == 1


@pytest.mark.parametrize(("level", "shown"), [("ERROR", ""), ("INFO", "UserWarning: no sample")])
def test_library_warnings_go_to_the_log(level, shown):
    """A command in the terminal logs errors only; a worker logs warnings too."""
    code = (
        "import logging, sys, warnings; from bot import terminal; from retention import logs\n"
        f"terminal.logs.configure = lambda _, set=logs.configure: set(logging.{level})\n"
        "terminal.run = lambda args: warnings.warn('no sample') or 0; terminal.main([])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, check=True
    )
    assert shown in done.stderr
    assert bool(shown) == bool(done.stderr)
    assert not done.stdout
