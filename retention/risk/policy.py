"""The strategy policy: which tier and reason gets which action, what an offer costs, what a campaign may do.

A shop's own file (``RETENTION_POLICY``) replaces the default ``policy.toml`` beside this module as a whole.
"""

import tomllib
from collections.abc import Iterable
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from retention.campaigns.quiet import parsed
from retention.errors import BadInput
from retention.features.catalogue import FEATURES, GROUPS
from retention.lake.identity.rules import IdentityRules
from retention.risk.recommending import RecommendRules
from retention.settings import Settings

DEFAULT = Path(__file__).with_name("policy.toml")

Tier = Literal["high", "medium", "low"]
Action = Literal["coupon", "reminder", "nothing"]

_GROUP = {feature.name: feature.group for feature in FEATURES}
REASONS: tuple[str, ...] = (*GROUPS, "other")  # the groups of features that a model's reasons name
ANY = "any"
HOLDOUT = (0.1, 0.2)  # below, nothing is learned; above, too much is forgone


def reason_of(feature: str) -> str:
    """The policy's reason to which a model's feature belongs (``recency_days`` → ``recency``)."""
    return feature if feature in GROUPS else _GROUP.get(feature, "other")


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Tiers(_Strict):
    """Churn probabilities from which a customer is in the tier."""

    high: Annotated[float, Field(gt=0, lt=1)] = 0.5
    medium: Annotated[float, Field(gt=0, lt=1)] = 0.25

    @model_validator(mode="after")
    def _in_order(self) -> "Tiers":
        if self.medium >= self.high:
            raise ValueError(f"medium ({self.medium}) must be below high ({self.high})")
        return self


class OfferDefaults(_Strict):
    """The cost model of every offer and the prior of its effect."""

    margin: Annotated[float, Field(gt=0, le=1)] = 0.3
    redemption: Annotated[float, Field(ge=0, le=1)] = 0.1
    contact_cost: Annotated[float, Field(ge=0)] = 0.02
    uplift: Annotated[float, Field(ge=-1, le=1)] = 0.04
    uplift_sd: Annotated[float, Field(gt=0, le=1)] = 0.02
    expires_days: Annotated[int, Field(ge=1, le=365)] = 28
    items: Annotated[int, Field(ge=0, le=10)] = 3


class CampaignRules(_Strict):
    """What holds for every campaign."""

    holdout: Annotated[float, Field(ge=HOLDOUT[0], le=HOLDOUT[1])] = 0.15
    clearance_hours: Annotated[float, Field(ge=0, le=720)] = 4
    approval_expires_hours: Annotated[float, Field(gt=0, le=2160)] = 72
    remind_hours: Annotated[float, Field(ge=0, le=2160)] | None = None  # a third of the time to decide
    quiet_hours: str = "21:00-08:00"
    window_days: Annotated[int, Field(ge=1, le=365)] = 28
    frequency_cap_days: Annotated[int, Field(ge=0, le=365)] = 14
    min_margin: Annotated[float, Field(ge=0, lt=1)] = 0.05
    max_audience: Annotated[int, Field(ge=1)] = 20_000
    consent: Literal["required", "unless_refused"] = "required"
    budget: Annotated[float, Field(ge=0)] = 25_000

    @field_validator("quiet_hours")
    @classmethod
    def _a_span(cls, text: str) -> str:
        parsed(text)
        return text

    @model_validator(mode="after")
    def _reminded_in_time(self) -> "CampaignRules":
        if self.remind_hours is not None and self.remind_hours >= self.approval_expires_hours:
            raise ValueError(
                f"remind_hours ({self.remind_hours:g}) must be below approval_expires_hours "
                f"({self.approval_expires_hours:g}), or nobody is reminded in time"
            )
        return self

    @property
    def reminder(self) -> float:
        """Hours before expiry at which the approvers are reminded."""
        return self.approval_expires_hours / 3 if self.remind_hours is None else self.remind_hours


class SecondApprover(_Strict):
    """Above any of these, two people have to approve."""

    audience: Annotated[int, Field(ge=0)] = 5_000
    cost: Annotated[float, Field(ge=0)] = 2_500
    discount: Annotated[float, Field(ge=0, le=1)] = 0.2


class Rule(_Strict):
    """One row of the strategy: these tiers and reasons get this action."""

    name: Annotated[str, Field(min_length=1, max_length=60)]
    tiers: Annotated[tuple[Tier, ...], Field(min_length=1)]
    reasons: Annotated[tuple[str, ...], Field(min_length=1)] = (ANY,)
    action: Action
    discount: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def _sensible(self) -> "Rule":
        for reason in self.reasons:
            if reason not in REASONS and reason != ANY:
                raise ValueError(f"there is no reason {reason!r}; use {', '.join(REASONS)} or {ANY}")
        if ANY in self.reasons and len(self.reasons) > 1:
            raise ValueError(f"{ANY!r} already holds for every reason; name it alone")
        if (self.action == "coupon") != (self.discount > 0):
            raise ValueError(
                f"action {self.action!r} with a discount of {self.discount}; only coupons have one"
            )
        return self

    @property
    def pairs(self) -> set[tuple[str, str]]:
        """The (tier, reason) pairs that it decides."""
        return {(tier, reason) for tier in self.tiers for reason in self.reasons}


class Policy(_Strict):
    """The whole file."""

    tiers: Tiers = Tiers()
    offer: OfferDefaults = OfferDefaults()
    campaign: CampaignRules = CampaignRules()
    second_approver: SecondApprover = SecondApprover()
    identity: IdentityRules = IdentityRules()
    recommend: RecommendRules = RecommendRules()
    rules: tuple[Rule, ...] = ()

    @model_validator(mode="after")
    def _unambiguous(self) -> "Policy":
        for one, other in combinations(self.rules, 2):
            if one.name == other.name:
                raise ValueError(f"two rules are called {one.name!r}; give each its own name")
            if both := sorted(one.pairs & other.pairs):
                tier, reason = both[0]
                raise ValueError(
                    f"rules {one.name!r} and {other.name!r} overlap: both decide tier {tier}, reason {reason}"
                )
        return self

    def rule_for(self, tier: str, features: Iterable[str]) -> Rule | None:
        """The rule for a customer: the first reason with a rule of its own decides, else the tier's ``any``.

        Parameters
        ----------
        tier : str
        features : iterable of str
            The features of the customer's reasons, the weightiest first.

        Returns
        -------
        Rule or None
            None where the policy says nothing about the tier.
        """
        decided = {pair: rule for rule in self.rules for pair in rule.pairs}
        own = (decided.get((tier, reason_of(feature))) for feature in features)
        return next((rule for rule in own if rule), decided.get((tier, ANY)))

    def rule(self, name: str) -> Rule | None:
        """The rule of that name."""
        return next((rule for rule in self.rules if rule.name == name), None)


def load_policy(settings: Settings) -> Policy:
    """The shop's policy (``RETENTION_POLICY``), or the default.

    Raises
    ------
    BadInput
        One sentence that names the file, the place in it, the value and what is allowed.
    """
    return read_policy(settings.policy or DEFAULT)


def read_policy(path: Path) -> Policy:
    """Read and validate one policy file; errors as `load_policy`."""
    try:
        return _parsed(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"The policy {path} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError:
        raise BadInput(f"The policy {path} is not UTF-8 text; save it as UTF-8.") from None
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"The policy {path} is not valid TOML: {error}.") from None
    except ValidationError as error:
        raise BadInput(f"The policy {path} cannot be used: {_first(error)}.") from None


@lru_cache(maxsize=8)  # a warm worker reads the same text for every question
def _parsed(text: str) -> Policy:
    return Policy.model_validate(tomllib.loads(text))


def _first(error: ValidationError) -> str:
    """The first fault, in a person's words: place, what is wrong, the value seen."""
    fault = error.errors()[0]
    place = ".".join(str(part + 1) if isinstance(part, int) else part for part in fault["loc"])
    said = fault["msg"].removeprefix("Value error, ").rstrip(".")
    seen = "" if fault["type"] == "value_error" else f" (it says {fault['input']!r})"
    return f"{place}: {said}{seen}" if place else f"{said}{seen}"
