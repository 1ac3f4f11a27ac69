"""Errors that a user can fix, and cancellation.

The text of a `Refused` names the field, the value and the fix. People see it as it is: ephemeral in
Slack, on standard error with exit status 2 in the terminal. For any other error the user gets a
reference number, and the operator gets the stack trace.
"""

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class Refused(Exception):
    """Refuse a request and say how to fix it.

    Parameters
    ----------
    message : str
        The problem and how to fix it.
    hint : str, optional
        Code of the command that helps. `workers.hints` writes it as a sentence.

    Examples
    --------
    >>> raise Refused("There is no model yet; train one.")
    Traceback (most recent call last):
    retention.errors.Refused: There is no model yet; train one.
    """

    def __init__(self, message: str = "", *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class BadInput(Refused):
    """Refuse an unusable value.

    Parameters
    ----------
    message : str
        The problem and how to fix it.
    field : str, optional
        The field with the value. A form shows the message under its input.
    hint : str, optional
        As of `Refused`.

    Examples
    --------
    >>> BadInput("k is 0; give a whole number from 1.", field="k").field
    'k'
    """

    def __init__(
        self, message: str = "", *, field: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.field = field


def unknown_name(
    name: str,
    known: Sequence[str],
    similar: str,
    other: str,
    *,
    field: str | None = None,
    hint: str | None = None,
    **values: str,
) -> BadInput:
    """Return the refusal of a name that nothing has.

    `similar`: the message if a known name is similar, with ``{nearest}``; `other`: if none is.
    """
    nearest = difflib.get_close_matches(name.lower(), known, 1)
    message = similar if nearest else other
    text = message.format(name=name, nearest="".join(nearest), **values)
    return BadInput(text, field=field, hint=hint)


class BadFields(BadInput):
    """Refuse the unusable values of several fields together."""

    def __init__(self, errors: Sequence[BadInput]) -> None:
        super().__init__(" ".join(map(str, errors)), field=errors[0].field)
        self.errors = tuple(errors)


class FieldErrors:
    """Collect the errors of a form's fields to raise them together.

    The first error of a field counts, because later ones may follow from it.

    Examples
    --------
    >>> errors = FieldErrors()
    >>> with errors.collect():
    ...     raise BadInput("The name is empty.", field="name")
    >>> with errors.collect():
    ...     raise BadInput("The budget is negative.", field="budget")
    >>> errors.raise_any()
    Traceback (most recent call last):
    retention.errors.BadFields: The name is empty. The budget is negative.
    """

    def __init__(self) -> None:
        self._by_field: dict[str, BadInput] = {}

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Collect an error of the block that names its field; raise any other."""
        try:
            yield
        except BadInput as error:
            for single in error.errors if isinstance(error, BadFields) else (error,):
                if single.field is None:
                    raise
                self._by_field.setdefault(single.field, single)

    def raise_any(self) -> None:
        """Raise the collected errors."""
        errors = list(self._by_field.values())
        if errors:
            raise errors[0] if len(errors) == 1 else BadFields(errors)


class NotAllowed(Refused):
    """Refuse a request that the user's role forbids.

    `needed`: the role that allows it; empty if another rule forbids it.

    Examples
    --------
    >>> NotAllowed("To approve you need approver.", people=["U1"]).people
    ('U1',)
    """

    def __init__(self, message: str = "", *, people: Sequence[str] = (), needed: str = "") -> None:
        super().__init__(message)
        self.people, self.needed = tuple(people), needed


class TooLittleData(Refused):
    """Refuse a request that needs more data.

    More history, customers or classes are needed than the data has.

    Examples
    --------
    >>> issubclass(TooLittleData, Refused)
    True
    """


class TooManyRequests(Refused):
    """Refuse a request beyond a user's limit. The message says when to try again."""


class Conflict(Refused):
    """Refuse a request because its target has changed. The user saw an earlier version."""


class Cancelled(BaseException):
    """Stop a job without publishing its result.

    A user cancelled it, or its lease was lost.

    It is a `BaseException`, because `except Exception` must not catch it.
    """
