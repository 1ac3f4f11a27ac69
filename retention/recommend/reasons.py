"""Why an item is on the list, in a few words that are true."""

import math
from collections.abc import Mapping
from typing import Any

from retention.templating import count

CATALOGUE = "in the catalogue; nobody has bought it yet"
ALIKE = "popular with customers like them"
TO_NEWCOMERS = {
    "social": "liked by people they know",
    "popular_segment": "popular with customers of the same region or channel",
}
REGULAR = 3  # purchases on different days from which "usually every … days" is fair to say


def days(number: float) -> str:
    """``days(1)`` → ``1 day``."""
    return count(round(number), "day")


def own(line: Mapping[str, Any]) -> tuple[str, str]:
    """Source and reason where the customer's own history of the item explains it; two empty strings where not.

    Parameters
    ----------
    line : mapping
        ``purchase_days``, ``gap_days`` and ``days_since_purchase`` as in `preferences`; ``carts`` and ``views``, and the days
        since the last of each: whatever else happened to the item later says nothing of when it was put in the cart.
    """
    times = int(line["purchase_days"])
    if times >= REGULAR:
        return (
            "buy_again",
            f"usually every {days(line['gap_days'])}, last {_ago(line['days_since_purchase'])}",
        )
    if times:
        often = "once" if times == 1 else "twice"
        return "buy_again", f"bought {often}, last {_ago(line['days_since_purchase'])}"
    if line["carts"]:
        return "cart", f"put in the cart {_ago(line['days_since_cart'])}, not bought yet"
    if line["views"]:
        often = {1: "once", 2: "twice"}.get(int(line["views"]), count(line["views"], "time"))
        return "viewed", f"viewed {often}, last {_ago(line['days_since_view'])}"
    return "", ""


def because(title: str, line: Mapping[str, Any]) -> str:
    """The reason of a collaborative recommendation: what they did with the item of this title, by its ``purchase_days``, ``carts`` and ``views``."""
    if line["purchase_days"]:
        return f"because they bought {title}"
    if line["carts"]:
        return f"because they put {title} in the cart"
    return f"because they {'looked at' if line['views'] else 'showed interest in'} {title}"


def new_item(title: str) -> str:
    """The reason of an item that nobody or hardly anybody has bought yet."""
    return f"new, and much like {title}"


def popular(buyers: int, within: int | None) -> str:
    """How many bought it."""
    when = "so far" if within is None else f"in the last {within} days"
    return (
        f"popular: {count(buyers, 'customer')} bought it {when}"
        if buyers
        else "suggested for lack of a better one"
    )


def _ago(number: float) -> str:
    whole = math.floor(number)  # days that have passed, as in the reasons for churn
    return "today" if whole <= 0 else "yesterday" if whole == 1 else f"{whole} days ago"
