"""Made-up gift shops of several shapes, to compare churn models on.

The customers are not those of BG/NBD: many order once, some only before Christmas, wholesalers
order at regular intervals, and rates drift. Each Christmas has its own height and date. The same
shape and seed give the same shop.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from tests.shops import imported, with_returns

YEAR = 365.25
_KINDS = ("once", "regular", "christmas", "wholesale")
_CHRISTMAS = 335.0  # day of the year of most orders
_LINES_MAX = 5


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of gift shop.

    Parameters
    ----------
    customers, days : int
        Size of the shop and length of its history.
    opened : datetime
        First day of the data.
    horizon_days, active_within_days : int
        Definition of churn to evaluate.
    once : float
        Share of customers who order once only.
    growth : float
        Daily new customers at the end over those at the beginning.
    peak : float
        Height of Christmas above an ordinary day.
    promotion : (int, float) or None
        First day and height of three weeks that do not come again.
    """

    customers: int
    days: int
    opened: datetime
    horizon_days: int = 90
    active_within_days: int = 180
    once: float = 0.3
    growth: float = 1.0
    peak: float = 2.0
    promotion: tuple[int, float] | None = None

    @property
    def end(self) -> datetime:
        """First moment after the last event."""
        return self.opened + timedelta(days=self.days)


def _day(year: int, month: int, day: int) -> datetime:
    return datetime(year, month, day, tzinfo=UTC)


SHAPES = {
    "growth": Shape(2400, 720, _day(2022, 12, 20), growth=4.0),
    "one_christmas": Shape(1500, 530, _day(2023, 7, 10), horizon_days=28, active_within_days=84),
    "two_christmases": Shape(2200, 735, _day(2022, 12, 1)),
    "promotion": Shape(1500, 720, _day(2022, 11, 10), promotion=(520, 2.5)),
    "small": Shape(600, 730, _day(2022, 12, 1), horizon_days=60, active_within_days=180),
    "one_order": Shape(2500, 730, _day(2022, 12, 10), once=0.6),
}


def gift_shop(shape: str, seed: int) -> pd.DataFrame:
    """Generate the events of a gift shop.

    Parameters
    ----------
    shape : str
        A name of `SHAPES`.
    seed : int

    Returns
    -------
    pandas.DataFrame
        Order lines and returns in the columns of an import.
    """
    plan = SHAPES[shape]
    rng = np.random.default_rng([seed, *shape.encode()])
    speed, arrivals = _season(plan, rng)
    joined = _joined(plan, arrivals, rng)
    remaining = 1 - plan.once
    kind = rng.choice(
        len(_KINDS),
        plan.customers,
        p=[plan.once, 0.7 * remaining, 0.22 * remaining, 0.08 * remaining],
    )
    customer, day = _orders(plan, rng, speed, joined, kind)
    return _lines(plan, rng, customer, day, kind)


def _season(plan: Shape, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the speed of repeat orders and the new customers per day, (days,) each."""
    days = np.arange(plan.days)
    start = plan.opened.timetuple().tm_yday
    year, day = np.divmod(days + start, YEAR)
    years = int(year.max()) + 1
    variation = rng.uniform(0, 0.2)  # some shops' Christmases are alike, others are not
    height = plan.peak * np.exp(rng.normal(0, variation, years))[year.astype(int)]
    centre = _CHRISTMAS + rng.normal(0, 4, years)[year.astype(int)]
    christmas = height * np.exp(-0.5 * ((day - centre) / 24) ** 2)
    spring = 0.3 * plan.peak * np.exp(-0.5 * ((day - 80) / 18) ** 2) * rng.uniform(0, 1)
    slow_january = 1 - 0.3 * np.exp(-0.5 * ((day - 20) / 18) ** 2)
    level = np.exp(np.cumsum(rng.normal(0, rng.uniform(0, 0.006), plan.days)))
    speed = (0.8 + christmas + spring) * slow_january * level
    if plan.promotion:
        begin, height_once = plan.promotion
        speed = speed * np.where((days >= begin) & (days < begin + 21), height_once, 1.0)
    arrivals = (0.7 + 0.6 * (christmas + spring)) * plan.growth ** (days / plan.days)
    return speed, arrivals


def _joined(plan: Shape, arrivals: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the day of each customer's first order in the data, (customers,)."""
    share_old = 0.3 / plan.growth  # were customers before the data begin
    joined = rng.choice(plan.days, plan.customers, p=arrivals / arrivals.sum())
    joined = joined + rng.uniform(0, 1, plan.customers)
    is_old = rng.random(plan.customers) < share_old
    return np.where(is_old, rng.exponential(40, plan.customers) % plan.days, joined)


def _orders(
    plan: Shape, rng: np.random.Generator, speed: np.ndarray, joined: np.ndarray, kind: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return customer and day of each order, (orders,) each, first orders included."""
    days = np.arange(plan.days)
    name = np.array(_KINDS)[kind]
    rate = np.where(name == "wholesale", rng.gamma(4, 1 / 100, len(kind)), 0)
    rate = np.where(name == "regular", rng.gamma(0.9, 1 / 75, len(kind)), rate)
    rate = np.where(name == "christmas", rng.gamma(2, 1 / 30, len(kind)), rate)
    lifetime = rng.exponential(np.where(name == "wholesale", 700, 420))
    # some leave after each of the first orders, independent of time
    fades = rng.gamma(1.0, 1 / 900, len(kind))
    day_of_year = (days + plan.opened.timetuple().tm_yday) % YEAR
    is_autumn = np.exp(-0.5 * ((day_of_year - (_CHRISTMAS - 8)) / 20) ** 2)
    customers, moments = [np.arange(len(kind))], [joined]
    for begin in range(0, plan.days, 120):  # in blocks: a table of customers and days is large
        block = days[begin : begin + 120]
        age = block - joined[:, None]
        is_open = (age > 1) & (age < lifetime[:, None])
        tempo = np.where(
            (name == "christmas")[:, None], is_autumn[block] + 0.02, speed[block][None, :]
        )
        tempo = np.where((name == "wholesale")[:, None], 0.5 + 0.5 * speed[block], tempo)
        intensity = rate[:, None] * tempo * np.exp(-fades[:, None] * np.maximum(age, 0)) * is_open
        who, which = np.nonzero(rng.random(intensity.shape) < 1 - np.exp(-intensity))
        customers.append(who)
        moments.append(block[which] + rng.uniform(0, 1, len(who)))
    customer, day = np.concatenate(customers), np.concatenate(moments)
    return _regular_wholesale(customer, day, name)


def _regular_wholesale(
    customer: np.ndarray, day: np.ndarray, name: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Drop wholesale orders within twelve days of the one before, so that gaps are regular."""
    order = np.lexsort([day, customer])
    customer, day = customer[order], day[order]
    is_same = np.r_[False, customer[1:] == customer[:-1]]
    gap = np.r_[np.inf, np.diff(day)]
    is_kept = ~(is_same & (gap < 12) & (name[customer] == "wholesale"))
    return customer[is_kept], day[is_kept]


def _lines(
    plan: Shape, rng: np.random.Generator, customer: np.ndarray, day: np.ndarray, kind: np.ndarray
) -> pd.DataFrame:
    """Return lines of the orders; 3 % are returned."""
    is_wholesale = kind[customer] == _KINDS.index("wholesale")
    is_christmas = kind[customer] == _KINDS.index("christmas")
    repeats = rng.integers(1, _LINES_MAX, len(customer)) + 3 * is_wholesale
    orders = pd.DataFrame({"customer": customer, "day": day, "order": np.arange(len(customer))})
    lines = orders.loc[orders.index.repeat(repeats)].reset_index(drop=True)
    wholesale, christmas = np.repeat(is_wholesale, repeats), np.repeat(is_christmas, repeats)
    typical = np.exp(rng.normal(0, 0.4, len(kind)))[lines.customer]
    lines["amount"] = np.round(
        rng.gamma(3.0, 5.0, len(lines)) * typical * np.where(wholesale, 4, 1) + 1, 2
    )
    lines["item"] = np.where(
        christmas & (rng.random(len(lines)) < 0.5),
        rng.integers(0, 8, len(lines)),
        rng.integers(0, 60, len(lines)),
    )
    events = with_returns(rng, lines, 0.03, plan.days)
    events = events[events.day < plan.days]
    return imported(plan.opened, events, events["item"])
