"""Change the policy without its file: settings, versions and the way back."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from retention import clock
from retention.db import Transaction
from retention.db.audit import record
from retention.db.insert import insert_once
from retention.db.tables import PolicyChange
from retention.errors import BadInput, Conflict, FieldErrors, unknown_name
from retention.number_format import exact_percent
from retention.policy_file import explain_error, read_text, validate_strictly
from retention.risk.policy import DEFAULT, Policy, read_policy
from retention.risk.policy_changes import (
    KIND_PLACES,
    RULES,
    PolicyVersion,
    Value,
    newest_version,
    split_place,
    with_changes,
)
from retention.risk.strategy import Kind, Rule
from retention.templating import kind_title
from retention.text import gettext, in_language

Format = Literal["share", "money", "whole", "number", "hours"]
MAX_VERSIONS = 20  # in the history


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting that admins can change. ``kind``: how it is written; ``hours`` are quiet hours."""

    place: str
    kind: Format
    label: str


_SETTINGS = (
    Setting("campaign.budget", "money", gettext("Budget of a campaign")),
    Setting("campaign.max_audience", "whole", gettext("Largest audience")),
    Setting("campaign.holdout", "share", gettext("Hold-out group")),
    Setting("campaign.frequency_cap_days", "whole", gettext("Days without a second campaign")),
    Setting("campaign.quiet_hours", "hours", gettext("Quiet hours")),
    Setting("campaign.clearance_hours", "number", gettext("Hours between approval and sending")),
    Setting("second_approver.audience", "whole", gettext("Two approvers: customers above")),
    Setting("second_approver.cost", "money", gettext("Two approvers: cost above")),
    Setting("second_approver.discount", "share", gettext("Two approvers: discount above")),
    Setting("offer.expires_days", "whole", gettext("Days until a code expires")),
    Setting("offer.items", "whole", gettext("Items in a message")),
    Setting("offer.margin", "share", gettext("Margin of items without their own")),
    Setting("offer.redemption", "share", gettext("Buyers who use their code")),
    Setting("offer.contact_cost", "money", gettext("Cost of an e-mail")),
    Setting("offer.sms_cost", "money", gettext("Cost of an SMS")),
    Setting("offer.whatsapp_cost", "money", gettext("Cost of a WhatsApp message")),
    Setting("offer.call_cost", "money", gettext("Cost of a call")),
    Setting("offer.shipping_cost", "money", gettext("Cost of a parcel")),
)


def settings_of(policy: Policy) -> dict[str, Setting]:
    """Return the settings that can be changed, by place: limits, costs, and terms of each rule."""
    places = {one.place: Setting(one.place, one.kind, in_language(one.label)) for one in _SETTINGS}
    terms: tuple[tuple[str, Format, str], ...] = (
        ("discount", "share", gettext("Discount: {rule}")),
        ("amount", "money", gettext("Money off: {rule}")),
        ("min_order", "money", gettext("From order value: {rule}")),
        ("cost", "money", gettext("Cost of one: {rule}")),
        ("redeemed", "share", gettext("Buyers who use it: {rule}")),
        ("most", "whole", gettext("Largest number of customers: {rule}")),
    )
    offers: list[tuple[str, str, Rule | Kind]] = [
        (f"{RULES}.{rule.name}", rule.name, rule) for rule in policy.rules
    ]
    offers += [(f"{KIND_PLACES}.{name}", kind_title(name), own) for name, own in policy.kinds]
    for table, title, offer in offers:
        for name, kind, label in terms:
            if getattr(offer, name, None):
                place = f"{table}.{name}"
                places[place] = Setting(place, kind, label.format(rule=title))
    return places


def find_setting(known: Mapping[str, Setting], place: str) -> Setting:
    """Return the setting at a place, of those of `settings_of`, or name the nearest."""
    if place in known:
        return known[place]
    raise unknown_name(
        place,
        list(known),
        gettext("There is no setting {name!r} to change; did you mean {nearest!r}?"),
        gettext("There is no setting {name!r} to change."),
        field=place,
        hint="policy",
    )


def value_at(policy: Policy, place: str) -> Value | None:
    """Return the value at a place; None where the policy has no such rule."""
    section, name, setting = split_place(place)
    table: Any = policy.rule(name) if section == RULES else getattr(policy, section)
    table = getattr(table, name) if section == KIND_PLACES else table
    value: Value | None = getattr(table, setting, None)
    return value


def file_policy(session: Transaction) -> Policy:
    """Return the policy of the file alone."""
    return read_policy(session.settings.policy or DEFAULT)


def change_policy(
    session: Transaction, changes: Mapping[str, Value | None], by: str, version: int | None = None
) -> PolicyVersion:
    """Store a new version with some settings changed.

    `changes`: by place; None or the file's value takes a change back.
    `version`: refuse the change unless this version is in force; None for any.
    """
    before = newest_version(session, session.settings.team_id)
    if version not in (None, before.version):
        text = gettext("Nothing changed: the policy is at version {version} by now; look again.")
        raise Conflict(text.format(version=before.version))
    of_file = file_policy(session)
    known = settings_of(of_file)
    for place in changes.keys() - before.changes.keys():
        find_setting(known, place)
    changed = {
        place: value
        for place, value in {**before.changes, **changes}.items()
        if value is not None and value != value_at(of_file, place)
    }
    return _store(session, before, changed, by)


def roll_back(session: Transaction, version: int, by: str) -> PolicyVersion:
    """Store the changes of an earlier version as a new one; 0 is the file alone."""
    before = newest_version(session, session.settings.team_id)
    row = session.get(PolicyChange, (session.settings.team_id, version))
    if row is None and version:
        text = gettext("There is no version {version} of the policy; the newest is {newest}.")
        raise BadInput(text.format(version=version, newest=before.version), field="version")
    return _store(session, before, row.body if row else {}, by)


def _store(
    session: Transaction, before: PolicyVersion, changes: Mapping[str, Value], by: str
) -> PolicyVersion:
    if changes == before.changes:
        return before
    _check(session, changes, before)
    after, now = PolicyVersion(before.version + 1, changes), clock.now()
    team_id = session.settings.team_id
    key, body = {"team_id": team_id, "version": after.version}, dict(changes)
    if not insert_once(session, PolicyChange, **key, body=body, changed_by=by, changed_at=now):
        raise Conflict(
            gettext("Nothing changed: somebody changed the policy just now; look again.")
        )
    record(session, by, "policy.change", team_id, now, {"version": after.version, **body})
    return after


def _check(session: Transaction, changes: Mapping[str, Value], before: PolicyVersion) -> None:
    """Refuse changes that make no policy, with an error for each setting."""
    values = tomllib.loads(read_text(session.settings.policy or DEFAULT))
    try:
        validate_strictly(Policy, with_changes(values, changes))
    except ValidationError as refusal:
        errors, known = FieldErrors(), settings_of(file_policy(session))
        new = [place for place in changes if changes[place] != before.changes.get(place)]
        for fault in refusal.errors():
            place = _place_of(fault["loc"], values, new or list(changes))
            with errors.collect():
                raise _refusal(place, changes.get(place), known.get(place), {**fault}) from None
        errors.raise_any()


def _refusal(
    place: str, value: Value | None, setting: Setting | None, fault: dict[str, Any]
) -> BadInput:
    """Return the refusal of a value. Shares and their limits are percentages, as people type."""
    shown: Value | None = value
    if setting and setting.kind == "share" and isinstance(value, float):
        limits = fault.get("ctx", {}).items()
        fault["ctx"] = {k: exact_percent(v) if isinstance(v, float) else v for k, v in limits}
        shown = exact_percent(value)
    text = gettext("{label} is {value}: {explanation}.")
    label = setting.label if setting else place
    explanation = explain_error(fault)
    return BadInput(text.format(label=label, value=shown, explanation=explanation), field=place)


def _place_of(loc: tuple[int | str, ...], values: Mapping[str, Any], changed: list[str]) -> str:
    """Return the changed place that an error is about; it may name a whole table."""
    if len(loc) > 1 and loc[0] == RULES and isinstance(loc[1], int):
        parts = (RULES, str(values[RULES][loc[1]].get("name")), *map(str, loc[2:]))
    else:
        parts = tuple(map(str, loc))
    about = ".".join(parts)
    return next((place for place in changed if f"{place}.".startswith(f"{about}.")), changed[0])


def versions(session: Transaction) -> list[dict[str, Any]]:
    """Return the newest versions, newest first, with what each changed."""
    rows = session.scalars(
        session.own(PolicyChange).order_by(PolicyChange.version.desc()).limit(MAX_VERSIONS + 1)
    ).all()
    of_file = file_policy(session)
    earlier = [*(row.body for row in rows[1:]), {}][: len(rows)]
    return [
        {
            "version": row.version,
            "by": row.changed_by,
            "at": row.changed_at.isoformat(),
            "changes": [
                {"place": place, "before": body.get(place), "after": row.body.get(place)}
                | {"file": value_at(of_file, place)}
                for place in sorted({*body, *row.body})
                if body.get(place) != row.body.get(place)
            ],
        }
        for row, body in list(zip(rows, earlier, strict=True))[:MAX_VERSIONS]
    ]
