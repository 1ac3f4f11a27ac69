"""Apply edits to a campaign within the policy's limits."""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as with_default
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from retention.campaigns.lifecycle.copy_test import REST_DAYS, CopyTest
from retention.campaigns.lifecycle.message_edits import changed_messages
from retention.campaigns.lifecycle.spec import Body, OfferLine
from retention.campaigns.message.parts import PartChanges
from retention.campaigns.message.text_message import MAX_TEXT
from retention.campaigns.message.wording import default_text, validate_text
from retention.errors import BadInput, FieldErrors
from retention.outreach.adapter import channel_name, is_text
from retention.risk.policy import HOLDOUT, LONGEST_HOURS, Policy, load_policy
from retention.risk.strategy import NAMED, Rule
from retention.settings import Settings
from retention.templating import money
from retention.text import gettext

# That an edit can choose; `NAMED` ones have the terms of the policy.
OFFER_KINDS = ("share", "amount", "free_shipping", "reminder", *NAMED)
SOON = "soon"  # right after the clearance time
MINUTE_FORMAT = "%Y-%m-%d %H:%M"


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes of one edit; None keeps a value.

    Shares are 0 to 1, money is in the campaign's currency. ``offer`` (one of `OFFER_KINDS`)
    replaces the offer of every customer, personal calls too. ``send_on`` is local time of the shop,
    ``2025-05-03 09:00``, or ``soon``. ``approver`` is a Slack user id, or empty for anyone.
    """

    name: str | None = None
    discount: float | None = None
    holdout: float | None = None
    expires_days: int | None = None
    copy_text: str | None = None
    reminder_text: str | None = None  # of customers without a code; empty: the default text
    offer: str | None = None
    amount: float | None = None
    min_order: float | None = None
    budget: float | None = None
    send_on: str | None = None
    approver: str | None = None
    messages: Mapping[str, PartChanges] = with_default(default_factory=dict)  # by rule; "": of all
    test: CopyTest | None = None  # without variants: no test


def apply_changes(
    body: Body, changes: Changes, zone: ZoneInfo, now: datetime, settings: Settings | None = None
) -> Body:
    """Return the next version with the changes applied.

    `settings`: of the installation; without them, the shop's own default texts do not count.
    """
    errors = FieldErrors()
    update: dict[str, object] = {}
    with errors.collect():
        rule = _named_rule(body, changes.offer, settings) if changes.offer in NAMED else None
        update["offers"] = tuple(
            _with_rule(line, rule) if rule else _changed_line(line, body, changes)
            for line in body.offers
        )
    with errors.collect():
        _validate_discount(body, changes)
    with errors.collect():
        if changes.holdout is not None:
            update["holdout"] = _validate_holdout(changes.holdout)
    with errors.collect():
        if changes.expires_days is not None:
            update["expires_days"] = _validate_expiry(changes.expires_days)
    with errors.collect():
        if changes.budget is not None:
            update["budget"] = _validate_budget(body, changes.budget)
    with errors.collect():
        if changes.send_on == SOON:
            update["send_on"] = None
        elif changes.send_on is not None:
            update["send_on"] = _parse_moment(changes.send_on, zone, now, body.send_on)
    if changes.test is not None:
        update["test"] = changes.test if changes.test.variants else None
    if changes.approver is not None:
        update["approver"] = changes.approver or None
    edited = body.model_copy(update=update)
    if changes.test is None and edited.copy_action != body.copy_action:
        edited = edited.model_copy(update={"test": None})  # it was written for the old offer
    _require_used(edited, changes, errors)
    with errors.collect():
        _check_test(edited)
    with errors.collect():
        text = _changed_text(body, edited, changes.copy_text)
        edited = edited.model_copy(update={"copy_text": text})
    with errors.collect():
        text = _changed_reminder(edited, changes.reminder_text, settings)
        edited = edited.model_copy(update={"reminder_text": text})
    with errors.collect():
        _check_group_texts(edited, changes.messages)
        edited = changed_messages(body, edited, changes.messages)
    with errors.collect():
        edited.check_offers()
    errors.raise_any()
    return edited


def _check_test(body: Body) -> None:
    """Refuse a test of variants that the version cannot have."""
    test = body.test
    if test is None:
        return
    if is_text(body.message_channel):
        problem = gettext("Variants are tested in e-mails only; remove the test of this campaign.")
        raise BadInput(problem, field="variant")
    has_codes = any(line.coded for line in body.offers)
    days = min(body.window_days, body.expires_days) if has_codes else body.window_days
    test.check(days - REST_DAYS)
    if test.varies_discount and not body.coupons:
        problem = gettext("No offer of this campaign has a discount in percent to be tested.")
        raise BadInput(problem, field="discount")


def normalize_name(name: str) -> str:
    """Normalize and validate a campaign's name.

    Raises `BadInput`: the name is empty or longer than 80 characters.
    """
    name = " ".join(name.split())
    if not 1 <= len(name) <= 80:
        problem = gettext("A campaign's name has 1 to 80 characters; this one has {count}.")
        raise BadInput(problem.format(count=len(name)), field="name")
    return name


def _changed_line(line: OfferLine, body: Body, changes: Changes) -> OfferLine:
    """Offer of one rule after the edit; only an offer for all replaces a call."""
    if line.action == "call" and changes.offer is None:
        return line
    kind = changes.offer or _kind(line)
    min_order = line.min_order if changes.min_order is None else changes.min_order
    has_order_change = bool(changes.offer) or changes.min_order is not None
    if kind == "share" and (changes.offer or changes.discount is not None):
        share = body.discount if changes.discount is None else changes.discount
        if share is None:
            raise BadInput(
                gettext(
                    "The offer is a share of the order and its discount is not said; use 1 to 99."
                ),
                field="discount",
            )
        line = line if changes.offer is None else line.model_copy(update={"categories": ()})
        return _with_terms(line, "coupon", discount=share)
    if kind == "amount" and (has_order_change or changes.amount is not None):
        money_off = (
            line.face if changes.amount is None and _kind(line) == "amount" else changes.amount
        )
        if not money_off or money_off < 0:
            problem = gettext("Money off of {value:g} is none; say how much, like 5.")
            raise BadInput(problem.format(value=money_off or 0), field="amount")
        problem = gettext(
            "Money off needs a From order value, or small orders sell below cost; say one, like 40."
        )
        _require_order_value(min_order, problem)
        return _with_terms(line, "coupon", face=money_off, min_order=min_order)
    if kind == "free_shipping" and has_order_change:
        problem = gettext(
            "Free shipping needs a From order value, or small orders sell below cost; say "
            "one, like 40."
        )
        _require_order_value(min_order, problem)
        return _with_terms(line, "free_shipping", face=body.shipping_cost, min_order=min_order)
    return _with_terms(line, "reminder") if changes.offer == "reminder" else line


def named_offers(policy: Policy, kind: str) -> dict[str, Rule]:
    """Return the rules whose offer is said in words, by action; the first of each counts."""
    rules = (*policy.for_kind(kind).rules, *policy.rules)
    return {rule.action: rule for rule in reversed(rules) if rule.action in NAMED}


def _named_rule(body: Body, offer: str, settings: Settings | None) -> Rule:
    """Return the policy's rule of an offer, which has its words, cost and limits."""
    rule = named_offers(load_policy(settings), body.kind).get(offer) if settings else None
    if rule is None:
        problem = gettext(
            "The offer is {offer}, and the policy has none; choose another one, or write a rule "
            "with this action, its words, its cost and its limits into the policy file."
        )
        raise BadInput(problem.format(offer=offer), field="offer")
    if rule.most is not None and rule.most < body.audience:
        problem = gettext(
            "The offer {what!r} is for {count:,} customers, and the policy allows {most:,}; draft "
            "a smaller audience, or choose another offer."
        )
        values = {"what": rule.what, "count": body.audience, "most": rule.most}
        raise BadInput(problem.format(**values), field="offer")
    return rule


def _with_rule(line: OfferLine, rule: Rule) -> OfferLine:
    line = _with_terms(line, rule.action, rule.discount, rule.cost, rule.min_order)
    return line.model_copy(update={"what": rule.what, "redeemed": rule.redeemed})


def _require_order_value(min_order: float, problem: str) -> None:
    if min_order <= 0:
        raise BadInput(problem, field="min_order")


def _require_used(edited: Body, changes: Changes, errors: FieldErrors) -> None:
    """Collect an error for each value that no offer of the campaign uses."""
    kinds = {_kind(line) for line in edited.offers}
    if changes.offer is not None:
        return  # the chosen offer defines the fields that it uses
    for field, label, value, users in (
        ("amount", gettext("Money off"), changes.amount, {"amount"}),
        ("min_order", gettext("From order value"), changes.min_order, {"amount", "free_shipping"}),
    ):
        if value and not kinds & users:
            with errors.collect():
                problem = gettext(
                    "{label} {value:g} is for no offer of this campaign; choose one for all "
                    "that has it, or leave it empty."
                )
                raise BadInput(problem.format(label=label, value=value), field=field)


def _with_terms(
    line: OfferLine, action: str, discount: float = 0.0, face: float = 0.0, min_order: float = 0.0
) -> OfferLine:
    terms = {"action": action, "discount": discount, "face": face, "min_order": min_order}
    kept = {
        "categories": line.categories if action == "coupon" and discount else (),
        "contact": None if line.action == "call" else line.contact,
        "own": line.own if action == line.action else None,
        "what": line.what if action == line.action else "",
        "redeemed": line.redeemed if action == line.action else None,
    }
    return line.model_copy(update=terms | kept)


def _kind(line: OfferLine) -> str:
    if line.action == "coupon":
        return "amount" if line.face else "share"
    return line.action


def _validate_discount(body: Body, changes: Changes) -> None:
    """Reject a discount that is none, or that no offer uses."""
    discount = changes.discount
    if discount in (None, body.discount) or changes.offer not in (None, "share"):
        return
    if not body.coupons and changes.offer is None:
        raise BadInput(
            gettext("No part of this campaign carries a discount, so there is none to change."),
            field="discount",
        )
    if not 0.01 <= discount <= 0.99:
        problem = gettext("A discount of {discount:g}% is none; use 1 to 99.")
        raise BadInput(problem.format(discount=100 * discount), field="discount")


def _validate_holdout(holdout: float) -> float:
    low, high = HOLDOUT
    if not low <= holdout <= high:
        problem = gettext(
            "A hold-out of {holdout:g}% is outside the policy; use {low:g} to {high:g}."
        )
        limits = {"low": 100 * low, "high": 100 * high}
        raise BadInput(problem.format(holdout=100 * holdout, **limits), field="holdout")
    return holdout


def _validate_expiry(days: int) -> int:
    if not 1 <= days <= 365:
        problem = gettext("Codes cannot expire after {expires_days} days; use 1 to 365.")
        raise BadInput(problem.format(expires_days=days), field="expires_days")
    return days


def _validate_budget(body: Body, budget: float) -> float:
    limit = body.budget if body.most_budget is None else body.most_budget
    if not 0 < budget <= limit:
        problem = gettext(
            "A budget of {money} is outside the policy; use more than 0 and at most {limit}."
        )
        amounts = {"money": money(budget, body.currency), "limit": money(limit, body.currency)}
        raise BadInput(problem.format(**amounts), field="budget")
    return budget


def _parse_moment(text: str, zone: ZoneInfo, now: datetime, present: datetime | None) -> datetime:
    """Parse a send time; text equal to the present time keeps it."""
    problem = gettext(
        'Send not before {text!r} is no moment; write it like 2025-05-03 09:00, or "{soon}".'
    )
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise BadInput(problem.format(text=text, soon=SOON), field="send_on") from None
    if present is not None and f"{present.astimezone(zone):{MINUTE_FORMAT}}" == text.strip():
        at = present
    at = at if at.tzinfo else _parse_local(at, text, zone)
    if at <= now:
        problem = gettext(
            "Send not before {text!r} ({zone}, the shop's time) is over already; "
            "use a later one, or leave it empty."
        )
        raise BadInput(problem.format(text=text, zone=zone.key), field="send_on")
    require_soon_enough(at, text, zone, now)
    return at


def _parse_local(at: datetime, text: str, zone: ZoneInfo) -> datetime:
    """Interpret a local time; reject skipped and ambiguous times."""
    earlier, later = (at.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    round_trip = earlier.astimezone(UTC).astimezone(zone)
    if round_trip.replace(tzinfo=None) != at:
        problem = gettext(
            "Send not before {text!r} is skipped by the clock of {zone} that day; use {next} "
            "instead."
        )
        following = f"{round_trip:{MINUTE_FORMAT}}"
        raise BadInput(problem.format(text=text, zone=zone.key, next=following), field="send_on")
    if earlier.utcoffset() != later.utcoffset():
        problem = gettext(
            "Send not before {text!r} comes twice by the clock of {zone} that day; write {either}."
        )
        either = " or ".join(moment.isoformat(" ", "minutes") for moment in (earlier, later))
        raise BadInput(problem.format(text=text, zone=zone.key, either=either), field="send_on")
    return earlier


def require_soon_enough(at: datetime, text: str, zone: ZoneInfo, now: datetime) -> None:
    """Reject send times beyond the longest approval.

    Older versions keep their times.

    `at`: moment, timezone-aware.
    Raises `BadInput`: the time is more than `LONGEST_HOURS` ahead.
    """
    latest = now + timedelta(hours=LONGEST_HOURS)
    if at > latest:
        problem = gettext(
            "Send not before {text!r} is more than {days} days ahead; use one up to {latest}, "
            'or "{soon}".'
        )
        shown, days = f"{latest.astimezone(zone):{MINUTE_FORMAT}}", LONGEST_HOURS // 24
        problem = problem.format(text=text, days=days, latest=shown, soon=SOON)
        raise BadInput(problem, field="send_on")


def _changed_text(body: Body, edited: Body, text: str | None) -> str:
    """Return the typed text, or a new default for a changed offer kind."""
    new_text = body.copy_text if text is None else _validate_text(body, text, "copy_text")
    if new_text != body.copy_text or edited.copy_action == body.copy_action:
        return new_text
    return default_text(edited.copy_action, channel=edited.message_channel, kind=edited.kind)


def _changed_reminder(edited: Body, text: str | None, settings: Settings | None) -> str:
    """Return the text of customers without a code; empty if there are none, or for the default."""
    if edited.reminder_action is None:
        if text:
            raise BadInput(
                gettext(
                    "Every customer of this campaign gets the text with the offer; leave the "
                    "reminder's text empty."
                ),
                field="reminder_text",
            )
        return ""
    if text is None:
        return edited.reminder_text
    if not text.strip():
        return ""
    new_text = _validate_text(edited, text, "reminder_text")
    # The window shows the default. Whoever leaves it wrote no text.
    default = default_text(edited.reminder_action, settings, edited.message_channel, edited.kind)
    return "" if new_text == default.strip() else new_text


def _check_group_texts(body: Body, messages: Mapping[str, PartChanges]) -> None:
    for changes in messages.values():
        if changes.text:
            _validate_text(body, changes.text, "copy_text")


def _validate_text(body: Body, text: str, field: str) -> str:
    new_text = validate_text(text, field)
    if is_text(body.message_channel) and len(new_text) > MAX_TEXT:
        problem = gettext(
            "The text has {count:,} characters, and {channel} allows {longest:,}; shorten it. "
            "160 characters are one SMS."
        )
        name = channel_name(body.message_channel)
        problem = problem.format(count=len(new_text), channel=name, longest=MAX_TEXT)
        raise BadInput(problem, field=field)
    return new_text
