"""Choose the chances of a test's variants from the results of earlier tests.

The version stores the chances, so the approver sees exactly what is drawn. The bot uses this
module: it loads no library for models.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from random import Random
from typing import Any

from sqlalchemy import select

from retention.campaigns.lifecycle.closing import uninformative_campaigns
from retention.campaigns.lifecycle.spec import Body
from retention.db import Transaction
from retention.db.tables import Campaign

DRAWS = 4_000  # of the chance that an offer is the best; its own error is below .01
Evidence = dict[tuple[str, float], tuple[float, float]]  # value and error by rule and discount


def with_chances(session: Transaction, body: Body) -> Body:
    """Return a version whose test draws what earned most in earlier tests more often."""
    test = body.test
    if test is None or (test.explore == 1 and not test.chances):
        return body
    known = past_evidence(session) if test.explore < 1 else {}
    chances = {}
    for line in body.coupons:
        keys = [(line.rule, round(one, 4)) for one in test.discounts(line.discount)]
        results = [known[key] for key in keys if key in known]
        if len(results) == len({*keys}) == len(keys):
            chances[line.rule] = best_chances(results, test.explore)
    return body.model_copy(update={"test": test.model_copy(update={"chances": chances})})


def best_chances(results: Sequence[tuple[float, float]], explore: float) -> tuple[float, ...]:
    """Return the chance of each offer: Thompson sampling, mixed with an even draw.

    `results`: what each offer earned, and the standard error of that.
    `explore`: share of the customers that are drawn evenly.
    Returns: multiples of 1%, so that people approve what is drawn.

    Examples
    --------
    >>> best_chances([(1.0, 0.1), (3.0, 0.1)], explore=0.3)
    (0.15, 0.85)
    """
    random = Random(0)  # noqa: S311 - no secret
    places = range(len(results))
    wins: Counter[int] = Counter()
    for _ in range(DRAWS):
        drawn = [random.gauss(*result) for result in results]
        wins[drawn.index(max(drawn))] += 1
    even = explore / len(results)
    chances = [round(even + (1 - explore) * wins[place] / DRAWS, 2) for place in places]
    rest = 1 - sum(chances)
    best = max(places, key=chances.__getitem__)
    return tuple(round(one + rest * (place == best), 2) for place, one in enumerate(chances))


def past_evidence(session: Transaction) -> Evidence:
    """Return what each offer earned per customer of a rule, over all closed tests."""
    closed = select(Campaign.result).where(
        Campaign.team_id == session.settings.team_id,
        Campaign.state == "closed",
        Campaign.id.not_in(uninformative_campaigns(session)),
    )
    results = session.scalars(closed.order_by(Campaign.id))
    learned = [((result or {}).get("offers") or {}).get("groups", ()) for result in results]
    return combine(group for groups in learned for group in groups)


def combine(groups: Iterable[dict[str, Any]]) -> Evidence:
    """Combine the results of each offer by their precision."""
    sums: dict[tuple[str, float], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for group in groups:
        if group["error"] > 0:
            weight, total = group["error"] ** -2, sums[group["group"], round(group["discount"], 4)]
            total[0] += weight * group["value"]
            total[1] += weight
    return {key: (value / weight, weight**-0.5) for key, (value, weight) in sums.items()}
