"""What went wrong, in words for the person who asked.

A `Refused` is the person's to mend: its text names the field, the value and the remedy, and is shown to them as it
is (ephemeral in Slack; standard error and exit status 2 in the terminal). Anything else is ours: the person gets a
reference number and the operator gets the trace.
"""


class Refused(Exception):
    """Cannot be done as asked; the message says why and what to do instead."""


class BadInput(Refused):
    """A value that cannot be used.

    ``field`` is the block id of the modal's input that holds the value, if there is one.
    """

    def __init__(self, message: str = "", *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class NotAllowed(Refused):
    """The person's role does not allow it."""


class TooLittleData(Refused):
    """The data cannot carry what was asked of it (history, customers or classes missing)."""


class TooManyRequests(Refused):
    """The person has reached a limit; the message names the limit and when to try again."""


class Conflict(Refused):
    """Somebody else was first, or the thing has changed since the person saw it."""


class Cancelled(BaseException):
    """A person cancelled the job, or its lease was lost: stop now, publish nothing.

    A `BaseException`, so that no `except Exception` on the way up can swallow it.
    """
