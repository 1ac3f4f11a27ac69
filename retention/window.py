"""The horizon and the activity window of a definition of churn."""

from typing import Literal, NamedTuple

# What a customer does who has not churned. The lake stores each of them as a purchase.
Means = Literal["order", "renewal", "activity"]


class Window(NamedTuple):
    """Churn is no order within the horizon, among customers with a recent order.

    `active_within_days`: customers with an order in these days before a moment are active. None:
    all who ever ordered.
    """

    horizon_days: int = 28
    active_within_days: int | None = 56


DEFAULT = Window()
