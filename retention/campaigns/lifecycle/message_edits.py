"""Apply edits to the parts of a campaign's message, for all customers or for an offer group."""

from collections.abc import Mapping
from itertools import product

from retention.campaigns.lifecycle.spec import WITHOUT_CODE, Body, OfferLine
from retention.campaigns.message.merged_message import message_for, variant_messages
from retention.campaigns.message.parts import MessageParts, PartChanges, changed_parts
from retention.errors import BadInput, FieldErrors
from retention.outreach.adapter import channel_name, is_text
from retention.risk.strategy import NAMED
from retention.text import gettext

ALL = ""  # the group of all customers
LINES = ("subject", "preheader", "greeting")
OF_CODE = ("{code}", "{expires}")  # empty without a code
OF_OFFER = ("{discount}", "{conditions}")  # empty without an offer


def changed_messages(body: Body, edited: Body, changes: Mapping[str, PartChanges]) -> Body:
    """Return the edited version with changed messages.

    What was written for another kind of offer is dropped, as its text is.

    `body`: the version before. `edited`: with the new offers and texts.
    `changes`: by rule; `ALL` is the message to everyone, whose text is ``copy_text``.
    Raises `BadInput`: of all parts together.
    """
    errors = FieldErrors()
    common, groups = edited.message, dict(edited.group_messages)
    if edited.copy_action != body.copy_action:
        common = common.model_copy(update=dict.fromkeys(LINES, ""))
    for old, line in zip(body.offers, edited.offers, strict=True):
        if line.action != old.action:
            groups.pop(line.rule, None)
    for rule, typed in changes.items():
        with errors.collect():
            _require_fitting(edited, rule, typed)
        with errors.collect():
            before = groups.get(rule, MessageParts()) if rule else common
            after = changed_parts(before, typed)
            common = common if rule else after
            groups |= {rule: after} if rule else {}
    errors.raise_any()
    written = {rule: parts for rule, parts in groups.items() if parts != MessageParts()}
    changed = edited.model_copy(update={"message": common, "group_messages": written})
    for line, variant in product(changed.offers, (None, *variant_messages(changed))):
        with errors.collect():
            _require_values(line, message_for(changed, line.rule, variant))
    errors.raise_any()
    return changed


def require_group(body: Body, rule: str) -> None:
    """Refuse the name of a group that a campaign does not have."""
    rules = [line.rule for line in body.offers]
    if rule not in rules:
        problem = gettext("No group of this campaign is called {rule!r}; use one of {rules}.")
        raise BadInput(problem.format(rule=rule, rules=", ".join(rules)), field="group")


def _require_fitting(edited: Body, rule: str, typed: PartChanges) -> None:
    """Refuse an unknown group, and parts that a message of the channel does not have."""
    if rule:
        require_group(edited, rule)
    others = ("sender_name", "blocks", *LINES)
    field = next((name for name in others if getattr(typed, name)), None)
    if field and is_text(edited.message_channel):
        problem = gettext("A message by {channel} has only a text; leave the other parts out.")
        name = channel_name(edited.message_channel)
        raise BadInput(problem.format(channel=name), field=field)


def _require_values(line: OfferLine, parts: MessageParts) -> None:
    """Refuse words that are empty without an offer, and blocks that hide the code."""
    rule = line.rule
    missing = OF_CODE if line.action in NAMED else OF_CODE + OF_OFFER
    for name in LINES if line.action in WITHOUT_CODE else ():
        if place := next((place for place in missing if place in getattr(parts, name)), None):
            problem = gettext(
                "{place} is empty for customers of the group {rule!r}. Leave it out, or write one "
                "for each group."
            )
            raise BadInput(problem.format(rule=rule, place=place), field=name)
    kinds = {block.kind for block in parts.blocks}
    if line.coded and kinds and "code" not in kinds and "{code}" not in parts.text:
        problem = gettext(
            "Neither the blocks nor the text for the group {rule!r} show the code; add the block "
            "code, or {place} to the text."
        )
        raise BadInput(problem.format(rule=rule, place="{code}"), field="blocks")
