"""Load logged decisions and evaluate the bandit."""

import zlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from retention.db.tables import Assignment, Campaign
from retention.errors import BadInput, TooLittleData
from retention.recommend.bandit import offpolicy, thompson
from retention.recommend.responses import load_responses
from retention.settings import Settings
from retention.text import gettext

if TYPE_CHECKING:
    import pandas as pd

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
    "ended",
)


def logged_decisions(
    lake: "Lake", session: Session, settings: Settings, before: datetime, excluded: Collection[str]
) -> "pd.DataFrame":
    """Load decisions of finished campaigns with their rewards.

    Parameters
    ----------
    lake, session, settings
    before : datetime
        Business time; only campaigns whose window ended by then.
    excluded : collection of str
        Ids of campaigns without a usable result
        (`retention.campaigns.closing.uninformative_campaigns`).

    Returns
    -------
    DataFrame
        One line per customer reached with a logged probability: `COLUMNS` and ``reward``. The
        reward is 1 for a purchase of a listed item or a redemption, 0.2 for a click only, times the
        share of the margin left after the discount, times the share of items without a "not for
        them".
    """
    import pandas as pd

    rows = session.execute(
        select(Assignment, Campaign.body, Campaign.window_ends_at)
        .join(Campaign, Campaign.id == Assignment.campaign_id)
        .where(
            Campaign.team_id == settings.team_id,
            Assignment.arm == "treatment",
            Campaign.sent_at.is_not(None),
            Campaign.window_ends_at <= before,
            Campaign.id.not_in(excluded),
        )
        .order_by(Campaign.sent_at, Assignment.campaign_id, Assignment.customer_id)
    )
    decided = [
        (
            assignment.campaign_id,
            assignment.customer_id,
            assignment.tier,
            assignment.churn_probability,
            assignment.expected_value,
            assignment.offer["rule"],
            assignment.offer.get("arm", ""),
            assignment.offer["propensity"],
            assignment.offer.get("discount") or 0.0,
            body.get("margin") or 0.0,
            window_ended,
        )
        for assignment, body, window_ended in rows
        if assignment.offer.get("propensity")
    ]
    frame = pd.DataFrame(decided, columns=list(COLUMNS))
    shown = load_responses(lake, session, settings, before)
    people = lake.identities.canonical_ids(before)
    key = ["campaign_id", "customer_id"]
    frame["customer_id"] = frame["customer_id"].map(
        lambda customer_id: people.get(customer_id, customer_id)
    )
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
    margin_left = (
        (1 - frame["discount"] / frame["margin"].where(frame["margin"] > 0)).clip(0, 1).fillna(1.0)
    )
    return frame.assign(
        reward=(value * margin_left * (1 - response["wrong"].astype(float))).astype(float)
    )


@dataclass(frozen=True, slots=True)
class BanditEvaluation:
    """Hold the evaluation of the bandit.

    Parameters
    ----------
    data : dict
        Estimated reward per decision of the bandit and of the logging policy, as printed in JSON.
    """

    data: dict[str, Any]

    @property
    def may_act(self) -> bool:
        """Check that the bandit is surely better.

        Its lower bound must exceed the reward of the logging policy.
        """
        return bool(self.data["may_act"])


def evaluate_bandit(
    lines: "pd.DataFrame", policy: "thompson.OfferPolicy", *, seed: int = 0
) -> BanditEvaluation:
    """Evaluate the bandit on logged decisions by cross-fitting.

    The bandit of each fold is fitted without the customers of that fold.

    Parameters
    ----------
    lines : DataFrame
        From `logged_decisions`.
    policy : OfferPolicy
    seed : int

    Returns
    -------
    BanditEvaluation

    Raises
    ------
    TooLittleData
        Too few decisions, or only the policy's own arm was taken.
    """
    lines, arms, taken = _known_decisions(lines, policy)
    if len(lines) < MIN_DECISIONS or (taken != arms.own).sum() < MIN_EXPLORED:
        raise TooLittleData(
            gettext(
                "There are {count:,} decisions with a logged chance, {explored:,} of them by "
                "another arm than the policy's own; judging the bandit takes {min_decisions} and "
                "{min_explored}. Until then keep `recommend.bandit` false and "
                "`recommend.experiment` above 0, and send campaigns."
            ).format(
                count=len(lines),
                explored=int((taken != arms.own).sum()),
                min_decisions=MIN_DECISIONS,
                min_explored=MIN_EXPLORED,
            )
        )
    reward, logged = lines["reward"].to_numpy(float), lines["propensity"].to_numpy(float)
    features = thompson.context_features(lines)
    fold = np.array(
        [zlib.crc32(customer_id.encode()) % FOLDS for customer_id in lines["customer_id"]]
    )
    target, predicted = np.zeros(arms.allowed.shape), np.zeros(arms.allowed.shape)
    for number in range(FOLDS):
        in_fold = fold == number
        posterior = thompson.fit_posterior(
            features[~in_fold], taken[~in_fold], reward[~in_fold], len(arms.names)
        )
        share = policy.recommend.experiment
        target[in_fold] = posterior.chances(
            features[in_fold], arms.allowed[in_fold], explore=share, seed=seed + number
        )
        predicted[in_fold] = posterior.expected_rewards(features[in_fold])
    target_taken = target[np.arange(len(taken)), taken]
    logging = offpolicy.mean_reward(reward)
    robust = offpolicy.doubly_robust(reward, taken, logged, target, predicted)
    return BanditEvaluation(
        {
            "decisions": len(lines),
            "logging": logging.as_dict(),
            "estimates": {
                "ips": offpolicy.ips(reward, logged, target_taken).as_dict(),
                "snips": offpolicy.snips(reward, logged, target_taken).as_dict(),
                "dr": robust.as_dict(),
            },
            "effective": round(offpolicy.effective_sample_size(logged, target_taken), 1),
            "arms": _arm_summaries(arms, taken, reward, target),
            "may_act": robust.low > logging.value,
        }
    )


def fit_bandit(lines: "pd.DataFrame", policy: "thompson.OfferPolicy") -> thompson.Posterior:
    """Fit the posterior on all decisions.

    Parameters
    ----------
    lines : DataFrame
        From `logged_decisions`.
    policy : OfferPolicy

    Returns
    -------
    Posterior
    """
    arm_names = thompson.arm_names(policy)
    taken = thompson.arm_positions(arm_names, lines["arm"])
    is_known = taken >= 0
    return thompson.fit_posterior(
        thompson.context_features(lines)[is_known],
        taken[is_known],
        lines["reward"].to_numpy(float)[is_known],
        len(arm_names),
    )


def require_improvement(evaluation: BanditEvaluation) -> None:
    """Check that the bandit is surely better.

    Raises
    ------
    BadInput
        It is not; the message has the estimate and the remedy.
    """
    if not evaluation.may_act:
        low, value = evaluation.data["estimates"]["dr"]["low"], evaluation.data["logging"]["value"]
        raise BadInput(
            gettext(
                "The policy says recommend.bandit = true, but on {decisions:,} logged "
                "decisions its reward is only surely above {low:.4f}, and the lists as they "
                "are earned {value:.4f}; set it to false until `retention evaluate bandit` "
                "says that it may act."
            ).format(decisions=evaluation.data["decisions"], low=low, value=value)
        )


def _known_decisions(
    lines: "pd.DataFrame", policy: "thompson.OfferPolicy"
) -> "tuple[pd.DataFrame, thompson.Arms, np.ndarray]":
    """Select decisions of known rules and arms.

    The policy file must still have both.
    """
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
    """Report frequency and reward per arm.

    Arms never taken before or now are left out.
    """
    return [
        {
            "arm": name,
            "taken": int((taken == place).sum()),
            "reward": float(reward[taken == place].mean()) if (taken == place).any() else None,
            "would_take": round(float(target[:, place].mean()), 4),
        }
        for place, name in enumerate(arms.names)
        if (taken == place).any() or target[:, place].mean() > 0
    ]
