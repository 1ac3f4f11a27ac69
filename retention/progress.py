"""Report the progress of counted work and allow cancellation."""

from typing import Protocol


class Progress(Protocol):
    """Callback for progress.

    It gets units done, units in all, and a short description of the step.

    It may raise `retention.errors.Cancelled`. Call it about once a second, between steps that leave
    nothing half-written.
    """

    def __call__(self, done: int, total: int, what: str) -> None: ...


def silent(done: int, total: int, what: str) -> None:
    """Report nothing.

    Parameters
    ----------
    done, total : int
        Finished units, and all units.
    what : str
        Description of the step.
    """


def part(progress: Progress, start: int, of: int, span: int = 1) -> Progress:
    """Map a sub-task's progress to a larger task.

    The sub-task covers units `start … start + span` of `of` units.

    The larger task counts in thousandths, so the bar moves within a unit.

    Parameters
    ----------
    progress : Progress
        Of the larger task.
    start, span : int
        First unit and number of units of the sub-task.
    of : int
        Units of the larger task.
    """

    def inner(done: int, total: int, what: str) -> None:
        share = done / total if total else 1.0
        progress(round(1000 * (start + span * share)), 1000 * of, what)

    return inner
