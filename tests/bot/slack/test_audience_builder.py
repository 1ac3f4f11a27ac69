"""Build an audience in the modal: rows, errors, count and saving."""

import json
from typing import Any

import pytest
from sqlalchemy import select

from retention.audiences import store
from retention.db.tables import Job
from retention.lake.customer_directory import write_places
from tests.bot.wire import ANALYST, VIEWER, stored, words
from tests.workers.harness import wait
from tests.world import change, read
from workers import action_ids

FIELD = f"{action_ids.AUDIENCE_FIELD}.field"
OPERATOR = f"{action_ids.AUDIENCE_FIELD}.operator"


def chosen(value: str) -> dict[str, Any]:
    return {"selected_option": {"value": value}}


def form(*rows: tuple[str, str, str], name="loyal", join="all", typed="", exclude=False) -> dict:
    values: dict[str, Any] = {
        "name": {"value": {"value": name}},
        "join": {"value": chosen(join)},
        "typed": {"value": {"value": typed}},
        "exclude": {"value": {"selected_options": [{"value": "exclude"}] if exclude else []}},
    }
    for number, (field, operator, value) in enumerate(rows):
        values[f"row.{number}"] = {FIELD: chosen(field), OPERATOR: chosen(operator)}
        values[f"value.{number}"] = {"value": {"value": value}}
    return values


def build(workspace, values: dict) -> dict:
    metadata, state = json.dumps({"rows": 3}), {"values": values}
    return workspace.submit(action_ids.AUDIENCE_VIEW, metadata, {}, state=state)


def blocks_of(view: dict) -> dict:
    return {block.get("block_id"): block for block in view["blocks"]}


def finish(database, customers: int, shop_end) -> Job:
    with database.transaction() as session:
        job = session.scalars(select(Job)).one()
        named = {name: job.args[name] for name in ("name", "expression", "exclude")}
        counted = {"customers": customers, "population": 300, "as_of": shop_end.isoformat()}
        known = {"warnings": ["Nothing has the city 'Berlim'."], "attributes": ["age", "income"]}
        job.state, job.result = "done", named | counted | known
    return job


def test_rows_are_counted_and_saved_with_the_count(workspace, database, settings, shop, api):
    values = form(("risk", ">=", "medium"), ("bought category", "!=", "Coffee in 90d"))
    answer = build(workspace, values)
    assert answer["response_action"] == "update"
    assert "Counting" in words(answer["view"]["blocks"])
    (job,) = wait(lambda: stored(database, Job))
    assert job.args["expression"] == "risk >= medium and not bought category Coffee in 90d"
    assert job.channel is None
    finish(database, 12, shop.end)
    counted = api.wait("views.update")["view"]
    assert "12 customers" in words(counted["blocks"])
    assert "Berlim" in words(counted["blocks"])
    assert read(database, store.saved) == []
    saved = workspace.submit(counted["callback_id"], counted["private_metadata"], {})
    assert "saved" in words(saved["view"]["blocks"])
    (audience,) = read(database, store.saved)
    assert (audience.name, audience.customers, audience.saved_by) == ("loyal", 12, ANALYST)


def test_nothing_is_saved_before_the_count_is_there(workspace, database, settings):
    metadata = {"name": "x", "expression": "risk = high", "exclude": False, "job": "none"}
    answer = workspace.submit(action_ids.AUDIENCE_SAVE_VIEW, json.dumps(metadata), {})
    assert answer["response_action"] == "update"
    assert answer["view"]["callback_id"] == action_ids.AUDIENCE_SAVE_VIEW
    assert read(database, store.saved) == []


@pytest.mark.parametrize(
    ("values", "blocks"),
    [
        (form(("risk", ">=", "hihg")), {"value.0"}),
        (form(("", "=", "x"), name="two/words"), {"name", "value.0"}),
        (form(("risk", "=", "")), {"value.0"}),
        (form(), {"value.0"}),
        (form(typed="risk >= or"), {"typed"}),
        (form(("orders", ">", "2"), ("value", ">", "many")), {"value.1"}),
    ],
)
def test_errors_stand_under_their_inputs(workspace, database, values, blocks):
    answer = build(workspace, values)
    assert answer["response_action"] == "errors"
    assert set(answer["errors"]) == blocks
    assert stored(database, Job) == []


def test_viewer_cannot_save_a_counted_audience(workspace, database, settings, shop):
    build(workspace, form(("orders", ">", "2")))
    wait(lambda: stored(database, Job))
    job = finish(database, 3, shop.end)
    metadata = {"name": "x", "expression": "orders > 2", "exclude": False, "job": job.id}
    workspace.submit(action_ids.AUDIENCE_SAVE_VIEW, json.dumps(metadata), {}, VIEWER)
    assert read(database, store.saved) == []


def test_preview_opens_the_builder_with_its_rows_and_known_attributes(
    workspace, database, shop, api
):
    workspace.run("audience save loyal orders > 5 or city = Berlin --exclude")
    job = finish(database, 3, shop.end)
    workspace.press(action_ids.EDIT_AUDIENCE, job.id)
    view = api.wait("views.open")["view"]
    blocks = blocks_of(view)
    first = blocks["row.0"]["elements"][0]
    assert first["initial_option"]["value"] == "orders"
    assert {"age", "income"} <= {option["value"] for option in first["options"]}
    assert blocks["value.1"]["element"]["initial_value"] == "Berlin"
    assert blocks["join"]["element"]["initial_option"]["value"] == "any"
    assert blocks["exclude"]["element"]["initial_options"]
    assert "orders &gt; 5 or city = Berlin" in words(view["blocks"])


def test_categories_and_stores_are_menus_with_their_numbers_of_customers(
    workspace, database, shop, api
):
    counts = [["12", "counted viewed category", "Wine"], ["3", "counted store", "367"]]
    change(database, write_places, counts)
    expression = "viewed category Wine in 30d and store = 367"
    workspace.run(f"audience save loyal {expression}")
    workspace.press(action_ids.EDIT_AUDIENCE, finish(database, 3, shop.end).id)
    blocks = blocks_of(api.wait("views.open")["view"])
    picked = [blocks[f"pick.{number}"]["element"]["initial_option"] for number in (0, 1)]
    assert [option["value"] for option in picked] == ["Wine", "367"]
    assert "12" in picked[0]["text"]["text"]
    operators = blocks["row.1"]["elements"][1]["options"]
    assert [option["value"] for option in operators] == ["=", "!="]
    assert blocks["period.0"]["element"]["initial_value"] == "30d"
    values = form(("viewed category", "=", ""), ("store", "=", ""), name="other")
    values |= {"pick.0": {"value": chosen("Wine")}, "period.0": {"value": {"value": "30d"}}}
    values |= {"pick.1": {"value": chosen("London, Soho")}}
    build(workspace, values)
    jobs = wait(lambda: stored(database, Job, Job.args["name"].as_string() == "other"))
    assert jobs[0].args["expression"] == expression.replace("367", '"London, Soho"')


def test_window_with_many_menus_fits_into_slack_with_the_chosen_values(
    workspace, database, shop, api
):
    names = [f"{number:03} {'long ' * 28}name" for number in range(500)]
    change(database, write_places, [["9", "counted bought category", name] for name in names])
    expression = " and ".join(f'bought category "{name}"' for name in names[-5:])
    workspace.run(f"audience save loyal {expression}")
    workspace.press(action_ids.EDIT_AUDIENCE, finish(database, 3, shop.end).id)
    view = api.wait("views.open")["view"]
    assert len(json.dumps(view)) < 250_000
    picks = [blocks_of(view)[f"pick.{number}"]["element"] for number in range(5)]
    assert [pick["initial_option"]["value"] for pick in picks] == names[-5:]
    for pick, name in zip(picks, names[-5:], strict=True):
        options = [one["value"] for group in pick["option_groups"] for one in group["options"]]
        assert options == [*names[:120], name]


def test_mixed_expression_is_opened_as_text(workspace, database, shop, api):
    mixed = "orders > 5 or city = Berlin and value > 3"
    workspace.run(f"audience save loyal {mixed}")
    workspace.press(action_ids.EDIT_AUDIENCE, finish(database, 3, shop.end).id)
    blocks = blocks_of(api.wait("views.open")["view"])
    assert blocks["typed"]["element"]["initial_value"] == mixed


def test_new_audience_starts_with_pickers_and_a_menu_of_risks(workspace, api):
    workspace.press(action_ids.EDIT_AUDIENCE, "new")
    blocks = blocks_of(api.wait("views.open")["view"])
    fields = [blocks[f"row.{number}"]["elements"][0]["initial_option"] for number in range(4)]
    shown = [field["value"] for field in fields]
    assert shown == ["risk", "value", "last_order", "bought category"]
    menu = blocks["tier.0"]["element"]
    assert [option["value"] for option in menu["options"]] == ["high", "medium", "low"]


def test_chosen_risk_counts_and_presets_without_value_are_left_out(workspace, database):
    rows = ("risk", ">=", ""), ("value", ">", ""), ("bought category", "=", "")
    values = form(*rows, name="Valuable at risk")
    values["tier.0"] = {"value": chosen("high")}
    values["pick.2"] = {"value": {"selected_option": None}}
    del values["value.0"]
    assert build(workspace, values)["response_action"] == "update"
    (job,) = wait(lambda: stored(database, Job))
    assert (job.args["name"], job.args["expression"]) == ("valuable-at-risk", "risk >= high")


def test_everyday_words_are_answered_with_an_expression(workspace):
    answer = build(workspace, form(typed="high risk and spent over 100"))
    assert "risk >= high and spent > 100" in answer["errors"]["typed"]
