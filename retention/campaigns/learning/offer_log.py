"""Load who got which offer in tests, with its chance, and what they earned."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sqlalchemy import select

from retention.campaigns.learning.offer_rule import HOLDOUT, OfferLog
from retention.campaigns.lifecycle.spec import Body
from retention.campaigns.measurement.outcomes import Outcomes, collect_outcomes
from retention.db import Transaction
from retention.db.tables import Assignment, Campaign
from retention.uplift.offer_effects import offer_kind

if TYPE_CHECKING:
    from retention.lake import Lake

MAX_TESTS = 12  # the newest ones that a result is learned from
OfferKinds = Mapping[str, tuple[str, ...]]  # by rule, the kind of offer of each variant


@dataclass(frozen=True, slots=True)
class LoggedTest:
    """One test: its customers, and the kind of offer of each variant.

    ``terms``: ``tier``, ``value``, ``reason`` and ``consent`` of each customer, as their rule was
    chosen by.
    """

    campaign: Campaign
    log: OfferLog
    kinds: OfferKinds
    terms: pd.DataFrame


def load_test(
    lake: "Lake", session: Transaction, campaign: Campaign, outcomes: Outcomes | None = None
) -> LoggedTest | None:
    """Load the customers of a campaign's test; None without one.

    A test of discounts has the customers with a coupon only. Customers of the rest, who got the
    winner later, are left out.
    """
    body = Body.of(campaign)
    if (test := body.test) is None:
        return None
    lines = body.coupons if test.varies_discount else body.offers
    kinds = {
        line.rule: tuple(
            offer_kind({**line.model_dump(), "amount": line.face, "discount": discount})
            for discount in test.discounts(line.discount)
        )
        for line in lines
        if line.action != "call"
    }
    outcomes = outcomes or collect_outcomes(lake, session, campaign)
    rows = _assignments(session, campaign.id, list(kinds))
    earned = outcomes.customers.set_index("customer_id")
    rows = rows[rows["customer_id"].isin(earned.index)].reset_index(drop=True)
    if rows.empty:  # all were erased, for example
        return None
    earned = earned.loc[rows["customer_id"]]
    place = {name: at + 1 for at, name in enumerate(test.names)}
    treated = rows["treated_share"].to_numpy(float)[:, None]
    by_rule = np.array([test.chances_of(rule) for rule in rows["rule"]]).reshape(len(rows), -1)
    chances = np.hstack([1 - treated, treated * test.share * by_rule])
    value = rows["expected_value"].to_numpy(float)
    earlier = earned[["pre_profit", "pre_orders"]].to_numpy(float)
    features = [rows["churn_probability"], np.log1p(value.clip(0)), rows["tier"] == "high"]
    log = OfferLog(
        customers=rows["customer_id"].to_numpy(str),
        groups=rows["rule"].to_numpy(str),
        taken=rows["variant"].map(place).fillna(HOLDOUT).to_numpy(int),
        chances=chances / chances.sum(axis=1, keepdims=True),
        profit=earned["profit"].to_numpy(float),
        bought=earned["buyers"].to_numpy(float) > 0,
        features=np.column_stack([*features, earlier]).astype(float),
        is_new=np.ones(len(rows), bool),
    )
    return LoggedTest(campaign, log, kinds, rows[["tier", "value", "reason", "consent"]])


def _assignments(session: Transaction, campaign_id: str, rules: list[str]) -> pd.DataFrame:
    """Load the customers with an offer of these rules who were drawn for a variant or held out."""
    rule = Assignment.offer["rule"].as_string()
    is_drawn = Assignment.variant_propensity.is_not(None) | (Assignment.arm == "control")
    found = session.scalars(
        select(Assignment)
        .where(
            Assignment.campaign_id == campaign_id,
            Assignment.arm.in_(("treatment", "control")),
            Assignment.propensity > 0,
            Assignment.propensity < 1,
            rule.in_(rules),
            is_drawn,
        )
        .order_by(Assignment.customer_id)
    )
    columns = ["customer_id", "tier", "churn_probability", "expected_value", "variant"]
    more = ["treated_share", "rule", "value", "reason", "consent"]
    return pd.DataFrame(
        [
            (
                *(getattr(one, name) for name in columns),
                one.propensity,
                one.offer["rule"],
                *((one.offer.get("segment") or {}).get(name) for name in ("value", "reason")),
                tuple(one.offer.get("consent") or ()),
            )
            for one in found
        ],
        columns=[*columns, *more],
    )


def finished_tests(
    session: Transaction, before: datetime, excluded: Collection[str]
) -> list[Campaign]:
    """Return the closed campaigns with a test whose window is over, the newest first.

    `excluded`: campaigns without a usable result (`uninformative_campaigns`).
    """
    closed = select(Campaign).where(
        Campaign.team_id == session.settings.team_id,
        Campaign.state == "closed",
        Campaign.window_ends_at <= before,
        Campaign.id.not_in(excluded),
    )
    campaigns = session.scalars(closed.order_by(Campaign.sent_at.desc(), Campaign.id))
    return [one for one in campaigns if Body.of(one).test is not None][:MAX_TESTS]


def pooled_log(newest: LoggedTest, earlier: Collection[LoggedTest]) -> OfferLog:
    """Add the customers of earlier tests whose rule had the same offers to the newest test's.

    Their variants are matched by the offer, not by the name. A test of texts alone stays alone.
    """
    logs = [newest.log]
    for test in earlier:
        same = {
            rule for rule, kinds in newest.kinds.items() if _are_same(kinds, test.kinds.get(rule))
        }
        log = test.log.select(np.isin(test.log.groups, sorted(same)))
        if not len(log.taken):
            continue
        # Column of the earlier test for each column of the newest one.
        order = np.array([_columns(newest.kinds[rule], test.kinds[rule]) for rule in log.groups])
        position = order.argsort(axis=1)
        rows = np.arange(len(log.taken))
        logs.append(
            OfferLog(
                log.customers,
                log.groups,
                position[rows, log.taken],
                np.take_along_axis(log.chances, order, axis=1),
                log.profit,
                log.bought,
                log.features,
                np.zeros(len(rows), bool),
            )
        )
    fields = OfferLog.__dataclass_fields__
    return OfferLog(*(np.concatenate([getattr(one, name) for one in logs]) for name in fields))


def _are_same(kinds: tuple[str, ...], others: tuple[str, ...] | None) -> bool:
    is_varied = len(set(kinds)) == len(kinds)
    return others is not None and is_varied and sorted(kinds) == sorted(others)


def _columns(kinds: tuple[str, ...], others: tuple[str, ...]) -> list[int]:
    return [HOLDOUT, *(1 + others.index(kind) for kind in kinds)]
