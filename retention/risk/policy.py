"""Read the strategy policy.

It has actions by tier and reason, costs of offers, and limits of campaigns.

A shop's own file (``RETENTION_POLICY``) replaces the whole default ``policy.toml`` in this folder.
"""

import json
import tomllib
from collections.abc import Collection, Iterable, Mapping
from functools import cached_property, lru_cache
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from retention.clock import parse_quiet_hours
from retention.errors import BadInput
from retention.lake.identity import IdentityRules
from retention.list_rules import RecommendRules
from retention.policy_file import (
    explain_first_error,
    explain_toml_error,
    read_text,
    validate_strictly,
)
from retention.risk.policy_changes import Value, version_in_force, with_changes
from retention.risk.strategy import ANY, WIN_BACK, Cell, Consent, Kind, Rule, reason_of
from retention.settings import Settings
from retention.templating import kind_title
from retention.text import gettext

if TYPE_CHECKING:
    import numpy as np

    from retention.churn.model import TrainedChurn

DEFAULT = Path(__file__).with_name("policy.toml")

TIERS = ("high", "medium", "low")
LAPSED = "lapsed"  # the tier of customers outside the activity window
DIMENSIONS = ("tier", "reason", "value", "consent")
HOLDOUT = (0.1, 0.2)  # below, nothing is learned; above, too much is forgone
# Latest decision, approval or sending. The audience would have changed later.
LONGEST_HOURS = 2160


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Tiers(_Strict):
    """Churn probabilities at which the tiers begin."""

    high: Annotated[float, Field(gt=0, lt=1)] = 0.5
    medium: Annotated[float, Field(gt=0, lt=1)] = 0.25

    @model_validator(mode="after")
    def _check_order(self) -> "Tiers":
        if self.medium >= self.high:
            text = gettext("medium ({medium}) must be below high ({high})")
            raise ValueError(text.format(medium=self.medium, high=self.high))
        return self


class ListRules(_Strict):
    """How many customers the team's list has; None: by the number of scored ones."""

    customers: Annotated[int, Field(ge=1, le=100_000)] | None = None


class Values(_Strict):
    """Bands of expected value.

    They are shares of a draft's customers that are ``high`` and ``middle``.
    """

    high: Annotated[float, Field(gt=0, lt=1)] = 0.1
    middle: Annotated[float, Field(gt=0, lt=1)] = 0.4

    @model_validator(mode="after")
    def _check_shares(self) -> "Values":
        if self.high + self.middle > 1:
            text = gettext(
                "high ({high}) and middle ({middle}) are shares, and more than 1 together; "
                "lower one"
            )
            raise ValueError(text.format(high=self.high, middle=self.middle))
        return self


class OfferDefaults(_Strict):
    """Default costs and effect prior of an offer."""

    margin: Annotated[float, Field(gt=0, le=1)] = 0.3
    redemption: Annotated[float, Field(ge=0, le=1)] = 0.1
    contact_cost: Annotated[float, Field(ge=0)] = 0.02
    sms_cost: Annotated[float, Field(ge=0)] = 0.06  # of each part
    whatsapp_cost: Annotated[float, Field(ge=0)] = 0.08
    call_cost: Annotated[float, Field(ge=0)] = 4.0
    shipping_cost: Annotated[float, Field(ge=0)] = 5.0
    new_days: Annotated[int, Field(ge=1, le=365)] = 42
    uplift: Annotated[float, Field(ge=-1, le=1)] = 0.04
    uplift_sd: Annotated[float, Field(gt=0, le=1)] = 0.02
    expires_days: Annotated[int, Field(ge=1, le=365)] = 28
    items: Annotated[int, Field(ge=0, le=10)] = 3


class CampaignRules(_Strict):
    """Rules for every campaign."""

    holdout: Annotated[float, Field(ge=HOLDOUT[0], le=HOLDOUT[1])] = 0.15
    # Share of the customers that no campaign contacts; `campaign holdout` overrides it.
    programme_holdout: Annotated[float, Field(ge=0, le=0.3)] = 0.0
    clearance_hours: Annotated[float, Field(ge=0, le=720)] = 4
    approval_expires_hours: Annotated[float, Field(gt=0, le=LONGEST_HOURS)] = 72
    # None means a third of the time to decide.
    remind_hours: Annotated[float, Field(ge=0, le=LONGEST_HOURS)] | None = None
    quiet_hours: str = "21:00-08:00"
    window_days: Annotated[int, Field(ge=1, le=365)] = 28
    frequency_cap_days: Annotated[int, Field(ge=0, le=365)] = 14
    bounced_days: Annotated[int, Field(ge=0, le=365)] = 90
    min_margin: Annotated[float, Field(ge=0, lt=1)] = 0.05
    max_audience: Annotated[int, Field(ge=1)] = 20_000
    max_calls: Annotated[int, Field(ge=0)] = 40
    consent: Literal["required", "unless_refused"] = "required"
    budget: Annotated[float, Field(ge=0)] = 25_000

    @field_validator("quiet_hours")
    @classmethod
    def _check_quiet_hours(cls, text: str) -> str:
        parse_quiet_hours(text)
        return text

    @model_validator(mode="after")
    def _check_reminder(self) -> "CampaignRules":
        if self.remind_hours is not None and self.remind_hours >= self.approval_expires_hours:
            raise ValueError(
                gettext(
                    "remind_hours ({remind_hours:g}) must be below approval_expires_hours "
                    "({approval_expires_hours:g}), or nobody is reminded in time"
                ).format(
                    remind_hours=self.remind_hours,
                    approval_expires_hours=self.approval_expires_hours,
                )
            )
        return self

    @property
    def reminder(self) -> float:
        """Hours before expiry at which the approvers are reminded."""
        return self.approval_expires_hours / 3 if self.remind_hours is None else self.remind_hours


class SecondApprover(_Strict):
    """Limits above which two people must approve."""

    audience: Annotated[int, Field(ge=0)] = 5_000
    cost: Annotated[float, Field(ge=0)] = 2_500
    discount: Annotated[float, Field(ge=0, le=1)] = 0.2


# What a block of a policy file may leave out.
KIND_DEFAULTS: dict[str, dict[str, Any]] = {
    "product_news": {"action": "new_arrivals"},
    "cross_sell": {"customers": "orders >= 1", "new_items_only": True},
    "second_order": {
        "action": "coupon",
        "discount": 0.1,
        "customers": "orders = 1",
        "uplift": 0.03,
        "uplift_sd": 0.02,
    },
    "thank_you": {"customers": "orders >= 2"},
    "no_offer": {},
}


class Kinds(_Strict):
    """Campaigns other than win-back."""

    product_news: Kind
    cross_sell: Kind
    second_order: Kind
    thank_you: Kind
    no_offer: Kind

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, blocks: Any) -> Any:
        """Complete each block with its defaults; another offer replaces the usual one."""
        if not isinstance(blocks, Mapping):
            return blocks
        filled = dict(blocks)
        for name, usual in KIND_DEFAULTS.items():
            own = blocks.get(name, {})
            if isinstance(own, Mapping):
                dropped = "discount" if {"action", "amount"} & {*own} else ""
                filled[name] = {k: v for k, v in usual.items() if k != dropped} | {**own}
        return filled


Tracking = Literal["off", "consent", "all"]


class TrackingRules(_Strict):
    """Of whom opens and clicks are stored: nobody, those who agreed, or all who did not refuse."""

    opens: Tracking = "consent"
    clicks: Tracking = "consent"


class Policy(_Strict):
    """A whole policy file."""

    tiers: Tiers | None = None  # None: derived from the model's shop, see `thresholds`
    list: ListRules = ListRules()
    values: Values = Values()
    offer: OfferDefaults = OfferDefaults()
    campaign: CampaignRules = CampaignRules()
    tracking: TrackingRules = TrackingRules()
    second_approver: SecondApprover = SecondApprover()
    identity: IdentityRules = IdentityRules()
    recommend: RecommendRules = RecommendRules()
    kinds: Kinds = Kinds.model_validate({})
    rules: tuple[Rule, ...] = ()

    @field_validator("rules")
    @classmethod
    def _check_not_empty(cls, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        """Refuse an empty list of rules.

        A file may leave the rules out, to change only other settings.
        """
        if not rules:
            raise ValueError(
                gettext(
                    "there is none, so nobody would get anything; write each below a line [[rules]]"
                )
            )
        return rules

    @model_validator(mode="after")
    def _check_overlaps(self) -> "Policy":
        usual = self.usual_consent
        for first, second in combinations(self.rules, 2):
            if first.name == second.name:
                text = gettext("two rules are called {name!r}; give each its own name")
                raise ValueError(text.format(name=first.name))
            if both := sorted({*first.cells(usual)} & {*second.cells(usual)}):
                pairs = zip(DIMENSIONS, both[0], strict=True)
                where = ", ".join(f"{what} {which}" for what, which in pairs)
                message = gettext(
                    "rules {name!r} and {other!r} overlap: both decide {where}; take it out of "
                    "one of them"
                )
                raise ValueError(message.format(name=first.name, other=second.name, where=where))
        return self

    @model_validator(mode="after")
    def _check_alternatives(self) -> "Policy":
        offers = [rule.name for rule in self.rules if rule.tiers and rule.action != "nothing"]
        for rule in self.rules:
            for name in rule.instead_of:
                if name not in offers:
                    choices = ", ".join(map(repr, offers)) or gettext("none, for there is none")
                    text = gettext(
                        "rule {name!r} is instead_of {other!r}, which is no rule with tiers "
                        "and an offer of its own; use {choices}"
                    )
                    raise ValueError(text.format(name=rule.name, other=name, choices=choices))
        return self

    @model_validator(mode="after")
    def _check_items(self) -> "Policy":
        if problem := self._items_problem():
            raise ValueError(problem)
        return self

    def _items_problem(self) -> str:
        idle = [rule.name for rule in self.rules if rule.action in ("reminder", "new_arrivals")]
        text = gettext(
            "offer.items is 0, and rule {idle!r} writes of nothing but items; use 1 to "
            "10, or another action"
        )
        return text.format(idle=idle[0]) if idle and not self.offer.items else ""

    def check_acts(self) -> None:
        """Refuse a policy that has no action, or a kind's only action without its items."""
        if problem := self._items_problem():
            raise BadInput(f"{problem}.", field="kind")
        if all(rule.action == "nothing" for rule in self.rules):
            what = "does nothing, by all of its rules" if self.rules else "has no rules"
            text = gettext(
                "The policy {what}, so a campaign would be for nobody; write below a line "
                "[[rules]] who gets what (RETENTION_POLICY names the file; "
                "docs/operator/policy.md explains it)."
            )
            raise BadInput(text.format(what=what))

    @property
    def acting_tiers(self) -> set[str]:
        """Tiers for which any rule has an action."""
        return {tier for rule in self.rules if rule.action != "nothing" for tier in rule.tiers}

    @property
    def usual_consent(self) -> tuple[Consent, ...]:
        """Consent states that rules apply to by default."""
        return ("given",) if self.campaign.consent == "required" else ("given", "unknown")

    def consent_for(
        self, name: str, draft_consent: Collection[str] | None = None
    ) -> tuple[Consent, ...]:
        """Return consent states that allow contact under a rule.

        Consent given always suffices.

        `draft_consent`: the consent states of the rule at the time of the draft. No other state
        suffices, whichever offer the customer got. They also apply if the rule no longer exists.
        """
        own = self.rule(name)
        replaced_rules = (
            [self.rule(replaced) for replaced in own.instead_of] or [own] if own else []
        )
        consents = [rule.consent or self.usual_consent for rule in replaced_rules if rule]
        allows_unknown = any("unknown" in states for states in consents or [self.usual_consent])
        if draft_consent is not None:
            allows_unknown = "unknown" in draft_consent and (allows_unknown or not own)
        return ("given", "unknown") if allows_unknown else ("given",)

    @cached_property
    def _rule_of_cell(self) -> dict[Cell, Rule]:
        return {cell: rule for rule in self.rules for cell in rule.cells(self.usual_consent)}

    def model_copy(
        self, *, update: Mapping[str, Any] | None = None, deep: bool = False
    ) -> "Policy":
        """Return a copy that decides by its own rules."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("_rule_of_cell", None)
        return copied

    def for_kind(self, kind: str, name: str | None = None) -> "Policy":
        """Return the policy of a campaign: by its kind, one rule for everyone.

        `name`: of the rule, as a stored campaign has it; by default that of the kind.
        """
        if kind == WIN_BACK:
            return self
        own: Kind = getattr(self.kinds, kind)
        prior = {"uplift": own.uplift, "uplift_sd": own.uplift_sd}
        # A list of another policy, drawn to learn from, may have items that they bought.
        only_new = {"policy": "new", "experiment": 0.0, "bandit": False}
        items = only_new if own.new_items_only else {}
        return self.model_copy(
            update={
                "rules": (own.rule(name or kind_title(kind)),),
                "offer": self.offer.model_copy(update=prior),
                "recommend": self.recommend.model_copy(update=items),
            }
        )

    def rule_for(
        self,
        tier: str,
        features: Iterable[str],
        value: str = ANY,
        consent: str = "given",
        without: Collection[str] = (),
        *,
        is_listed: bool = False,
    ) -> Rule | None:
        """Return the rule for a customer.

        Rules that name the customer's value band precede all others. Within each kind the first
        reason with a rule of its own decides, else the tier's rule for ``any`` reason. On the list,
        the rule of ``listed`` decides where the tier has none, or nothing for ``any`` reason and
        value.

        `features`: features of the customer's reasons, largest contribution first.
        """
        reasons = [*dict.fromkeys(map(reason_of, features)), ANY]
        bands = dict.fromkeys((value, ANY))
        cells = ((tier, reason, band, consent) for band in bands for reason in reasons)
        rules = ((cell, self._rule_of_cell.get(cell)) for cell in cells)
        fitting = ((cell, rule) for cell, rule in rules if rule and rule.action not in without)
        cell, own = next(fitting, (None, None))
        is_usual = own is None or (cell == (tier, ANY, ANY, consent) and own.action == "nothing")
        if is_listed and is_usual and tier in TIERS:
            return self.rule_for("listed", reasons[:-1], value, consent, without) or own
        return own

    def offers_for(self, name: str, tier: str) -> tuple[Rule, ...]:
        """Return a rule and those with alternative offers.

        They are for a customer of ``tier`` under rule ``name``. That rule comes first.

        These are the rules that are ``instead_of`` it. If the rule is itself an alternative, they
        are the rules that it replaces and their other alternatives. With ``recommend.vary_offers``
        they include rules of the tier that differ only in reasons and offer.
        """
        own = self.rule(name)
        if own is None:
            return ()
        places = {name, *own.instead_of}
        home = own.model_dump(include={"values", "consent"})

        def may(rule: Rule) -> bool:
            if rule.action in ("call", "nothing"):
                return False
            if rule.instead_of:
                return bool(places & {*rule.instead_of})
            alike = (
                self.recommend.vary_offers
                and own.tiers
                and rule.model_dump(include={*home}) == home
            )
            return tier in rule.tiers and bool(rule.name in places or alike)

        return (own, *(rule for rule in self.rules if rule is not own and may(rule)))

    def rule(self, name: str) -> Rule | None:
        """Return the rule with a name."""
        return next((rule for rule in self.rules if rule.name == name), None)


def load_policy(settings: Settings) -> Policy:
    """Return the shop's policy (``RETENTION_POLICY``), or the default, with the admins' changes."""
    return read_policy(settings.policy or DEFAULT, version_in_force(settings).changes)


def read_policy(path: Path, changes: Mapping[str, Value] | None = None) -> Policy:
    """Read and validate one policy file. Errors are as in `load_policy`."""
    try:
        return _parse(text := read_text(path), json.dumps(changes or {}, sort_keys=True))
    except OSError as error:
        message = gettext("The policy {path} cannot be read: {value}.")
        raise BadInput(message.format(path=path, value=error.strerror or error)) from None
    except UnicodeDecodeError:
        message = gettext("The policy {path} is not UTF-8 text; save it as UTF-8.")
        raise BadInput(message.format(path=path)) from None
    except tomllib.TOMLDecodeError as error:
        message = gettext("The policy {path} is not valid TOML: {explanation}.")
        explanation = explain_toml_error(error, text)
        raise BadInput(message.format(path=path, explanation=explanation)) from None
    except ValidationError as error:
        message = gettext("The policy {path} cannot be used: {explanation}.")
        raise BadInput(message.format(path=path, explanation=explain_first_error(error))) from None


@lru_cache(maxsize=8)  # a warm worker parses the same text again and again
def _parse(text: str, changes: str) -> Policy:
    return validate_strictly(Policy, with_changes(tomllib.loads(text), json.loads(changes)))


def thresholds(policy: Policy, trained: "TrainedChurn | None") -> Tiers:
    """Return where the tiers begin: as the policy file states, else as the model derived it.

    Rules, and models of earlier versions, have the usual ones.
    """
    if policy.tiers is not None:
        return policy.tiers
    return Tiers(**(trained.parameters.get("tiers") or {})) if trained else Tiers()


def tier_of(probability: float, tiers: Tiers) -> str:
    """Return the tier of a churn probability. A threshold belongs to the higher tier."""
    if probability >= tiers.high:
        return "high"
    return "medium" if probability >= tiers.medium else "low"


def tiers_of(probabilities: "np.ndarray", tiers: Tiers) -> "np.ndarray":
    """Return the tiers of (n,) churn probabilities, as `tier_of` does."""
    import numpy as np

    high, medium = probabilities >= tiers.high, probabilities >= tiers.medium
    return np.where(high, "high", np.where(medium, "medium", "low")).astype(object)
