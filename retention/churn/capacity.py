"""How many customers a list has, and the risk tiers that follow from it."""

import numpy as np

SHARE, LEAST, MOST = 0.02, 50, 500  # of the scored customers, and customers
MOST_SHARE, TINY = 0.15, 10


def list_size(scored: int, customers: int | None = None) -> int:
    """Return how many of the scored customers a team's list has.

    ``customers`` is what a policy file states; it is at most all of them.

    Examples
    --------
    >>> [list_size(scored) for scored in (6, 40, 200, 1_000, 4_000, 90_000)]
    [6, 10, 30, 50, 80, 500]
    """
    if customers is None:
        most = max(int(MOST_SHARE * scored), TINY)
        customers = min(max(round(SHARE * scored), LEAST), MOST, most)
    return min(customers, scored)


def derived_tiers(probabilities: np.ndarray, customers: int | None = None) -> dict[str, float]:
    """Return the churn probabilities at which a shop's tiers begin.

    Medium begins at the mean, so it says "more than usual". High begins so far above it that as
    many customers are in it as a list has; ``customers`` is its stated size.
    """
    medium = float(np.clip(probabilities.mean(), 0.001, 0.998))
    above = np.sort(probabilities[probabilities > medium])[::-1]
    if not len(above):
        return {"high": round((1 + medium) / 2, 4), "medium": round(medium, 4)}
    last = above[min(list_size(len(probabilities), customers), len(above)) - 1]
    medium = round(medium, 4)
    high = float(np.floor(1e4 * last) / 1e4)  # rounded up, it would leave out the last one
    return {"high": max(high, round(medium + 1e-4, 4)), "medium": medium}
