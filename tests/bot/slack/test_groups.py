"""Test roles of Slack user groups, the desk's buttons, digest settings and languages."""

import json

import pytest

from bot.commands.parsing import parse
from bot.commands.reports import replace_schedule
from retention import clock
from retention.db.tables import Alert, Audience, Audit, RoleGrant, Schedule
from retention.text import use_language
from tests.bot.wire import ADMIN, ANALYST, CHANNEL, LEAD, VIEWER, stored, words
from tests.world import add, change, read
from workers import action_ids, languages, user_roles
from workers.delivery import outbox
from workers.tasks.interface import Post
from workers.user_roles import grant_to_members

GROUP = "S0STORES"


@pytest.fixture
def members(api):
    """The members of every group, as Slack reports them."""

    def report(*users):
        api.answers["usergroups.users.list"] = {"ok": True, "users": list(users)}

    report(VIEWER, "U0NEW")
    return report


def role_of(database, user):
    return read(database, user_roles.role_of, user)


def test_members_get_the_role_of_their_group(workspace, database, settings, members):
    workspace.run(f"role grant &lt;!subteam^{GROUP}|@stores&gt; analyst", ADMIN)
    assert role_of(database, VIEWER) == "analyst"
    assert role_of(database, "U0OTHER") == "viewer"
    workspace.run("sweep", VIEWER)
    listed = workspace.says("role", ADMIN)
    assert f"<!subteam^{GROUP}>" in listed
    assert "U0NEW" not in listed
    assert GROUP in [entry.subject for entry in stored(database, Audit)]


def test_own_role_counts_before_that_of_a_group(workspace, database, settings, members):
    members(LEAD, VIEWER)
    workspace.run(f"role grant {GROUP} analyst", ADMIN)
    assert role_of(database, LEAD) == "approver"
    workspace.run(f"role grant {VIEWER} viewer", ADMIN)
    assert role_of(database, VIEWER) == "viewer"


def test_member_who_left_the_group_loses_its_role(workspace, database, settings, members):
    workspace.run(f"role grant {GROUP} analyst", ADMIN)
    change(database, grant_to_members, {GROUP: ["U0NEW"]})
    assert role_of(database, VIEWER) == "viewer"
    assert role_of(database, "U0NEW") == "analyst"


def test_highest_role_of_several_groups_counts(database, settings):
    with database.transaction() as session:
        for group, role in (("S0A", "analyst"), ("S0B", "approver")):
            session.add(RoleGrant(user_id=group, role=role, granted_by=ADMIN))
        grant_to_members(session, {"S0A": ["U0X"], "S0B": ["U0X"]})
        assert user_roles.role_of(session, "U0X") == "approver"
        assert "S0B" not in user_roles.holders(session, "approver")
        grant_to_members(session, {"S0A": ["U0X"], "S0B": []})
        assert user_roles.role_of(session, "U0X") == "analyst"


@pytest.mark.parametrize("error", ["missing_scope", "no_such_subteam"])
def test_unreadable_group_gets_no_role(workspace, database, api, error):
    api.answers["usergroups.users.list"] = {"ok": False, "error": error}
    reply = workspace.run(f"role grant {GROUP} admin", ADMIN)["text"]
    assert "usergroups:read" in reply or error in reply
    assert not stored(database, RoleGrant, RoleGrant.user_id == GROUP)


def test_home_shows_and_changes_audiences_alerts_and_schedules(workspace, database, settings):
    workspace.run('schedule add "sweep --tier high" --every "mon 09:00"')
    audience = {"expression": "risk >= medium", "saved_by": ANALYST, "customers": 41}
    alert = {"condition": "risk >= high", "channel": CHANNEL, "created_by": ANALYST}
    lapsing = Audience(name="lapsing", counted_as_of=clock.now(), **audience)
    add(database, lapsing, Alert(name="vip-risk", **alert))
    for user, sees in ((ANALYST, True), (VIEWER, False)):
        view = workspace.open_home(user)
        shown = words(view["blocks"])
        assert "vip-risk" in shown
        assert "sweep --tier high" in shown
        assert ("lapsing" in shown, "schedule pause 1" in json.dumps(view)) == (sees, sees)
    workspace.api.calls.clear()
    workspace.press_at_home(f"{action_ids.HOME_RUN}.pause", "schedule pause 1", ANALYST)
    assert "Paused" in words(workspace.api.wait("views.publish")["view"]["blocks"])


def test_home_approves_a_waiting_campaign(workspace, database, submitted, api):
    view = workspace.open_home(LEAD)
    buttons = [
        element
        for block in view["blocks"]
        for element in block.get("elements", ())
        if element.get("action_id") == action_ids.DESK_APPROVE
    ]
    assert [button["value"] for button in buttons] == [f"{submitted}:1"]
    api.calls.clear()
    workspace.press_at_home(action_ids.DESK_APPROVE, f"{submitted}:1", LEAD)
    after = api.wait("views.publish")["view"]
    assert "Nothing waits" in words(after["blocks"])


@pytest.mark.parametrize("user", [ANALYST, VIEWER])
def test_home_button_cannot_approve_without_the_role(workspace, submitted, api, user):
    assert action_ids.DESK_APPROVE not in json.dumps(workspace.open_home(user))
    workspace.press_at_home(action_ids.DESK_APPROVE, f"{submitted}:1", user)
    assert "you need approver" in words(api.wait("views.open")["view"]["blocks"])


def test_approvals_window_lists_what_the_person_can_decide(workspace, submitted, api):
    workspace.press(action_ids.OPEN_APPROVALS, "", LEAD)
    assert "May" in words(api.wait("views.open")["view"]["blocks"])
    api.calls.clear()
    workspace.press(action_ids.OPEN_APPROVALS, "", ANALYST)
    assert "May" not in words(api.wait("views.open")["view"]["blocks"])


def test_digest_settings_are_stored_for_their_channel(workspace, database, api):
    workspace.run("digest schedule --day friday --at 16:30 --timezone Europe/Berlin")
    workspace.press(action_ids.DIGEST_SETTINGS, "")
    view = api.wait("views.open")["view"]
    elements = {block["block_id"]: block["element"] for block in view["blocks"][1:]}
    assert elements["day"]["initial_option"]["value"] == "friday"
    assert elements["at"]["initial_time"] == "16:30"

    inputs = {
        "day": {"selected_option": {"value": "daily"}},
        "at": {"selected_time": "08:15"},
        "sections": {"selected_options": [{"value": "campaigns"}]},
    }
    for user in (VIEWER, ANALYST):
        workspace.submit(action_ids.DIGEST_VIEW, CHANNEL, inputs, user)
    (row,) = stored(database, Schedule, Schedule.active)
    assert (row.channel, row.weekday, row.at) == (CHANNEL, None, "08:15")
    assert row.timezone == "Europe/Berlin"
    assert row.args == {"sections": ["campaigns"], "audience": None}


def test_typed_schedule_keeps_the_chosen_sections(workspace, database, settings):
    plan = {"channel": CHANNEL, "day": "monday", "at": "09:00", "timezone": "UTC"}
    change(database, replace_schedule, **plan, user=ANALYST, args={"sections": ["data"]})
    workspace.run("digest schedule --at 10:00")
    (row,) = stored(database, Schedule, Schedule.active)
    assert (row.at, row.args) == ("10:00", {"sections": ["data"]})


def test_person_channel_and_workspace_have_languages(workspace, database, settings):
    workspace.run("language en-XA --for workspace", ADMIN)
    workspace.run("language en --for channel", ANALYST)
    assert read(database, languages.of, "C0OTHER") == "en-XA"
    assert read(database, languages.of, ANALYST, CHANNEL) == "en"
    assert "you need admin" in workspace.run("language en --for workspace", VIEWER)["text"]
    assert "did you mean" in workspace.run("language en-X", VIEWER)["text"]


def test_answers_are_in_the_language_of_the_person(workspace, database, settings):
    change(database, languages.choose, VIEWER, "en-XA")
    assert workspace.run("status", VIEWER)["text"].startswith("⟦")
    assert not workspace.run("status", ANALYST)["text"].startswith("⟦")


def test_reply_to_a_choice_is_in_the_chosen_language(workspace):
    assert workspace.run("language zh", VIEWER)["text"].startswith("语言")
    assert workspace.run("language en", VIEWER)["text"].startswith("Language")


def test_language_is_chosen_by_its_name(workspace, database, settings):
    for name, code in (("Chinese", "zh"), ("English", "en"), ("中文", "zh"), ("英语", "en")):
        workspace.run(f"language {name}", VIEWER)
        assert read(database, languages.of, VIEWER) == code
    assert "English (en)" in workspace.run("language", VIEWER)["text"]
    refused = workspace.run("language klingon", VIEWER)["text"]
    assert "English (en), 中文 (zh)" in refused
    assert "en-XA" not in refused + json.dumps(workspace.run("language", VIEWER))


def test_messages_of_a_job_are_in_the_language_of_the_channel(database, settings):
    with database.transaction() as session:
        languages.choose(session, "C0ZH", "en-XA")
        for channel in ("C0ZH", "C0EN"):
            post = Post("job/refused", {"sentence": "No."}, key=channel)
            outbox.put(session, post, default_channel=channel)
    rows = {row.key: row.payload["text"] for row in stored(database, outbox.Outbox)}
    assert rows["C0ZH"].startswith("⟦")
    assert not rows["C0EN"].startswith("⟦")


def test_language_of_a_block_ends_with_it():
    with use_language("en-XA"), pytest.raises(Exception, match="⟦"):
        parse("frobnicate")
    with pytest.raises(Exception, match=r"^There"):
        parse("frobnicate")
