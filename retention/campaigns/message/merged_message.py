"""Merge the parts of a campaign's message for one customer: all, offer group, variant.

Empty parts are the defaults of `retention.campaigns.message.wording`.
"""

from collections.abc import Mapping
from typing import Any

from retention.campaigns.lifecycle.spec import WITHOUT_CODE, Body
from retention.campaigns.message.parts import MessageParts, show_blocks, with_greeting
from retention.campaigns.message.wording import (
    Wording,
    is_default_text,
    load_wording,
    text_of,
    text_wording,
)
from retention.campaigns.planning.due_and_new_items import NEW_ARRIVAL
from retention.outreach.adapter import is_text
from retention.settings import Settings

CALL = "call"  # the action of a call script, which a person of the shop reads
LONG_SILENCE = 28  # days without an order from which "it has been a while"


def message_for(
    body: Body, rule: str, variant: MessageParts | None = None, *, action: str | None = None
) -> MessageParts:
    """Return the parts of the message to customers of an offer line.

    Later ones count: those for all, then ``copy_text`` or ``reminder_text``, then those of the
    group, then those of the variant.

    `rule`: name of the offer line.
    `action`: of the customer's stored offer; by default that of the line.
    """
    if action is None:
        action = next((line.action for line in body.offers if line.rule == rule), "")
    if action == body.copy_action:
        text = body.copy_text
    else:
        text = body.reminder_text if action in WITHOUT_CODE else ""
    group = body.group_messages.get(rule, MessageParts())
    return body.message.overridden(MessageParts(text=text), group, variant or MessageParts())


def variant_messages(body: Body) -> tuple[MessageParts, ...]:
    """Return what the variants of a test say instead of the campaign's own message."""
    return tuple(variant.message for variant in body.test.variants) if body.test else ()


def parts_of(body: Body, terms: Mapping[str, Any]) -> MessageParts:
    """Return the parts of the message to the customer with a stored offer.

    `terms`: the offer, with the ``variant`` that the customer was drawn for, if there is one.
    """
    variant = body.test.variant(terms.get("variant")) if body.test else None
    own = variant.message if variant and terms["action"] != CALL else None
    if own and own.text and terms["action"] != body.copy_action:
        own = own.model_copy(update={"text": ""})  # it is written for another offer
    return message_for(body, terms.get("rule", ""), own, action=terms["action"])


def written_parts(body: Body) -> dict[str, dict[str, str]]:
    """Return the parts that are no defaults, by group and name; the group of all is empty."""
    messages = {"": body.message, **body.group_messages}
    return {
        group: shown_parts(parts) for group, parts in messages.items() if parts != MessageParts()
    }


def shown_parts(parts: MessageParts) -> dict[str, str]:
    """Return the parts that are no defaults, as a person types them."""
    return {
        name: show_blocks(value) if isinstance(value, tuple) else value
        for name in MessageParts.model_fields
        if (value := getattr(parts, name))
    }


def own_parts(settings: Settings, body: Body, terms: Mapping[str, Any]) -> MessageParts:
    """Return what a person wrote for a customer's stored offer; a default text is empty."""
    action = terms["action"]
    parts = parts_of(body, terms)
    if not parts.text:
        return parts
    # The text without a code is that of most of these customers.
    is_other = action in WITHOUT_CODE and action != body.copy_action
    usual = (body.reminder_action or action) if is_other else action
    is_default = is_default_text(settings, usual, parts.text, body.message_channel, body.kind)
    return parts.model_copy(update={"text": ""}) if is_default else parts


def customer_wording(
    settings: Settings, body: Body, terms: Mapping[str, Any], locale: str, own: MessageParts
) -> Wording:
    """Return the texts for a customer.

    What a person wrote is in the shop's language, and so is all around it. Call scripts are in the
    shop's language, too.

    `own`: of `own_parts`.
    """
    wording = load_wording(settings, locale)
    is_short = is_text(body.message_channel)
    is_written = bool(own.text) if is_short else own.is_written
    if terms["action"] == CALL or is_written:
        shop = load_wording(settings)
        # A text in the customer's own language still has dates and amounts as they write them.
        is_same = wording.name == shop.name and terms["action"] != CALL
        wording = wording if is_same else shop
    return text_wording(settings, wording) if is_short else wording


def message_text(body: Body, terms: Mapping[str, Any], wording: Wording, own: MessageParts) -> str:
    """Return the campaign's text or the offer's default text, with the greeting.

    `own`: of `own_parts`.
    """
    text = own.text or text_of(
        wording,
        wording_action(terms),
        body.message_channel,
        is_late=terms.get("silent_days", LONG_SILENCE) < LONG_SILENCE,  # unknown in old campaigns
        kind=body.kind,
    )
    has_greeting = terms["action"] != CALL and not is_text(body.message_channel)
    return with_greeting(text, own.greeting) if has_greeting else text


def wording_action(terms: Mapping[str, Any]) -> str:
    """Return the action that the wording of an offer follows.

    A new-arrivals offer without new items reads as a reminder.
    """
    action = str(terms["action"])
    has_new_item = any(item.get("source") == NEW_ARRIVAL for item in terms["items"])
    return "reminder" if action == "new_arrivals" and not has_new_item else action
