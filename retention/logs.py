"""Configure logging with escaped, masked and limited lines.

Log lines may contain text from outside. Escaped control characters keep it from forging further
lines or from steering the operator's terminal; the length limit keeps it from filling the disk.

Logs hold no personal data that an erasure would have to find: e-mail addresses are masked in every
line, and quoted values in the messages of exceptions, which may be customer ids or names.
"""

import copy
import logging
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Any, TextIO

from retention import traces

FORMAT = "%(asctime)s %(levelname)s %(name)s%(trace)s: %(message)s"
TRACES = "errors.log"  # of the terminal, in the home
MAX_LINE = 2_000  # characters of a line
MAX_TRACE_LINES = 120  # of a stack trace; its beginning and its end are kept

# C0 and C1 controls, line and paragraph separators, the marks that reorder text, and lone
# surrogates.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

_EMAIL = re.compile(r"[^\s<>@'\"(),:;=]{1,64}@[^\s<>@'\"(),:;]{1,255}")
# 'value', "value" and PostgreSQL's "Key (email)=(value)".
_QUOTED = re.compile(r"""'[^']*'|"[^"]*"|(?<==)\([^)]*\)""")


def escape(text: str, limit: int = MAX_LINE) -> str:
    r"""Return one printable line of limited length.

    Control characters are escaped as in Python. The end is cut off beyond the limit.

    Examples
    --------
    >>> escape("first" + chr(10) + "second")
    'first\\nsecond'
    """
    cut = len(text) - limit
    beginning = text[:limit] if cut > 0 else text
    escaped = _CONTROL.sub(
        lambda match: match[0].encode("unicode_escape").decode("ascii"), beginning
    )
    return f"{escaped} … ({cut} more characters)" if cut > 0 else escaped


def mask(text: str) -> str:
    """Replace e-mail addresses.

    Examples
    --------
    >>> mask("550 no such user: jane@shop.example")
    '550 no such user: <e-mail>'
    """
    return _EMAIL.sub("<e-mail>", text)


class LineFormatter(logging.Formatter):
    """Format a record as one escaped line. Its stack trace follows in indented, escaped lines."""

    def __init__(self) -> None:
        super().__init__(FORMAT)

    def format(self, record: logging.LogRecord) -> str:
        record = _masked(record)
        ids = traces.log_fields()
        record.trace = f" [{ids['trace_id']}]" if ids else ""
        return super().format(record)

    def formatMessage(self, record: logging.LogRecord) -> str:
        return escape(mask(super().formatMessage(record)))

    def formatException(self, ei: Any) -> str:
        return trace(ei[1]) if ei[1] else ""

    def formatStack(self, stack_info: str) -> str:
        return _indented(stack_info.split("\n"))


def _masked(record: logging.LogRecord) -> logging.LogRecord:
    """Return a copy of the record in which the exceptions among its arguments are masked."""
    record = copy.copy(record)
    if isinstance(record.args, tuple):
        record.args = tuple(
            _QUOTED.sub("'…'", str(arg)) if isinstance(arg, BaseException) else arg
            for arg in record.args
        )
    return record


def json_formatter() -> logging.Formatter:
    """Return structlog's formatter: one JSON object a record, escaped and masked as a line is."""
    import structlog  # it loads rich: too slow for the terminal, which logs lines

    class Masking(structlog.stdlib.ProcessorFormatter):
        def format(self, record: logging.LogRecord) -> str:
            return super().format(_masked(record))

    return Masking(
        foreign_pre_chain=[
            structlog.processors.TimeStamper(fmt="iso", key="at"),
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _entry,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
    )


def _entry(logger: Any, method: str, event: Any) -> dict[str, Any]:
    """Escape and mask what structlog collected, and add the trace and the job."""
    (_, error, _), stack = event.get("exc_info") or (None, None, None), event.get("stack_info")
    shown = trace(error) if error else _indented(stack.split("\n")) if stack else ""
    return {
        "at": event["at"],
        "level": event["level"].upper(),
        "logger": event["logger"],
        "message": escape(mask(event["event"])),
        **traces.log_fields(),
        **({"trace": shown} if shown else {}),
    }


def trace(error: BaseException) -> str:
    """Return the stack trace of an error.

    As in the log, it is escaped, indented, masked and of limited length.
    """
    return _indented(_trace(traceback.TracebackException.from_exception(error)))


def _trace(error: traceback.TracebackException) -> Iterator[str]:
    """Yield a stack trace's lines, oldest cause first. Values quoted in messages are masked."""
    earlier = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if earlier is not None:
        yield from _trace(earlier)
        yield "Then:"
    for frame in error.stack.format():
        yield from frame.rstrip("\n").split("\n")
    for message in error.format_exception_only():
        for line in message.rstrip("\n").split("\n"):
            yield _QUOTED.sub("'…'", mask(line))


def _indented(lines: Iterable[str]) -> str:
    """Indent each line. Text inside an exception cannot look like a log line of its own."""
    lines = list(lines)
    if len(lines) > MAX_TRACE_LINES:
        half = MAX_TRACE_LINES // 2
        lines = [*lines[:half], f"… {len(lines) - 2 * half} lines …", *lines[-half:]]
    return "\n".join(f"    {escape(line)}" for line in lines)


def write_trace(path: Path, reference: str, error: BaseException, today: date) -> None:
    """Add an error to a file of traces, under the reference that a person was told."""
    with path.open("a", encoding="utf-8") as file:
        file.write(f"reference {reference} {today}\n{trace(error)}\n")


def drop_traces(path: Path, before: date) -> int:
    """Delete entries of a file of traces from before a day, and return their number.

    Entries of earlier versions have no day: they are old.
    """
    if not path.exists():
        return 0
    text = path.read_text(encoding="utf-8")
    entries = list(filter(None, re.split(r"(?m)^(?=reference )", text)))
    kept = [
        entry
        for entry in entries
        if entry.partition("\n")[0].split(" ")[2:] >= [before.isoformat()]
    ]
    path.write_text("".join(kept), encoding="utf-8")
    return len(entries) - len(kept)


def configure(
    level: int = logging.INFO, stream: TextIO | None = None, *, form: str = "text"
) -> None:
    """Send this process's logging, and the warnings of its libraries, to a stream.

    A person at a terminal, where only errors are logged, sees none.

    `form`: ``text``, or ``json`` for standard output.
    """
    is_json = form == "json"
    handler = logging.StreamHandler(stream or (sys.stdout if is_json else sys.stderr))
    handler.setFormatter(json_formatter() if is_json else LineFormatter())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


# At INFO, slack_bolt logs the body of a request whose signature is wrong, and httpx2 each URL.
_QUIET = ("slack_bolt", "slack_sdk", "uvicorn", "httpx2", "alembic.runtime.plugins")
