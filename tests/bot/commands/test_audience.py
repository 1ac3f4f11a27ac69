"""`audience` and `--audience`, in the terminal and in Slack."""

import json

import pandas as pd
import pytest
from sqlalchemy import select

from retention.audiences import store
from retention.audiences.parse import parse
from retention.db.tables import Assignment, Audience, Audit, Cohort, Job, ListMember, Outbox
from retention.lake import customer_directory
from tests.bot.slack.test_slash import until
from tests.bot.wire import ANALYST, LEAD, VIEWER, words
from tests.world import change, one, scalars
from workers import action_ids
from workers.customers.audience_filter import list_name
from workers.delivery import render
from workers.job_requests import AudienceSave
from workers.queue import jobs
from workers.tasks import runner


@pytest.fixture
def home(shop_home):
    """The tiny shop with a city for its first hundred customers."""
    rows = [
        {
            "customer_id": f"c{number:04d}",
            "created_at": pd.Timestamp(shop_home.begin),
            "marketing_consent": True,
            "attributes": json.dumps({"city": "Berlin" if number % 2 else "Hamburg"}),
        }
        for number in range(100)
    ]
    shop_home.lake.upsert("customers", pd.DataFrame(rows))
    listed = customer_directory.read_places(shop_home.lake)
    change(shop_home.database, customer_directory.write_places, listed)  # as an import does
    return shop_home


@pytest.mark.nightly
def test_saved_audience_is_counted_shown_listed_used_and_deleted(home, cli):
    saved = cli.json("audience save Berliners 'city = Berlin and orders > 5'")
    assert 0 < saved["customers"] < 50
    named = {"name": "berliners", "expression": "city = Berlin and orders > 5"}
    shown = cli.json("audience show berliners")
    assert named | {"customers": saved["customers"]} == {
        key: shown[key] for key in [*named, "customers"]
    }
    (listed,) = cli.json("audience list")["audiences"]
    assert listed["customers"] == saved["customers"]
    swept = cli.json("sweep --tier low --audience berliners --by city")
    everybody = cli.json("sweep --tier low")
    by_spend = cli.json("sweep --tier low --order spend")
    spends, usual = (
        [row["expected_value"] for row in of["cohort"]] for of in (by_spend, everybody)
    )
    assert spends == sorted(spends, reverse=True) != usual
    assert {int(one["customer_id"][1:]) % 2 for one in swept["cohort"]} == {1}
    assert 0 < swept["customers"] < everybody["customers"]
    assert cli.json("audience save risky 'risk >= medium'")["customers"]
    risky = cli.json("sweep --tier medium --audience risky")
    assert risky["extreme"] == ""  # everybody is at risk by definition, which needs no warning
    assert [row["value"] for row in swept["breakdown"]] == ["Berlin"]
    assert swept["breakdown"][0]["at_risk"] == swept["cohort_size"] == swept["customers"]
    cli.json("audience delete berliners")
    cli.json("audience delete risky")
    assert cli.json("audience list")["audiences"] == []
    query = select(Audit.action).where(Audit.subject == "berliners").order_by(Audit.id)
    assert scalars(home.database, query) == ["audience.save", "audience.delete"]


def test_list_of_a_file_is_an_audience_until_it_is_deleted(home, cli, tmp_path):
    file = tmp_path / "staff.txt"
    file.write_text("c0001\nc0002\nnobody\nc0001\n")
    first = cli.json(f"audience import Staff {file} --exclude")
    counts = ("customers", "rows_read", "rows_accepted", "rows_duplicate", "rows_quarantined")
    assert [first[name] for name in counts] == [2, 4, 2, 1, 1]
    assert first["quarantine"] == {"unknown_member": 1}
    assert (first["expression"], first["exclude"]) == ("in list staff", True)
    table = tmp_path / "staff.csv"
    table.write_text("Name,Customer ID\nAnn,c0002\nBob,c0003\n")
    second = cli.json(f"audience import staff {table}")
    assert second["exclude"] is True
    assert [second[name] for name in counts] == [2, 2, 1, 1, 0]
    assert cli.json("audience save twice 'in list staff and orders > 0'")["warnings"] == []
    assert "twice" in cli.error("audience delete staff")
    cli.json("audience delete twice")
    cli.json("audience delete staff")
    assert scalars(home.database, select(ListMember.id)) == []


def test_sweep_and_cohort_report_of_an_audience_count_its_customers_only(home, cli):
    cli.json("audience save berliners 'city = Berlin'")
    cli.json("sweep --audience berliners --tier low")
    assert scalars(home.database, select(Cohort.audience)) == ["berliners"]
    everybody = cli.json("audience save scored 'risk >= low'")["customers"]
    assert everybody == cli.json("sweep --tier low")["customers"]
    whole, part = (cli.json(f"cohort{of}")["cohorts"] for of in ("", " --audience berliners"))
    assert 0 < sum(month["customers"] for month in part) < sum(m["customers"] for m in whole)


def test_draft_takes_an_audience_and_leaves_exclusions_out_with_a_reason(home, cli):
    cli.json("audience save berliners 'city = Berlin'")
    cli.json("audience save vips 'orders >= 6' --exclude")
    draft = cli.json("campaign draft --tier medium --audience berliners")
    assert draft["excluded"]["audience:vips"] > 0
    assert "berliners: " in draft["name"]
    campaign = cli.json(f"campaign show {draft['campaign_id']}")["campaign"]
    assert campaign["excluded"]["audience:vips"] == draft["excluded"]["audience:vips"]
    assert "in the exclusion vips" in cli.text(f"campaign show {draft['campaign_id']}")
    chosen = scalars(home.database, select(Assignment.customer_id))
    assert chosen
    assert {int(customer[1:]) % 2 for customer in chosen} == {1}
    many = cli.json("audience show vips")
    assert many["exclude"] is True


def test_errors_name_the_nearest_audience_and_field(home, cli):
    cli.json("audience save berliners 'city = Berlin'")
    assert "berliners" in cli.error("sweep --audience berlinrs")
    assert "Did you mean city" in cli.error("audience save x 'citty = Berlin'")
    assert "such as a-b" in cli.error("audience save a/b 'city = Berlin'")
    assert "position 6" in cli.error("audience save x 'city Berlin'")
    assert "consent" in cli.error("sweep --by orders")


@pytest.fixture
def preview(workspace, database, settings, shop):
    """A finished preview of an analyst in the channel."""
    workspace.run("audience save loyal orders >= 5 and last_order < 60d")
    with database.transaction() as session:
        job = session.scalars(select(Job)).one()
        assert job.args["preview"] is True
        named = {name: job.args[name] for name in ("name", "expression", "exclude")}
        counted = {"customers": 12, "population": 300, "as_of": shop.end.isoformat()}
        job.state, job.result = "done", {**named, **counted, "warnings": []}
    return job.id


def saved(database) -> list[Audience]:
    return scalars(database, select(Audience))


def test_slack_saves_only_after_the_button_and_once(workspace, preview, database, settings):
    assert saved(database) == []
    assert workspace.press(action_ids.SAVE_AUDIENCE, preview, VIEWER).status == 200
    assert workspace.press(action_ids.SAVE_AUDIENCE, preview, ANALYST, at="7.7").status == 200
    assert workspace.press(action_ids.SAVE_AUDIENCE, preview, ANALYST, at="7.7").status == 200
    workspace.api.wait("response_url")
    (audience,) = until(lambda: saved(database))
    assert (audience.name, audience.customers, audience.saved_by) == ("loyal", 12, ANALYST)
    assert audience.expression == "orders >= 5 and last_order < 60d"
    message = one(database, select(Outbox).where(Outbox.key == f"job:{preview}"))
    assert "12 customers" in words(message.payload["blocks"])
    assert action_ids.SAVE_AUDIENCE not in json.dumps(message.payload)


@pytest.fixture
def taken(preview, database, shop) -> None:
    """Somebody else saves an audience of that name."""
    counted = store.Counted(72, shop.end)
    change(database, store.save, "loyal", parse("spent > 1"), counted=counted, by=LEAD)


def test_name_taken_after_the_preview_is_not_replaced(workspace, preview, database, taken, api):
    workspace.press(action_ids.SAVE_AUDIENCE, preview, ANALYST)
    refusal = api.wait("response_url")["text"]
    assert all(part in refusal for part in ("72 customers", "spent &gt; 1", "12 customers"))
    assert [audience.expression for audience in saved(database)] == ["spent > 1"]


def test_seen_audience_is_replaced_by_the_button(workspace, preview, database, taken):
    with database.transaction() as session:
        job = session.get(Job, preview)
        job.result = {**job.result, "replaces": store.summary(saved(database)[0])}
    workspace.press(action_ids.SAVE_AUDIENCE, preview, ANALYST)
    until(lambda: [audience.customers for audience in saved(database)] == [12])


def test_taken_name_is_refused_with_both_conditions_until_replace(home, cli):
    cli.json("audience save town 'city = Berlin'")
    refusal = cli.error("audience save town 'city = Hamburg or orders > 0'")
    assert all(part in refusal for part in ("50 customers", "city = Berlin", "--replace"))
    cli.json("audience save town 'city = Berlin'")  # the same customers
    cli.json("audience save town 'city = Hamburg' --replace")
    (listed,) = cli.json("audience list")["audiences"]
    assert listed["expression"] == "city = Hamburg"


@pytest.mark.parametrize("template", ["audience/preview", "audience/confirm"])
def test_question_shows_both_audiences_before_one_replaces_the_other(template):
    replaces = {"name": "wine", "customers": 72, "expression": "bought category Wine"}
    replaces["as_of"] = "2017-10-02T10:00:00+00:00"
    result = {"customers": 2442, "population": 3000, "warnings": [], "replaces": replaces}
    named = {"name": "wine", "expression": "orders > 0", "exclude": False}
    values = {**named, "result": result, **result, "saved": False, "job_id": "j", "error": ""}
    shown = render.view if template == "audience/confirm" else render.message
    rendered = json.dumps(shown(template, **values, value="{}"), default=lambda one: one.blocks)
    for part in ("72 customers", "2,442", "bought category Wine", "orders > 0", "Replace"):
        assert part in rendered.replace("&gt;", ">")


def test_wrong_expression_is_refused_in_slack_at_once(workspace, database):
    answer = workspace.run("audience save loyal orders => 5")
    assert "position" in words(answer["blocks"]) + answer["text"]
    assert "analyst" in workspace.says("audience list", VIEWER)
    assert scalars(database, select(Job)) == []


def test_preview_message_offers_to_save_and_names_the_count(home):
    request = AudienceSave(name="berliners", expression="city = Berlin", preview=True)
    place = {"requested_by": "operator", "channel": "C0CRM", "idem_key": "k"}
    job = change(home.database, jobs.submit, request, **place).job
    assert runner.run_job(home.database, job.id, "t") == "done"
    message = one(home.database, select(Outbox).where(Outbox.key == f"job:{job.id}"))
    assert saved(home.database) == []
    assert "50 customers" in words(message.payload["blocks"])
    assert action_ids.SAVE_AUDIENCE in json.dumps(message.payload)


def test_approver_may_use_audiences(workspace):
    assert "No audience" in workspace.says("audience list", LEAD)


def test_programme_holdout_is_left_out_of_drafts_and_reported(home, cli):
    assert "holdout" in cli.error("report programme")
    assert cli.json("campaign holdout 30")["share"] == 0.3
    draft = cli.json("campaign draft --tier medium")
    assert draft["excluded"]["programme"] > 0
    assert "in the programme hold-out" in cli.text(f"campaign show {draft['campaign_id']}")
    report = cli.json("report programme")
    assert (report["share"], report["verdict"]) == (0.3, "too_early")
    assert 0 < report["held_out"] < report["treated"]
    assert "40%" in cli.error("campaign holdout 40")


def test_condition_without_a_name_limits_a_sweep(home, cli):
    cli.json("audience save berliners 'city = Berlin'")
    named = cli.json("sweep --tier low --audience berliners")
    swept = cli.json("sweep --tier low --where city=berlin")
    assert swept["where"] == "city = berlin"
    assert swept["cohort"] == named["cohort"]
    home.database.engine.dispose()
    names = scalars(home.database, select(Cohort.audience))
    assert {*names} == {"berliners", "city = berlin"}
    assert "position 6" in cli.error("sweep --where where")
    swept = cli.json("sweep --where 'city = Berlln'")
    assert swept["customers"] == 0
    assert "Berlin" in swept["note"]


def test_long_conditions_have_different_list_names():
    first, second = (f"city in (Berlin, Hamburg, Rostock, Bremen, {name})" for name in "AB")
    assert list_name(None, first) != list_name(None, second)
    assert len(list_name("vips", first)) == 40
    assert list_name(None, None) is None


def test_sentence_in_the_terminal_knows_the_shops_places(home, cli):
    places = {"berlin": ("city", "Berlin"), "hamburg": ("city", "Hamburg")}
    assert customer_directory.known_places(home.lake) == places
    said = [cli.json(f"ask 'who is at risk in {city}?'") for city in ("Berlin", "Paris")]
    understood = [(one["understood"], one["place_gap"]) for one in said]
    assert understood == [('sweep --where "city = Berlin"', ""), ("sweep", "value")]
