"""Test the weekly digest as a job and as a Slack message."""

import json
from datetime import date, timedelta
from typing import Any

import pytest

from retention import clock
from retention.audiences import store
from retention.audiences.parse import parse
from retention.outreach import calls
from retention.registry import ChurnDefinition, change_definition
from retention.reports.digest import digest
from tests import readonly, world
from tests.bot.message_samples import samples
from tests.retention.reports.samples import add_campaign, add_measured_campaign
from tests.workers.harness import ask, row
from workers.delivery import render
from workers.delivery.block_limits import MESSAGE_CHARACTERS, size
from workers.job_requests import Digest, Sweep
from workers.tasks import runner

SECTIONS = Digest().sections


@pytest.fixture
def desk(shop, tmp_path):
    """A copy of the tiny shop, three weeks before its last event."""
    copy = readonly.copy_of(shop, tmp_path / "shop", currency="EUR")
    clock.configure(fixed=shop.end - timedelta(days=21))
    world.change(copy.database, change_definition, ChurnDefinition(28, 56, "person"), "operator")
    yield copy.database, copy.lake, shop.end
    copy.database.dispose()


def test_digest_counts_lapsed_customers_of_an_earlier_sweep(desk):
    database, lake, end = desk
    runner.run_inline(database, Sweep(), user="operator", progress=lambda *_: None)
    clock.configure(fixed=end)
    found = digest(lake, database).data["came_true"]
    assert (found["days"], found["finished"]) == (21, False)
    assert 0 <= found["lapsed"] <= found["flagged"] > 0


def test_digest_shows_a_measured_interval_and_names_that_mention_no_channel(desk):
    database, lake, _ = desk
    effect = {"total": 120.0, "total_low": -10.0, "total_high": 250.0}
    add_measured_campaign(database, effects={"profit": effect, "orders": effect})
    add_campaign(database, "c9", name='<!channel> & "friends"', state="submitted")
    data = digest(lake, database).data
    values = {**data, "demo": True, "zone": "UTC", "sections": SECTIONS}
    blocks = render.message("digest/details", **values).blocks
    markdown = [each for each in _texts(blocks) if each["type"] == "mrkdwn"]
    assert markdown  # a raw_text cannot mention anyone
    assert not any("<!channel>" in each["text"] for each in markdown)
    text = json.dumps(blocks, ensure_ascii=False)
    wanted = ("waits for approval", "likely between −\u2060€10 and €250", "simulated answers")
    assert [words for words in wanted if words not in text] == []
    assert data["work"]["approvals"] == 1


@pytest.mark.parametrize(
    ("advice", "says"),
    [
        ("too_small", "too few bought to tell"),
        pytest.param("unbelievable", "not to be read", marks=pytest.mark.nightly),
    ],
)
def test_message_shows_no_gain_of_an_inconclusive_campaign(desk, advice, says):
    database, lake, _ = desk
    add_measured_campaign(database, advice=advice)
    page = digest(lake, database)
    text = json.dumps(_details(page).blocks, ensure_ascii=False)
    assert says in text
    assert "€250" not in text


@pytest.mark.nightly
def test_digest_message_fits_slack_with_many_campaigns(desk):
    database, lake, _ = desk
    times = {"window_ends_at": clock.now(), "created_at": clock.now()}
    for number in range(30):
        add_campaign(database, f"c{number}", name="Long " * 40, state="live", **times)
    page = digest(lake, database)
    assert size(_details(page).blocks) <= MESSAGE_CHARACTERS


@pytest.mark.nightly
def test_unselected_sections_stay_out_of_the_thread(desk):
    database, lake, _ = desk
    add_campaign(database, name="Spring", state="submitted")
    page = digest(lake, database)
    assert "Spring" not in str(_details(page, sections=("data",)).blocks)
    assert "Newest" not in str(_details(page, sections=("campaigns",)).blocks)


def _week(work: dict[str, Any], sections: tuple[str, ...] = ()) -> list[dict]:
    """Return the blocks of a week's digest with this work."""
    values = samples()["digest/week"] | {"zone": "UTC", "demo": False, "sections": sections}
    values["work"] = values["work"] | work
    return render.message("digest/week", **values).blocks


def test_digest_has_buttons_only_for_work_that_waits():
    def buttons(work: dict[str, Any], sections: tuple[str, ...]) -> list[str]:
        actions = [block for block in _week(work, sections) if block["type"] == "actions"]
        return [each["text"]["text"] for block in actions for each in block["elements"]]

    work = {"approvals": 2, "calls": 1, "data": True}
    for sections in (SECTIONS, ()):
        assert buttons(work, sections) == ["Approve (2)", "My calls", "Check the data"]
    assert buttons({**work, "approvals": 0}, SECTIONS)[0] == "My calls"
    idle = {"approvals": 0, "calls": 0, "data": False}
    assert buttons(idle, SECTIONS) == []
    assert buttons(idle, ()) == ["Digest settings"]


@pytest.mark.parametrize(
    ("work", "says"),
    [
        ({"calls": 2}, "2 calls due"),  # outside of the personal button
        ({"unowned_calls": 1}, "1 call is due"),
        ({"unowned_calls": 3}, "3 calls are due"),
    ],
)
def test_digest_counts_due_calls_and_those_without_an_owner(work, says):
    assert says in json.dumps(_week(work))
    assert "owner" not in json.dumps(_week({}))


def test_digest_counts_the_calls_of_owners_and_the_change_of_risk(desk):
    database, lake, _ = desk
    due = {"owner": "U0ANALYST", "due_on": clock.now().date(), "outcome": None}
    plans = ({}, {"owner": None}, {"outcome": "declined"}, {"due_on": date(2099, 1, 1)})
    with database.transaction() as session:
        for number, plan in enumerate(plans):
            plan = calls.Plan(**due | plan)
            calls.save_entry(session, "", f"c{number}", "U0LEAD", clock.now(), plan)
    data = digest(lake, database).data
    assert (data["work"]["calls"], data["work"]["unowned_calls"]) == (1, 1)
    tiers, change = data["risk"]["tiers"], data["risk"]["change"]["high"]
    assert data["headline"].startswith(f"{tiers['high']} customer")
    assert str(abs(change)) in data["headline"] or change == 0


def _texts(node):
    if isinstance(node, list):
        return [text for inner in node for text in _texts(inner)]
    if not isinstance(node, dict):
        return []
    own = [node] if isinstance(node.get("text"), str) else []
    return own + _texts(list(node.values()))


def _details(page, sections=SECTIONS):
    return render.message("digest/details", **page.data, sections=sections, zone="UTC")


def test_digest_job_posts_a_message_and_its_page_in_the_thread(desk):
    database, _, _ = desk
    key = f"job:{ask(database, Digest(), 'k').id}"
    assert runner.run_job(database, key.removeprefix("job:"), "t") == "done"
    message, details, page = (row(database, key + part) for part in ("", ":details", ":report"))
    assert "week" in message.payload["images"]
    assert (details.thread_key, page.thread_key, page.kind) == (key, key, "file")


def test_digest_of_an_audience_counts_who_came_and_left(desk):
    database, _lake, _ = desk
    saved = {"counted": store.Counted(1, clock.now()), "by": "operator"}
    world.change(database, store.save, "silent", parse("last_order > 20"), **saved)
    data = runner.run_inline(database, Digest(audience="silent"), user="operator")
    shown = data["audience"]
    assert shown["customers"] - shown["customers_before"] == shown["new"] - shown["left"]
    assert shown["new"] > 0
