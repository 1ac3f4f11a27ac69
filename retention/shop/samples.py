"""Made-up data to try the library with."""

import numpy as np
import pandas as pd

DAYS = 180
_NAMES = ("Espresso", "Filter", "Decaf", "Green tea", "Black tea", "Mug", "Grinder", "Kettle")
_SIZES = ("250 g", "500 g", "1 kg")


def sample_orders(customers: int = 200, *, seed: int = 0) -> "pd.DataFrame":
    """Make up the orders of a coffee shop.

    Customers order in a rhythm of their own, until they stop.

    Parameters
    ----------
    customers : int
    seed : int
        The same seed makes the same orders.

    Returns
    -------
    pandas.DataFrame
        A row per order line: order_id, customer_id, ordered_at (text, without a time zone), item,
        quantity, price (of one piece).

    Raises
    ------
    ValueError
        If ``customers`` is negative.

    Examples
    --------
    >>> import retention
    >>> retention.sample_orders(customers=3).columns.tolist()
    ['order_id', 'customer_id', 'ordered_at', 'item', 'quantity', 'price']
    """
    rng = np.random.default_rng(seed)
    is_early = rng.random(customers) < 0.5
    joined = np.where(is_early, rng.uniform(0, 20, customers), rng.uniform(0, 140, customers))
    gap = rng.gamma(2, 7, customers) + 4
    stops = joined + rng.exponential(180, customers)
    items = [f"{name} {size}" for name in _NAMES for size in _SIZES]
    price = np.round(rng.uniform(4, 30, len(items)), 2)
    rows = []
    for customer in range(customers):
        favourites = rng.choice(len(items), 4, replace=False)
        at = joined[customer]
        while at < min(DAYS, stops[customer]):
            moment = pd.Timestamp("2024-01-01") + pd.Timedelta(days=at)
            rows += [
                (at, customer, moment, item, int(rng.integers(1, 4)))
                for item in rng.choice(favourites, rng.integers(1, 3), replace=False)
            ]
            at += gap[customer] * rng.gamma(8, 1 / 8)
    rows.sort(key=lambda row: row[:2])
    lines = pd.DataFrame(rows, columns=["at", "customer", "moment", "item", "quantity"])
    number = lines.groupby(["at", "customer"], sort=False).ngroup()
    return pd.DataFrame(
        {
            "order_id": number.map("A{:05d}".format),
            "customer_id": lines["customer"].map("c{:04d}".format),
            "ordered_at": lines["moment"].dt.strftime("%Y-%m-%d %H:%M"),
            "item": lines["item"].map(dict(enumerate(items))),
            "quantity": lines["quantity"],
            "price": lines["item"].map(dict(enumerate(price))),
        }
    )


def sample_campaign(customers: int = 4000, *, seed: int = 0) -> "pd.DataFrame":
    """Make up a randomised campaign with a known effect.

    A third is held out. The offer brings back customers who were silent for one to three months;
    it changes nothing for the others.

    Parameters
    ----------
    customers : int
    seed : int
        The same seed makes the same campaign.

    Returns
    -------
    pandas.DataFrame
        A row per customer: silent_days, orders, spent, channel, sent (0 or 1) and visit (0 or 1).

    Raises
    ------
    ValueError
        If ``customers`` is negative.

    Examples
    --------
    >>> import retention
    >>> campaign = retention.sample_campaign()
    >>> campaign.groupby("sent").visit.mean().round(2).tolist()
    [0.25, 0.33]
    """
    rng = np.random.default_rng(seed)
    silent = rng.exponential(50, customers).round()
    orders = rng.geometric(0.3, customers)
    spent = np.round(orders * rng.gamma(4, 8, customers), 2)
    sent = (rng.random(customers) < 2 / 3).astype(int)
    usual = 0.12 + 0.25 * np.exp(-silent / 30) + 0.01 * np.minimum(orders, 10)
    effect = np.where((silent >= 30) & (silent < 90), 0.22, 0.0)
    visit = (rng.random(customers) < usual + sent * effect).astype(int)
    return pd.DataFrame(
        {
            "silent_days": silent,
            "orders": orders,
            "spent": spent,
            "channel": rng.choice(["web", "app", "store"], customers),
            "sent": sent,
            "visit": visit,
        }
    )
