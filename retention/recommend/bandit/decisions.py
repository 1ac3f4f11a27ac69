"""Load logged decisions and evaluate the bandit."""

import zlib
from collections.abc import Collection, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sqlalchemy import select

from retention.db import Transaction
from retention.db.tables import Assignment, Campaign
from retention.errors import BadInput, TooLittleData
from retention.recommend.bandit import offpolicy, thompson
from retention.recommend.responses import current_ids, load_responses
from retention.text import gettext

if TYPE_CHECKING:
    from retention.lake import Lake

CLICK_REWARD = 0.2  # of a purchase or redemption
MIN_DECISIONS = 100
MIN_EXPLORED = 10  # decisions by another arm than the policy's own
FOLDS = 5
COLUMNS = (
    "campaign_id",
    "customer_id",
    "tier",
    "churn_probability",
    "expected_value",
    "rule",
    "arm",
    "propensity",
    "discount",
    "margin",
)


def logged_decisions(
    lake: "Lake", session: Transaction, before: datetime, excluded: Collection[str]
) -> "pd.DataFrame":
    """Load decisions of finished campaigns with their rewards.

    `excluded`: ids of campaigns without a usable result
    (`retention.campaigns.lifecycle.closing.uninformative_campaigns`).
    Returns: one line per customer reached with a logged probability: `COLUMNS` and ``reward``. The
    reward is 1 for a purchase of a listed item or a redemption, 0.2 for a click only, times the
    share of the margin left after the discount, times the share of items without a "not for them".
    """
    rows = session.execute(
        select(Assignment, Campaign.body)
        .join(Campaign, Campaign.id == Assignment.campaign_id)
        .where(
            Campaign.team_id == session.settings.team_id,
            Assignment.arm == "treatment",
            Campaign.sent_at.is_not(None),
            Campaign.window_ends_at <= before,
            Campaign.id.not_in(excluded),
        )
        .order_by(Campaign.sent_at, Assignment.campaign_id, Assignment.customer_id)
    )
    decided = [
        (
            *(getattr(assignment, name) for name in COLUMNS[:5]),
            assignment.offer["rule"],
            assignment.offer.get("arm", ""),
            assignment.offer["propensity"],
            assignment.offer.get("discount") or 0.0,
            body.get("margin") or 0.0,
        )
        for assignment, body in rows
        if assignment.offer.get("propensity")
    ]
    frame = pd.DataFrame(decided, columns=list(COLUMNS))
    shown = load_responses(lake, session, before)
    people = lake.identities.canonical_ids(before)
    key = ["campaign_id", "customer_id"]
    frame["customer_id"] = current_ids(frame["customer_id"], people)
    by_customer = shown.rename(columns={"shown_in": "campaign_id"}).groupby(key)
    responses = by_customer.agg(
        bought=("bought", "max"),
        redeemed=("redeemed", "max"),
        clicked=("clicked", "max"),
        wrong=("wrong", lambda numbers: float((numbers > 0).mean())),
    )
    response = frame[key].join(responses, on=key).fillna(0.0)
    value = np.maximum(
        (response["bought"] > 0) | (response["redeemed"] > 0),
        CLICK_REWARD * (response["clicked"] > 0),
    )
    discount_share = frame["discount"] / frame["margin"].where(frame["margin"] > 0)
    margin_left = (1 - discount_share).clip(0, 1).fillna(1.0)
    reward = value * margin_left * (1 - response["wrong"].astype(float))
    return frame.assign(reward=reward.astype(float))


def evaluate_bandit(lines: "pd.DataFrame", policy: "thompson.OfferPolicy") -> dict[str, Any]:
    """Evaluate the bandit on logged decisions by cross-fitting.

    The bandit of each fold is fitted without the customers of that fold.

    Returns: JSON of ``retention evaluate bandit``: estimated reward per decision of the bandit and
    of the logging policy. The bandit ``may_act`` if the lower bound of its reward exceeds the
    logging policy's.
    """
    lines, arms, taken = _known_decisions(lines, policy)
    explored = int((taken != arms.own).sum())
    if len(lines) < MIN_DECISIONS or explored < MIN_EXPLORED:
        raise TooLittleData(
            gettext(
                "There are {count:,} decisions with a logged chance, {explored:,} of them by "
                "another arm than the policy's own; judging the bandit takes {min_decisions} and "
                "{min_explored}. Until then keep `recommend.bandit` false and "
                "`recommend.experiment` above 0, and send campaigns."
            ).format(
                count=len(lines),
                explored=explored,
                min_decisions=MIN_DECISIONS,
                min_explored=MIN_EXPLORED,
            )
        )
    reward, logged = lines["reward"].to_numpy(float), lines["propensity"].to_numpy(float)
    features = thompson.context_features(lines)
    fold = np.array([zlib.crc32(customer.encode()) % FOLDS for customer in lines["customer_id"]])
    target, predicted = np.zeros(arms.allowed.shape), np.zeros(arms.allowed.shape)
    for number in range(FOLDS):
        inside, rest = fold == number, fold != number
        posterior = thompson.fit_posterior(
            features[rest], taken[rest], reward[rest], len(arms.names)
        )
        target[inside] = posterior.chances(
            features[inside], arms.allowed[inside], explore=policy.recommend.experiment, seed=number
        )
        predicted[inside] = posterior.expected_rewards(features[inside])
    target_taken = target[np.arange(len(taken)), taken]
    logging = offpolicy.mean_reward(reward)
    estimates = {
        "ips": offpolicy.ips(reward, logged, target_taken),
        "snips": offpolicy.snips(reward, logged, target_taken),
        "dr": offpolicy.doubly_robust(reward, taken, logged, target, predicted),
    }
    return {
        "decisions": len(lines),
        "logging": asdict(logging),
        "estimates": {name: asdict(estimate) for name, estimate in estimates.items()},
        "effective": round(offpolicy.effective_sample_size(logged, target_taken), 1),
        "arms": _arm_summaries(arms, taken, reward, target),
        "may_act": estimates["dr"].low > logging.value,
    }


def fit_bandit(lines: "pd.DataFrame", policy: "thompson.OfferPolicy") -> thompson.Posterior:
    """Fit the posterior on all decisions."""
    arm_names = thompson.arm_names(policy)
    taken = thompson.arm_positions(arm_names, lines["arm"])
    is_known = taken >= 0
    return thompson.fit_posterior(
        thompson.context_features(lines)[is_known],
        taken[is_known],
        lines["reward"].to_numpy(float)[is_known],
        len(arm_names),
    )


def require_improvement(evaluation: Mapping[str, Any]) -> None:
    """Check that the bandit is surely better."""
    if not evaluation["may_act"]:
        low, value = evaluation["estimates"]["dr"]["low"], evaluation["logging"]["value"]
        text = gettext(
            "The policy says recommend.bandit = true, but on {decisions:,} logged "
            "decisions its reward is only surely above {low:.4f}, and the lists as they "
            "are earned {value:.4f}; set it to false until `retention evaluate bandit` "
            "says that it may act."
        )
        raise BadInput(text.format(decisions=evaluation["decisions"], low=low, value=value))


def _known_decisions(
    lines: "pd.DataFrame", policy: "thompson.OfferPolicy"
) -> "tuple[pd.DataFrame, thompson.Arms, np.ndarray]":
    """Select decisions of known rules and arms. The policy file must still have both."""
    is_known = (thompson.eligible_arms(lines, policy).own >= 0) & (
        thompson.arm_positions(thompson.arm_names(policy), lines["arm"]) >= 0
    )
    lines = lines[is_known].reset_index(drop=True)
    arms = thompson.eligible_arms(lines, policy)
    taken = thompson.arm_positions(arms.names, lines["arm"])
    arms.allowed[np.arange(len(taken)), taken] = True
    return lines, arms, taken


def _arm_summaries(
    arms: thompson.Arms, taken: np.ndarray, reward: np.ndarray, target: np.ndarray
) -> list[dict[str, Any]]:
    """Report frequency and reward per arm. Arms never taken before or now are left out."""
    rewards, would_take = (
        [reward[taken == arm] for arm in range(len(arms.names))],
        target.mean(axis=0),
    )
    return [
        {
            "arm": name,
            "taken": len(earned),
            "reward": float(earned.mean()) if len(earned) else None,
            "would_take": round(float(share), 4),
        }
        for name, earned, share in zip(arms.names, rewards, would_take, strict=True)
        if len(earned) or share > 0
    ]
