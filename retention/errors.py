"""Errors that a user can fix, and cancellation.

The text of a `Refused` names the field, the value and the fix. People see it as it is: ephemeral in
Slack, on standard error with exit status 2 in the terminal. For any other error the user gets a
reference number, and the operator gets the stack trace.
"""


class Refused(Exception):
    """Refuse a request and say how to fix it."""


class BadInput(Refused):
    """Refuse an unusable value.

    Parameters
    ----------
    message : str
        The problem and how to fix it.
    field : str, optional
        The field with the value. A form shows the message under its input.
    """

    def __init__(self, message: str = "", *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class NotAllowed(Refused):
    """Refuse a request that the user's role forbids."""


class TooLittleData(Refused):
    """Refuse a request that needs more data.

    More history, customers or classes are needed than the data has.
    """


class TooManyRequests(Refused):
    """Refuse a request beyond a user's limit.

    The message says when to try again.
    """


class Conflict(Refused):
    """Refuse a request because its target has changed.

    The user saw an earlier version.
    """


class Cancelled(BaseException):
    """Stop a job without publishing its result.

    A user cancelled it, or its lease was lost.

    It is a `BaseException`, because `except Exception` must not catch it.
    """
