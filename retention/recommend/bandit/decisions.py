"""The decisions of past campaigns with their logged chances and what came of them, and what the bandit would have earned on them."""

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
from retention.recommend.feedback.responses import seen
from retention.settings import Settings
from retention.text import gettext

if TYPE_CHECKING:
    import pandas as pd

    from retention.lake import Lake

CLICKED = 0.2  # of a purchase or redemption
FEWEST = 100  # decisions, of which EXPLORED_FEWEST by another arm than the policy's own
EXPLORED_FEWEST = 10
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


def decisions(
    lake: "Lake", session: Session, settings: Settings, before: datetime, excluded: Collection[str]
) -> "pd.DataFrame":
    """One line for each customer that a campaign reached with a logged chance and whose window ended before ``before``.

    Parameters
    ----------
    lake, session, settings
        Where from.
    before : datetime
        Of business time.
    excluded : collection of str
        Ids of campaigns without a usable result (`retention.campaigns.closing.uninformative_campaigns`).

    Returns
    -------
    DataFrame
        `COLUMNS` and ``reward``: 1 for who bought one of the items or redeemed the code for one, 0.2 for who only clicked one, times the share
        of the margin that the discount left, times the share of the items that nobody called "not for them".
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
    made = [
        (
            one.campaign_id,
            one.customer_id,
            one.tier,
            one.churn_probability,
            one.expected_value,
            one.offer["rule"],
            one.offer.get("arm", ""),
            one.offer["propensity"],
            one.offer.get("discount") or 0.0,
            body.get("margin") or 0.0,
            ended,
        )
        for one, body, ended in rows
        if one.offer.get("propensity")
    ]
    frame = pd.DataFrame(made, columns=list(COLUMNS))
    answers = seen(lake, session, settings, before)
    people = lake.identities.people(before)
    key = ["campaign_id", "customer_id"]
    frame["customer_id"] = frame["customer_id"].map(lambda one: people.get(one, one))
    of = answers.rename(columns={"shown_in": "campaign_id"}).groupby(key)
    said = of.agg(
        bought=("bought", "max"),
        redeemed=("redeemed", "max"),
        clicked=("clicked", "max"),
        wrong=("wrong", lambda numbers: float((numbers > 0).mean())),
    )
    told = frame[key].join(said, on=key).fillna(0.0)
    answered = np.maximum(
        (told["bought"] > 0) | (told["redeemed"] > 0), CLICKED * (told["clicked"] > 0)
    )
    left = (
        (1 - frame["discount"] / frame["margin"].where(frame["margin"] > 0)).clip(0, 1).fillna(1.0)
    )
    return frame.assign(reward=(answered * left * (1 - told["wrong"].astype(float))).astype(float))


@dataclass(frozen=True, slots=True)
class Judged:
    """What the bandit would have earned a decision, beside what was earned; ``data`` is the contract's JSON."""

    data: dict[str, Any]

    @property
    def may_act(self) -> bool:
        """Whether even the lower bound is above what the logging policy earned."""
        return bool(self.data["may_act"])


def judge(lines: "pd.DataFrame", policy: "thompson.OfferPolicy", *, seed: int = 0) -> Judged:
    """Judge the bandit on logged decisions, each by a bandit that has not learned from that customer.

    Raises
    ------
    TooLittleData
        Where there are too few decisions, or nothing but the policy's own arm was ever taken.
    """
    lines, choice, taken = _known(lines, policy)
    if len(lines) < FEWEST or (taken != choice.own).sum() < EXPLORED_FEWEST:
        raise TooLittleData(
            gettext(
                "There are {count:,} decisions with a logged chance, {value:,} of them by "
                "another arm than the policy's own; judging the bandit takes {fewest} and "
                "{explored_fewest}. Until then keep `recommend.bandit` false and "
                "`recommend.experiment` above 0, and send campaigns."
            ).format(
                count=len(lines),
                value=int((taken != choice.own).sum()),
                fewest=FEWEST,
                explored_fewest=EXPLORED_FEWEST,
            )
        )
    reward, logged = lines["reward"].to_numpy(float), lines["propensity"].to_numpy(float)
    features = thompson.context(lines)
    fold = np.array([zlib.crc32(who.encode()) % FOLDS for who in lines["customer_id"]])
    target, predicted = np.zeros(choice.allowed.shape), np.zeros(choice.allowed.shape)
    for held in range(FOLDS):
        inside = fold == held
        posterior = thompson.learned(
            features[~inside], taken[~inside], reward[~inside], len(choice.names)
        )
        share = policy.recommend.experiment
        target[inside] = posterior.chances(
            features[inside], choice.allowed[inside], explore=share, seed=seed + held
        )
        predicted[inside] = posterior.predicted(features[inside])
    own = target[np.arange(len(taken)), taken]
    logging = offpolicy.plain(reward)
    robust = offpolicy.doubly_robust(reward, taken, logged, target, predicted)
    return Judged(
        {
            "decisions": len(lines),
            "logging": logging.as_dict(),
            "estimates": {
                "ips": offpolicy.ips(reward, logged, own).as_dict(),
                "snips": offpolicy.snips(reward, logged, own).as_dict(),
                "dr": robust.as_dict(),
            },
            "effective": round(offpolicy.effective(logged, own), 1),
            "arms": _arms(choice, taken, reward, target),
            "may_act": robust.low > logging.value,
        }
    )


def posterior_of(lines: "pd.DataFrame", policy: "thompson.OfferPolicy") -> thompson.Posterior:
    """What all decisions teach of the policy file's arms."""
    known = thompson.names(policy)
    taken = thompson.positions(known, lines["arm"])
    good = taken >= 0
    return thompson.learned(
        thompson.context(lines)[good],
        taken[good],
        lines["reward"].to_numpy(float)[good],
        len(known),
    )


def require(judged: Judged) -> None:
    """Refuse the bandit as long as it is not surely better.

    Raises
    ------
    BadInput
        With the estimate and the remedy.
    """
    if not judged.may_act:
        low, value = judged.data["estimates"]["dr"]["low"], judged.data["logging"]["value"]
        raise BadInput(
            gettext(
                "The policy says recommend.bandit = true, but on {decisions:,} logged "
                "decisions its reward is only surely above {low:.4f}, and the lists as they "
                "are earned {value:.4f}; set it to false until `retention evaluate bandit` "
                "says that it may act."
            ).format(decisions=judged.data["decisions"], low=low, value=value)
        )


def _known(
    lines: "pd.DataFrame", policy: "thompson.OfferPolicy"
) -> "tuple[pd.DataFrame, thompson.Arms, np.ndarray]":
    """The decisions whose rule and arm the policy file still has."""
    good = (thompson.arms(lines, policy).own >= 0) & (
        thompson.positions(thompson.names(policy), lines["arm"]) >= 0
    )
    lines = lines[good].reset_index(drop=True)
    choice = thompson.arms(lines, policy)
    taken = thompson.positions(choice.names, lines["arm"])
    choice.allowed[np.arange(len(taken)), taken] = True
    return lines, choice, taken


def _arms(
    choice: thompson.Arms, taken: np.ndarray, reward: np.ndarray, target: np.ndarray
) -> list[dict[str, Any]]:
    """Of each arm that was taken or would be: how often, and what it earned."""
    return [
        {
            "arm": name,
            "taken": int((taken == place).sum()),
            "reward": float(reward[taken == place].mean()) if (taken == place).any() else None,
            "would_take": round(float(target[:, place].mean()), 4),
        }
        for place, name in enumerate(choice.names)
        if (taken == place).any() or target[:, place].mean() > 0
    ]
