"""Define what keeps the data of a source from coming in."""

from typing import Any, Literal

from retention.connect.contract import ConnectorError

ProblemCode = Literal[
    "access_denied",
    "unavailable",  # temporary
    "schema_changed",
    "shrunk",
    "currency_changed",
    "unreadable",
    "silent",  # nothing is wrong with what came, but nothing new comes
]


class SourceProblem(Exception):
    """Stop a pull; nothing was imported.

    Parameters
    ----------
    code : str
        Decides what happens next. A template has the sentence for people.
    **facts
        What the sentence names: columns, numbers of rows, the answer of the other system.
    """

    def __init__(self, code: ProblemCode, **facts: Any) -> None:
        super().__init__(code)
        self.code = code
        self.facts = facts


def problem_of(error: ConnectorError) -> SourceProblem:
    """Return the problem of a source whose platform did not do what was asked."""
    if error.code in ("access_denied", "scope_missing"):
        return SourceProblem("access_denied", detail=error.detail)
    if error.is_temporary:
        return SourceProblem("unavailable", detail=error.detail)
    if error.code == "changed_schema":
        return SourceProblem("schema_changed", detail=error.detail)
    return SourceProblem("unreadable", text=error.detail or error.code)
