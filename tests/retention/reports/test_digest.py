"""The digest on the tiny shop: its numbers, its page, its message."""

import json
from datetime import timedelta
from types import SimpleNamespace

import pytest

from retention import clock
from retention.db.tables import Campaign, Outbox
from retention.errors import TooLittleData
from retention.lake import Lake
from retention.reports.digest import digest, top_products
from tests import readonly
from workers import jobs
from workers.delivery import render
from workers.delivery.limits import MESSAGE_CHARACTERS, size
from workers.requests import Digest, Recommend, Sweep
from workers.tasks import runner


@pytest.fixture
def desk(shop, tmp_path):
    """A copy of the tiny shop, three weeks before its last event."""
    copy = readonly.copy_of(shop, tmp_path / "home", currency="EUR")
    clock.configure(fixed=shop.end - timedelta(days=21))
    yield copy.settings, copy.database, copy.lake, shop.end
    copy.database.dispose()


def test_digest_is_json_with_consistent_parts(desk):
    settings, database, lake, _ = desk
    weekly_digest = digest(lake, database, settings)
    data = json.loads(json.dumps(weekly_digest.data))
    assert data["as_of"] == clock.now().isoformat()
    assert sum(data["risk"]["tiers"].values()) == data["risk"]["customers"]
    for tier, change in data["risk"]["change"].items():
        assert data["risk"]["tiers"][tier] - data["risk"]["before"][tier] == change
    assert data["customers"]["active"] == data["customers"]["weeks"][-1]["customers"]
    assert data["currency"] == "EUR"
    assert data["came_true"] is None
    assert data["top_items"]["customers"] == min(300, data["risk"]["tiers"]["high"])
    assert data["top_items"].keys() == {"customers", "list", "items", "model_version"}


def test_digest_reports_outcome_of_flags_three_weeks_ago(desk):
    settings, database, lake, end = desk
    runner.run_inline(settings, database, Sweep(), user="operator", progress=lambda *_: None)
    clock.configure(fixed=end)
    outcome = digest(lake, database, settings).data["came_true"]
    assert (outcome["days"], outcome["finished"]) == (21, False)
    assert 0 <= outcome["lapsed"] <= outcome["flagged"] > 0


def test_top_products_merge_items_with_equal_titles():
    milk, other, bread = (
        SimpleNamespace(item_id=n, title=t)
        for n, t in (("1", "Milk"), ("2", "Milk"), ("3", "Bread"))
    )
    products = top_products(
        {"ann": [milk, bread], "ben": [other], "cas": [other, bread], "dee": [bread, milk, other]}
    )
    assert [
        (product["title"], product["item_id"], product["customers"]) for product in products
    ] == [
        ("Milk", "1", 4),
        ("Bread", "3", 3),
    ]
    assert products[0]["who"] == ["ann", "ben", "cas"]


def test_later_events_do_not_change_the_digest(desk):
    settings, database, lake, end = desk
    earlier = digest(lake, database, settings, as_of=end - timedelta(days=60))
    assert earlier.data["data"]["newest_event"] < (end - timedelta(days=60)).isoformat()
    clock.configure(fixed=end)
    assert digest(lake, database, settings, as_of=end - timedelta(days=60)).data == earlier.data


def test_campaigns_are_listed_with_escaped_names(desk):
    settings, database, lake, _ = desk
    with database.transaction() as session:
        session.add(
            Campaign(
                id="c1",
                name='<!channel> & "friends"',
                state="submitted",
                post_key="k",
                body={},
                salt="s",
                drafted_by="U1",
                created_at=clock.now() - timedelta(days=1),
            )
        )
    weekly_digest = digest(lake, database, settings)
    page = weekly_digest.html(settings)
    assert "&lt;!channel&gt;" in page
    assert "<!channel>" not in page
    message = render.message(
        "digest/week", **weekly_digest.data, alt_text=weekly_digest.chart.alt_text, zone="UTC"
    )
    assert "<!channel>" not in json.dumps(message.blocks)
    assert "waiting for approval" in json.dumps(message.blocks)


def _measured(database, **result):
    effect = {"total": 120.0, "total_low": 10.0, "total_high": 250.0}
    with database.transaction() as session:
        session.add(
            Campaign(
                id="c1",
                name="Autumn",
                state="closed",
                post_key="k",
                body={},
                salt="s",
                drafted_by="U1",
                window_ends_at=clock.now() - timedelta(days=2),
                created_at=clock.now() - timedelta(days=40),
                result={"effects": {"profit": effect, "orders": effect}, **result},
            )
        )


def test_measured_campaign_shows_its_interval_and_the_demo_label(desk):
    settings, database, lake, _ = desk
    effect = {"total": 120.0, "total_low": -10.0, "total_high": 250.0}
    _measured(database, effects={"profit": effect, "orders": effect})
    weekly_digest = digest(lake, database, settings)
    values = {**weekly_digest.data, "demo": True, "alt_text": "", "zone": "UTC"}
    shown_text = json.dumps(render.message("digest/week", **values).blocks, ensure_ascii=False)
    assert "−\u2060€10 to €250" in shown_text
    assert "simulated responses" in shown_text
    assert "assumed" in shown_text


@pytest.mark.parametrize(
    ("advice", "says"),
    [("too_small", "too few bought to tell"), ("unbelievable", "not to be read")],
)
def test_inconclusive_campaign_is_no_gain_in_the_digest(desk, advice, says):
    settings, database, lake, _ = desk
    _measured(database, advice=advice)
    weekly_digest = digest(lake, database, settings)
    message = render.message("digest/week", **weekly_digest.data, alt_text="", zone="UTC")
    for shown_text in (
        json.dumps(message.blocks, ensure_ascii=False),
        weekly_digest.html(settings),
    ):
        assert says in shown_text
        assert "€250" not in shown_text


def test_message_with_many_campaigns_fits_into_slack(desk):
    settings, database, lake, _ = desk
    with database.transaction() as session:
        for number in range(30):
            session.add(
                Campaign(
                    id=f"c{number}",
                    name="Long " * 40,
                    state="live",
                    post_key=f"k{number}",
                    body={},
                    salt="s",
                    drafted_by="U1",
                    window_ends_at=clock.now(),
                    created_at=clock.now(),
                )
            )
    weekly_digest = digest(lake, database, settings)
    message = render.message(
        "digest/week", **weekly_digest.data, alt_text=weekly_digest.chart.alt_text, zone="UTC"
    )
    assert size(message.blocks) <= MESSAGE_CHARACTERS


def test_digest_without_events_names_the_next_step(settings, database):
    with pytest.raises(TooLittleData, match="retention import"):
        digest(Lake.open(settings), database, settings)


def test_job_posts_one_message_with_chart_and_page_in_its_thread(desk):
    settings, database, _, _ = desk
    with database.transaction() as session:
        submitted = jobs.submit(
            session,
            settings,
            Digest(),
            requested_by="U0VIEWER",
            channel="C0CRM",
            idem_key="k",
            announce=True,
        )
    from workers.tasks.runner import run_job

    assert run_job(settings, database, submitted.job.id, "t") == "done"
    with database.reading() as session:
        rows = {row.key: row for row in session.query(Outbox)}
    message, page = rows[f"job:{submitted.job.id}"], rows[f"job:{submitted.job.id}:report"]
    assert "week" in message.payload["images"]
    assert page.kind == "file"
    assert page.thread_key == message.key


def test_recommendations_of_a_pseudonym_name_the_customer(desk):
    settings, database, _, _ = desk
    with database.reading() as session:
        from retention.db.tables import DirectoryEntry

        customer = session.query(DirectoryEntry).order_by(DirectoryEntry.customer_id).first()
    recommendation = runner.run_inline(
        settings,
        database,
        Recommend(customer_id=customer.pseudonym, k=3),
        user="operator",
        progress=lambda *_: None,
    )
    assert recommendation["customer_id"] == customer.customer_id
    assert len(recommendation["items"]) == 3
    assert set(recommendation["items"][0]) == {"item_id", "title", "score", "source", "why"}
    message = render.message(
        "recommend/list",
        **recommendation,
        more=0,
        pseudonym="c-1",
        shown_in="1",
        zone="UTC",
        demo=False,
        currency="",
    )
    assert recommendation["items"][0]["title"] in json.dumps(message.blocks, ensure_ascii=False)
