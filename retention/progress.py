"""Report the progress of counted work and allow cancellation."""

from typing import Protocol

MIN_SHARE, MIN_SECONDS = 0.1, 4.0  # an earlier estimate of the time left would jump


class Progress(Protocol):
    """Callback for progress.

    It gets units done, units in all, and a short description of the step.

    It may raise `retention.errors.Cancelled`. Call it about once a second, between steps that leave
    nothing half-written.
    """

    def __call__(self, done: int, total: int, what: str) -> None: ...


def silent(done: int, total: int, what: str) -> None:
    """Report nothing.

    `done`, `total`: finished units, and all units.
    """


def part(progress: Progress, start: int, of: int, span: int = 1) -> Progress:
    """Map a sub-task's progress to a larger task.

    The sub-task covers units `start … start + span` of `of` units.

    The larger task counts in thousandths, so the bar moves within a unit.

    `start`, `span`: first unit and number of units of the sub-task.
    """

    def inner(done: int, total: int, what: str) -> None:
        share = done / total if total else 1.0
        progress(round(1000 * (start + span * share)), 1000 * of, what)

    return inner


def forward_only(progress: Progress) -> Progress:
    """Keep the highest share reached; the step's description stays up to date.

    Steps of one job count different units, so a later step may report a smaller share.

    `progress`: receives the highest ``done`` and ``total`` so far.
    """
    highest = (0, 0)

    def inner(done: int, total: int, what: str) -> None:
        nonlocal highest
        if not highest[1] or (total and done * highest[1] >= highest[0] * total):
            highest = (min(done, total), total)
        progress(*highest, what)

    return inner


def seconds_left(share: float, elapsed: float) -> float | None:
    """Estimate the time left from the measured pace.

    `share`: finished share of the work, 0 to 1.
    `elapsed`: seconds for that share.
    Returns: none until `MIN_SHARE` and `MIN_SECONDS` are reached, and at the end.
    """
    if share < MIN_SHARE or share >= 1 or elapsed < MIN_SECONDS:
        return None
    return elapsed * (1 - share) / share
