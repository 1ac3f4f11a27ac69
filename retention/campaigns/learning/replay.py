"""Say what a changed policy file would have earned in past tests, before anybody approves it."""

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from retention.campaigns.learning.offer_log import LoggedTest, finished_tests, load_test
from retention.campaigns.learning.offer_rule import (
    HOLDOUT,
    OfferLog,
    estimate_value,
    predict_profit,
)
from retention.campaigns.lifecycle.spec import Body
from retention.db import Transaction
from retention.errors import TooLittleData
from retention.recommend.bandit.offpolicy import Estimate, effective_sample_size
from retention.risk.policy import Policy
from retention.risk.strategy import ANY, WIN_BACK, Rule
from retention.text import gettext
from retention.uplift.offer_effects import offer_kind

if TYPE_CHECKING:
    from retention.lake import Lake

UNKNOWN = -1  # the offer was in no variant, so nothing is known of it


@dataclass(frozen=True, slots=True)
class Part:
    """One test: its customers for whom both policies chose an arm that was drawn."""

    log: OfferLog
    predicted: np.ndarray
    targets: dict[str, np.ndarray]
    unknown: int
    changed: int


def replay(
    lake: "Lake",
    session: Transaction,
    policy: Policy,
    in_force: Policy,
    before: datetime,
    excluded: Collection[str] = (),
) -> dict[str, Any]:
    """Estimate what a policy would have earned in past tests, and what the one in force would.

    Returns: incremental profit per customer of ``file`` and ``in_force`` and their difference
    ``gain``, each by ``ips`` and ``dr``; ``customers`` of ``tests`` who are compared, ``changed``
    ones among them, ``effective``: how many customers the weights are worth, and ``unknown``
    customers whose offer by one of the two was never tested.
    Raises `TooLittleData`: nobody can be compared.
    """
    campaigns = finished_tests(session, before, excluded)
    loaded = [load_test(lake, session, campaign) for campaign in campaigns]
    parts = [_part(test, policy, in_force) for test in loaded if test and len(test.log.taken)]
    usable = [part for part in parts if len(part.log.taken) and part.log.has_enough]
    unknown = sum(part.unknown for part in parts)
    if not usable:
        text = gettext(
            "There are {tests} finished tests of offers, and none has enough buyers for whom the "
            "file has an offer that was tested ({unknown:,} customers have another one). Test the "
            "offers of the file first: `campaign variants`."
        )
        raise TooLittleData(text.format(tests=len(campaigns), unknown=unknown))
    weights = [
        effective_sample_size(part.log.logged, part.log.of_taken(part.targets["file"]))
        for part in usable
    ]
    return {
        "tests": len(usable),
        "customers": sum(len(part.log.taken) for part in usable),
        "changed": sum(part.changed for part in usable),
        "unknown": unknown,
        "effective": round(sum(weights), 1),
        **{name: _values(usable, name) for name in ("file", "in_force", "gain")},
    }


def _part(test: LoggedTest, policy: Policy, in_force: Policy) -> Part:
    new, old = (_arms(test, one, in_force) for one in (policy, in_force))
    is_known = (new != UNKNOWN) & (old != UNKNOWN)
    log = test.log.select(is_known)
    identity = np.eye(test.log.chances.shape[1])
    targets = {"file": identity[new[is_known]], "in_force": identity[old[is_known]]}
    predicted = predict_profit(log)[0] if len(log.taken) else np.zeros(log.chances.shape)
    changed = int((new != old)[is_known].sum())
    return Part(log, predicted, targets, int((~is_known).sum()), changed)


def _arms(test: LoggedTest, policy: Policy, in_force: Policy) -> np.ndarray:
    """Return the arm that has the offer of a policy for each customer (n,)."""
    kind = Body.of(test.campaign).kind
    arms: dict[tuple[Any, ...], int] = {}
    rows = [(rule, *one) for rule, one in zip(test.log.groups, _terms(test), strict=True)]
    for row in set(rows):
        rule = row[0]
        if kind == WIN_BACK:
            own = _rule_for(row, policy, in_force)
        else:
            own = policy.for_kind(kind, rule).rules[0]
        arms[row] = _arm_of(own, test.kinds[rule])
    return np.array([arms[row] for row in rows], dtype=int)


def _terms(test: LoggedTest) -> Iterable[tuple[Any, ...]]:
    return test.terms[["tier", "value", "reason"]].itertuples(index=False, name=None)


def _rule_for(row: tuple[Any, ...], policy: Policy, in_force: Policy) -> Rule | None:
    """Return a customer's rule by a policy.

    Only the most important reason is stored. Where the policy in force does not lead from it to the
    rule that decided, the rule of that name counts.
    """
    name, tier, value, reason = row
    decided = in_force.rule(name)
    listed = decided is not None and "listed" in decided.tiers
    reasons = [] if reason in (None, "none") else [reason]

    def by(one: Policy) -> Rule | None:
        return one.rule_for(tier, reasons, value or ANY, is_listed=listed)

    return by(policy) if decided is not None and by(in_force) == decided else policy.rule(name)


def _arm_of(rule: Rule | None, kinds: tuple[str, ...]) -> int:
    if rule is None or rule.action == "nothing":
        return HOLDOUT
    kind = offer_kind(rule.model_dump())
    return 1 + kinds.index(kind) if kind in kinds else UNKNOWN


def _values(parts: list[Part], name: str) -> dict[str, Any]:
    """Combine the estimates of all tests, each with the share of its customers."""
    combined = {}
    for method in ("ips", "dr"):
        estimates = []
        for part in parts:
            nobody = np.zeros(part.predicted.shape)
            nobody[:, HOLDOUT] = 1.0
            one, other = {
                "file": (part.targets["file"], nobody),
                "in_force": (part.targets["in_force"], nobody),
                "gain": (part.targets["file"], part.targets["in_force"]),
            }[name]
            predicted = part.predicted if method == "dr" else np.zeros(part.predicted.shape)
            estimates.append(estimate_value(part.log, one - other, predicted))
        shares = np.array([len(part.log.taken) for part in parts], float)
        shares /= shares.sum()
        values = np.array([(one.value, one.low, one.high) for one in estimates]).T
        value, middle = shares @ values[0], shares @ (values[1] + values[2]) / 2
        half = float(np.sqrt(np.square(shares * (values[2] - values[1]) / 2).sum()))
        combined[method] = asdict(
            Estimate(float(value), float(middle - half), float(middle + half))
        )
    return combined
