"""`policy`: show and change the limits of campaigns, their costs and offers."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import click

from bot import numbers
from bot.commands.parameters import TO_READ, integer, option
from bot.commands.summaries import SLACK, TERMINAL
from bot.commands.tree import Answer, Call, group
from retention import clock
from retention.campaigns.lifecycle.closing import uninformative_campaigns
from retention.campaigns.planning.offer_terms import money_off
from retention.db import Transaction
from retention.demo import is_demo_home
from retention.errors import BadInput, FieldErrors, NotAllowed
from retention.risk import policy_edits
from retention.risk.policy import DEFAULT, Policy, load_policy, read_policy
from retention.risk.policy_changes import Value, newest_version
from retention.risk.policy_edits import Setting, find_setting, settings_of, value_at
from retention.text import gettext
from workers import user_roles
from workers.campaigns import policy_proposals

NO_QUIET_HOURS = "none"
DEED = gettext("change the policy")
COMMAND = group("policy", default="show")


@COMMAND.command(
    "show", role="viewer", help=gettext("Limits, costs and offers of campaigns in force.")
)
def show(call: Call) -> Answer:
    """Show the policy in force."""
    return _in_force(call)


@COMMAND.command(
    "set",
    role="admin",
    help=gettext(
        "Change settings, such as campaign.budget=5000 or campaign.holdout=15%. Nothing after = "
        "takes a change back."
    ),
)
@click.argument("changes", nargs=-1, required=True, metavar="SETTING=VALUE ...")
@option("--version", gettext("Only if it still is this version."), integer(), "N")
def change(call: Call, changes: tuple[str, ...], version: int | None) -> Answer:
    """Change settings of the policy."""
    with call.database.transaction() as session:
        if call.first_time(session):
            typed = dict(_split(one) for one in changes)
            values = parsed_values(policy_edits.file_policy(session), typed)
            policy_edits.change_policy(session, values, call.user, version)
    return _in_force(call)


@COMMAND.command("history", role="viewer", help=gettext("Who changed what in the policy."))
def history(call: Call) -> Answer:
    """List the versions of the policy."""
    with call.database.reading() as session:
        return Answer("bot/policy_history", {"versions": policy_edits.versions(session)})


@COMMAND.command(
    "rollback", role="admin", help=gettext("Go back to a version; 0 is the policy file alone.")
)
@click.argument("version", type=integer(0))
def rollback(call: Call, version: int) -> Answer:
    """Go back to an earlier version of the policy."""
    with call.database.transaction() as session:
        if call.first_time(session):
            policy_edits.roll_back(session, version, call.user)
    return _in_force(call)


@COMMAND.command(
    "replay",
    role="analyst",
    surfaces=TERMINAL,
    help=gettext("What a changed policy file would have earned in past tests of offers."),
)
@click.argument("file", type=TO_READ)
def replay(call: Call, file: Path) -> Answer:
    """Estimate what a policy file would have earned."""
    from retention.campaigns.learning.replay import replay

    policy, in_force = read_policy(file), load_policy(call.settings)
    with call.database.reading() as session:
        excluded = uninformative_campaigns(session)
        found = replay(call.lake, session, policy, in_force, clock.now(), excluded)
    return Answer("bot/policy_replay", {**found, "currency": call.settings.currency})


@COMMAND.command("proposals", role="viewer", help=gettext("Changes that results of tests propose."))
def proposals(call: Call) -> Answer:
    """List proposed changes of the policy."""
    return _proposals(call)


@COMMAND.command(
    "approve", role="approver", help=gettext("Change the policy as a result proposes.")
)
@click.argument("proposal", type=integer(1))
def approve(call: Call, proposal: int) -> Answer:
    """Approve a proposed change of the policy."""
    if call.surface != SLACK and not is_demo_home(call.settings):
        text = gettext(
            "Approvals happen in Slack only, so that nobody approves under another name; an "
            "approver types there: `/retention policy approve {number}`"
        )
        raise NotAllowed(text.format(number=proposal))
    return _decide(call, proposal)


@COMMAND.command("reject", role="approver", help=gettext("Leave the policy as it is, and say why."))
@click.argument("proposal", type=integer(1))
@option("--reason", gettext("Why; the message of the proposal shows it."), required=True)
def reject(call: Call, proposal: int, reason: str) -> Answer:
    """Reject a proposed change of the policy."""
    return _decide(call, proposal, reason)


def _decide(call: Call, number: int, reason: str | None = None) -> Answer:
    with call.database.transaction() as session:
        if call.first_time(session):
            policy_proposals.decide(session, number, call.user, reason)
    return _proposals(call)


def _proposals(call: Call) -> Answer:
    with call.database.reading() as session:
        role = user_roles.role_of(session, call.user)
        found = policy_proposals.listed(session)
    may_decide = user_roles.allows(role, "approver")
    return Answer("bot/policy_proposals", {"proposals": found, "may_decide": may_decide})


def _in_force(call: Call) -> Answer:
    with call.database.reading() as session:
        return Answer("bot/policy", policy_data(session, call.user))


def policy_data(session: Transaction, user: str) -> dict[str, object]:
    """Return the policy in force for templates and ``--json``."""
    settings = session.settings
    in_force = newest_version(session, settings.team_id)
    policy = read_policy(settings.policy or DEFAULT, in_force.changes)
    of_file = policy_edits.file_policy(session)
    role = user_roles.role_of(session, user)
    return {
        "version": in_force.version,
        "currency": settings.currency,
        "may_change": user_roles.allows(role, "admin"),
        "settings": [
            asdict(setting)
            | {"value": value_at(policy, place), "file": value_at(of_file, place)}
            | {"changed": place in in_force.changes}
            for place, setting in settings_of(of_file).items()
        ],
        "rules": [
            rule.model_dump(mode="json") | {"face": money_off(rule, policy), "own": None}
            for rule in policy.rules
        ],
    }


def _split(typed: str) -> tuple[str, str]:
    place, sign, value = typed.partition("=")
    if not sign:
        text = gettext("{typed!r} is no change; write it like campaign.budget=5000.")
        raise BadInput(text.format(typed=typed))
    return place.strip(), value.strip()


def parsed_values(
    of_file: Policy, typed: Mapping[str, str], *, in_percent: bool = False
) -> dict[str, Value | None]:
    """Parse what was typed, by place; empty is None. Errors name their place as the field.

    `in_percent`: shares are typed as percentages, with or without the sign.
    """
    errors, values = FieldErrors(), dict[str, Value | None]()
    known = settings_of(of_file)
    for place, text in typed.items():
        with errors.collect():
            values[place] = None
            if text:
                setting = find_setting(known, place)
                values[place] = _parsed(setting, text, in_percent=in_percent)
    errors.raise_any()
    return values


def _parsed(setting: Setting, typed: str, *, in_percent: bool) -> Value:
    try:
        if setting.kind == "hours":
            return "" if typed.lower() == NO_QUIET_HOURS else typed
        if setting.kind == "whole":
            return numbers.parse_integer(typed, 0, None)
        if setting.kind == "share" and (in_percent or typed.endswith("%")):
            return numbers.parse_percentage(typed)
        return (
            numbers.parse_money(typed) if setting.kind == "money" else numbers.parse_number(typed)
        )
    except BadInput:
        fix = {
            "whole": gettext("write a whole number like 40"),
            "share": gettext("write a percentage like 15%"),
        }.get(setting.kind, gettext("write a number like 25 or 12.50"))
        text = gettext("{label} is {typed!r}; {fix}.")
        raise BadInput(
            text.format(label=setting.label, typed=typed, fix=fix), field=setting.place
        ) from None
