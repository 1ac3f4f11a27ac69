"""Read what admins have changed in the policy, and put it on top of the policy file."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, bindparam, select
from sqlalchemy.orm import Session

from retention.db.engine import reading_connection
from retention.db.tables import PolicyChange
from retention.errors import BadInput
from retention.settings import Settings
from retention.text import gettext

Value = float | int | str
RULES, KIND_PLACES = "rules", "kinds"  # their places are rules.NAME.SETTING and kinds.NAME.SETTING

# Built once: the query is frequent, and building takes longer than running.
_NEWEST = (
    select(PolicyChange.version, PolicyChange.body)
    .where(PolicyChange.team_id == bindparam("team_id"))
    .order_by(PolicyChange.version.desc())
    .limit(1)
)


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    """What was changed in the file, by place. Version 0 is the file alone."""

    version: int = 0
    changes: Mapping[str, Value] = field(default_factory=dict)


def newest_version(connection: Connection | Session, team_id: str) -> PolicyVersion:
    """Return the version in force."""
    row = connection.execute(_NEWEST, {"team_id": team_id}).first()
    return PolicyVersion(*row) if row else PolicyVersion()


def version_in_force(settings: Settings) -> PolicyVersion:
    """Return the version in force; the file alone where this process has no database open."""
    with reading_connection(settings) as connection:
        return newest_version(connection, settings.team_id) if connection else PolicyVersion()


def split_place(place: str) -> tuple[str, str, str]:
    """Return the section, the name of the rule or the kind, which may be empty, and the setting.

    Examples
    --------
    >>> split_place("campaign.budget"), split_place("rules.High risk.discount")
    (('campaign', '', 'budget'), ('rules', 'High risk', 'discount'))
    """
    section, _, rest = place.partition(".")
    name, _, setting = rest.rpartition(".")
    return section, name, setting


def with_changes(values: Mapping[str, Any], changes: Mapping[str, Value]) -> dict[str, Any]:
    """Return a parsed policy file with the changes in their places."""
    changed = deepcopy(dict(values))
    for place, value in changes.items():
        section, name, setting = split_place(place)
        if section != RULES:
            table = changed.setdefault(section, {})
            (table.setdefault(name, {}) if name else table)[setting] = value
            continue
        rule = next((one for one in changed.get(RULES, ()) if one.get("name") == name), None)
        if rule is None:
            text = gettext("{place} is changed, but the policy file has no rule {name!r}.")
            raise BadInput(text.format(place=place, name=name), field=place, hint="policy_back")
        rule[setting] = value
    return changed
