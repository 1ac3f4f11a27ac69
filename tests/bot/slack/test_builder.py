"""Test the window of `/retention`, and that every example in help runs."""

import json
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from bot.commands.catalogue import entries
from bot.commands.form import FLAG, SELECT, Form, form_of
from bot.commands.parsing import parse
from bot.commands.schedule import SCHEDULABLE
from bot.commands.tasks import TASKS, examples_of
from bot.commands.tree import SLACK, root
from bot.slack.builder import Place
from retention.audiences import store
from retention.audiences.plain import understand
from retention.db.tables import Job
from tests import world
from tests.bot.wire import ANALYST, CHANNEL, LEAD, VIEWER, stored, words
from workers import action_ids
from workers.schedule.cadence import parse_every

COMMANDS = {entry.name: entry for entry in entries(root(), where=SLACK)}
FILLED = {
    "select": lambda field: field.options[-1],
    "number": lambda field: field.least or "12",
    "days": lambda field: "28",
    "date": lambda field: "2017-10-02",
    "time": lambda field: "16:30",
    "person": lambda field: "U0NEW",
    "channel": lambda field: "C0NEW",
    "flag": lambda field: "yes",
    "text": lambda field: TEXTS.get(field.name, "It's a “test”"),
}
TEXTS = {"zone": "Europe/Berlin", "active_within": "56d", "tune": "5m"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_examples_that_parse_to_it(name):
    examples = examples_of(name)
    assert examples, f"add {name!r} to bot/commands/tasks.py"
    for example in examples:
        assert parse(example).command.path == name


def test_tasks_are_commands_that_exist():
    assert set(TASKS) <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_filled_form_is_a_typed_command_that_parses(name):
    empty = form_of(COMMANDS[name])
    required = {one.name: _fill(one) for one in empty.fields if one.is_required}
    full = {one.name: _fill(one) for one in empty.fields}
    for values in (required, full):
        parsed = parse(Form(name, "", empty.fields, values).typed)
        assert parsed.command.path == name


def _fill(field):
    if field.name == "timezone":
        return "Europe/Berlin"
    return FILLED[field.kind](field)


def test_defaults_are_not_typed():
    form = form_of(COMMANDS["sweep"], {"order": "stake", "top": "20"})
    assert form.typed == "sweep --top 20"
    assert {one.name: one.kind for one in form.fields}["tier"] == SELECT
    assert {one.name: one.kind for one in form_of(COMMANDS["score"]).fields}["explain"] == FLAG


def open_window(workspace, user=ANALYST):
    answer = workspace.send(workspace.form("", user), "application/x-www-form-urlencoded")
    assert (answer.status, answer.body) == (200, "")
    return workspace.api.wait("views.open")["view"]


def offered(view):
    return _grouped(view["blocks"][0]["element"])


def _grouped(menu):
    return [option["value"] for group in menu["option_groups"] for option in group["options"]]


def test_retention_alone_opens_a_window_with_the_commands_of_the_role(workspace):
    analyst = offered(open_window(workspace))
    workspace.api.calls.clear()
    viewer = offered(open_window(workspace, VIEWER))
    assert {"sweep", "campaign draft", "status"} <= set(analyst)
    assert "role grant" not in analyst
    assert "sweep" not in viewer
    assert set(viewer) < set(analyst)


def state(command, **values):
    task = {"selected_option": {"value": command}}
    fields = {
        f"{command}:{name}": {action_ids.BUILDER_FIELD: {"value": value}}
        for name, value in values.items()
    }
    return {"task": {action_ids.BUILDER_TASK: task}, **fields}


def in_window(
    workspace, kind, values, user=ANALYST, response_url="", chosen="", fields=(), channel=CHANNEL
):
    """Choose in the open window, or submit it."""
    place = json.dumps({"channel": channel, "response_url": response_url, "group": ""})
    view = {"id": "V1", "hash": f"h{workspace.count}", "type": "modal", "private_metadata": place}
    view |= {"callback_id": action_ids.BUILDER_VIEW, "state": {"values": values}}
    view["blocks"] = [{"type": "input", "block_id": name} for name in ("task", *fields)]
    workspace.count += 1
    action = {"action_id": action_ids.BUILDER_TASK, "block_id": "task", "value": ""}

    def change(payload):
        payload["view"] = {**payload["view"], **view}
        if kind == "home_action.json":
            payload["actions"][0] |= {**action, "selected_option": {"value": chosen}}

    return workspace.interact(kind, user, change)


def test_chosen_command_shows_its_options_and_its_typed_form(workspace):
    in_window(workspace, "home_action.json", state("sweep", top="20"))
    view = workspace.api.wait("views.update")["view"]
    kinds = {block["block_id"]: block["element"]["type"] for block in view["blocks"][2:-1]}
    expected = {"sweep:tier": "static_select", "sweep:top": "number_input"}
    expected["sweep:as_of"] = "datepicker"
    assert expected.items() <= kinds.items()
    assert "`/retention sweep --top 20`" in words(view["blocks"])


def test_submitted_window_runs_the_typed_command(workspace, database):
    url = workspace.api.url + "response_url"
    values = state("sweep", top="20")
    answer = in_window(workspace, "view_submission.json", values, response_url=url)
    assert answer.status == 200
    assert "errors" not in (answer.body or "")
    (job,) = stored(database, Job)
    assert (job.kind, job.channel, job.args["top"]) == ("sweep", CHANNEL, 20)
    shown = workspace.api.wait("response_url")
    assert shown["response_type"] == "ephemeral"
    assert "`/retention sweep --top 20`" in words(shown["blocks"])


@pytest.mark.parametrize(
    ("values", "user", "message"),
    [
        (state("sweep"), VIEWER, "you need analyst"),
        (state("campaign show", campaign="nope"), ANALYST, "nope"),
        (state(""), ANALYST, "Choose what you want to do"),
    ],
)
def test_refused_window_stays_open_with_the_reason(workspace, database, values, user, message):
    answer = in_window(workspace, "view_submission.json", values, user)
    reply = json.loads(answer.body)
    assert reply["response_action"] == "errors"
    assert message in reply["errors"]["task"]
    assert stored(database, Job) == []


@pytest.mark.parametrize("error", ["hash_conflict", "not_found"])
def test_late_refresh_covers_nothing(workspace, error):
    workspace.api.answers["views.update"] = {"ok": False, "error": error}
    values = state("alert add", name="vip", condition="risk >= high")
    in_window(workspace, "home_action.json", values)
    workspace.api.wait("views.update")
    assert workspace.api.named("views.push") == workspace.api.named("views.open") == []


def test_unfinished_quotes_do_not_cover_the_window(workspace):
    values = state("alert add", name="vip", condition='"a\' b» c"')
    assert in_window(workspace, "home_action.json", values).status == 200
    assert workspace.api.named("views.push") == []


def test_save_an_audience_opens_its_pickers_in_the_same_window(workspace):
    in_window(workspace, "home_action.json", state("audience save"), chosen="audience save")
    view = workspace.api.wait("views.update")["view"]
    assert view["callback_id"] == action_ids.AUDIENCE_VIEW
    assert {"row.0", "tier.0", "typed"} <= {block.get("block_id") for block in view["blocks"]}


@pytest.mark.parametrize(
    ("command", "values", "block"),
    [
        ("audience save", {"name": "x/y", "expression": "risk = high"}, "name"),
        ("alert add", {"name": "vip", "condition": "high risk"}, "condition"),
    ],
)
def test_errors_of_the_window_stand_under_their_inputs(workspace, command, values, block):
    values = state(command, **values)
    answer = in_window(workspace, "view_submission.json", values, fields=list(values))
    assert set(json.loads(answer.body)["errors"]) == {f"{command}:{block}"}


def test_schedule_is_chosen_from_lists_and_every_choice_can_run(workspace):
    in_window(workspace, "home_action.json", state("schedule add"))
    view = workspace.api.wait("views.update")["view"]
    inputs = {block["block_id"]: block.get("element") for block in view["blocks"]}
    for name in ("command", "every", "zone"):
        assert inputs[f"schedule add:{name}"]["type"] == "static_select"
    assert inputs["schedule add:channel"]["type"] == "conversations_select"
    times, zones = (_grouped(inputs[f"schedule add:{name}"]) for name in ("every", "zone"))
    assert len(times) == 480
    assert [str(parse_every(every)) for every in times] == times
    for option in inputs["schedule add:command"]["options"]:
        assert parse(option["value"]).command.request.kind in SCHEDULABLE
    assert zones[0] == "UTC"  # the shop's
    assert {"Europe/Berlin", "Pacific/Chatham", "America/Argentina/Salta"} <= {*zones}
    assert [str(ZoneInfo(zone)) for zone in zones] == zones


WEEKLY = {"schedule add:command": "sweep --audience vips", "schedule add:every": "mon 09:00"}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("alert", {"alert add:name": "vips", "alert add:condition": "risk >= high"}),
        ("weekly", WEEKLY),
    ],
)
def test_button_of_a_saved_audience_opens_a_filled_form(
    workspace, database, settings, kind, expected
):
    counted = store.Counted(3, datetime(2017, 10, 2, tzinfo=UTC))
    condition = understand("risk >= high")
    world.change(database, store.save, "vips", condition, counted=counted, by=ANALYST)
    workspace.press(f"{action_ids.BUILDER_START}.{kind}", f"{kind}|vips")
    view = workspace.api.wait("views.open")["view"]
    shown = {}
    for block in view["blocks"]:
        element = block.get("element", {})
        chosen = element.get("initial_option", {}).get("value")
        shown[block.get("block_id")] = element.get("initial_value", chosen)
    assert expected.items() <= shown.items()


def test_run_from_home_says_that_the_answer_is_under_messages(workspace):
    answer = in_window(workspace, "view_submission.json", state("sweep"), channel="")
    view = json.loads(answer.body)["view"]
    assert "Messages" in words(view["blocks"])
    assert workspace.api.wait("chat.postMessage")["channel"] == ANALYST


def test_button_of_help_opens_its_group(workspace):
    workspace.press(action_ids.OPEN_BUILDER, "win", LEAD)
    view = workspace.api.wait("views.open")["view"]
    assert {command.split()[0] for command in offered(view)} == {"audit", "campaign", "calendar"}
    assert Place.of(view["private_metadata"]).channel
