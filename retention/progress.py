"""Progress of counted work: how a long computation says how far it is, and learns that it must stop."""

from typing import Protocol


class Progress(Protocol):
    """Called with the units of work done, the units in all, and what is being done, in a person's words.

    May raise `retention.errors.Cancelled`: call it often (at least about once a second of work), between steps
    after which nothing is half-written.
    """

    def __call__(self, done: int, total: int, what: str) -> None: ...


def silent(done: int, total: int, what: str) -> None:
    """Say nothing."""


def part(progress: Progress, start: int, of: int, span: int = 1) -> Progress:
    """Fit a sub-task's own progress into units `start … start + span` of a larger task of `of` units.

    The larger task is counted in thousandths, so that the bar moves within a unit.
    """

    def inner(done: int, total: int, what: str) -> None:
        share = done / total if total else 1.0
        progress(round(1000 * (start + span * share)), 1000 * of, what)

    return inner
