"""A campaign's whole life through the real tasks, on the tiny shop: draft, decide, send, take the codes, measure."""

import csv
import io
import shutil
from collections import Counter
from datetime import date, timedelta

import pandas as pd
import pytest
from sqlalchemy import delete, func, select, update

from retention import clock, feedback
from retention.campaigns import closing, coupons, due, holes, sending
from retention.campaigns.approval import Changes
from retention.campaigns.body import Body
from retention.campaigns.prior import learnt_prior
from retention.campaigns.states import Stale, find
from retention.db import Database
from retention.db.tables import (
    Assignment,
    Audit,
    Campaign,
    Coupon,
    File,
    Impression,
    Job,
    Outbox,
    RoleGrant,
    Send,
)
from retention.errors import BadInput, Conflict, NotAllowed
from retention.feedback import Subject
from retention.lake import Lake
from retention.lake.importing import import_files
from retention.outreach import consent
from retention.recommend.bandit.decisions import decisions
from retention.risk.policy import REASONS, load_policy
from retention.settings import Settings
from retention.uplift.learners import UpliftLearner
from tests import shop as tiny
from workers import campaigns, ids, jobs
from workers.requests import CampaignCsv, CampaignDraft, CampaignLook, CampaignMeasure, CampaignSend, Tidy
from workers.tasks.runner import run_job

ANALYST, LEAD, CHANNEL = "U0ANALYST", "U0LEAD", "C0CRM"


POLICY = """
[campaign]
budget = 5000
quiet_hours = ""
[[rules]]
name = "All"
tiers = ["high", "medium", "low"]
action = "coupon"
discount = 0.1
[[rules]]
name = "Buys on discount"
tiers = ["high", "medium", "low"]
reasons = ["discounts"]
action = "reminder"
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The tiny shop, built once; every test gets a copy."""
    home = tmp_path_factory.mktemp("campaigns") / "home"
    shop = tiny.build(home, customers=120, items=30, days=100)
    shop.database.dispose()
    (home / "policy.toml").write_text(POLICY)
    return home, shop.end


@pytest.fixture
def desk(made, tmp_path):
    """A shop of this test's own with people in it, the day after its last event."""
    home = tmp_path / "home"
    shutil.copytree(made[0], home)
    settings = Settings(home=home, admins="U0ADMIN", policy=home / "policy.toml", _env_file=None)
    shop = tiny.Shop(settings, Database.of(settings), Lake.open(settings), tiny.BEGIN, made[1])
    with shop.database.transaction() as session:
        for user, role in ((ANALYST, "analyst"), (LEAD, "approver")):
            session.add(RoleGrant(user_id=user, role=role, granted_by="U0ADMIN"))
    clock.configure(fixed=shop.end)
    yield shop
    shop.database.dispose()


def _run(desk, request, user, channel=CHANNEL, key=None) -> Job:
    with desk.database.transaction() as session:
        job = jobs.submit(
            session,
            desk.settings,
            request,
            requested_by=user,
            channel=channel,
            idem_key=key or f"k{request!r}{user}",
        ).job
    run_job(desk.settings, desk.database, job.id, "test")
    with desk.database.reading() as session:
        return session.get_one(Job, job.id)


def _drafted(desk, **options) -> str:
    job = _run(desk, CampaignDraft(tier="low", **options), ANALYST)
    assert job.error is None
    return job.result["campaign_id"]


def _approved(desk) -> str:
    campaign_id = _drafted(desk)
    with desk.database.transaction() as session:
        campaigns.submit(session, desk.settings, campaign_id, 1, ANALYST)
    with desk.database.transaction() as session:
        campaigns.approve(session, desk.settings, campaign_id, 1, LEAD)
    return campaign_id


def _live(desk) -> str:
    campaign_id = _approved(desk)
    clock.configure(fixed=clock.now() + timedelta(hours=5))
    job = _run(desk, CampaignSend(campaign_id=campaign_id, version=1), LEAD)
    assert job.error is None
    return campaign_id


def _pass(desk, **time) -> None:
    """Time goes on, and the shop with it: somebody who is in no campaign buys something at its end."""
    clock.configure(fixed=clock.now() + timedelta(**time))
    _import(desk, "purchase", clock.now() - timedelta(minutes=1), ["passer-by"])


def _import(desk, event_type, at, customers) -> None:
    """Events of these customers at a moment are imported."""
    rows = {"customer_id": customers, "event_type": event_type, "occurred_at": at, "source": "shop"}
    if event_type == "purchase":
        order = f"{at:%Y%m%d%H%M}"
        rows |= {"order_id": [f"{order}-{who}" for who in customers], "amount": 50.0, "currency": "EUR"}
    file = desk.settings.home / f"{event_type}-{at:%Y%m%d%H%M}.parquet"
    pd.DataFrame(rows).to_parquet(file)
    import_files(desk.lake, desk.database, desk.settings, "events", [str(file)])


def _campaign(desk, campaign_id) -> Campaign:
    with desk.database.reading() as session:
        return find(session, desk.settings, campaign_id)


def _said(desk, key=None) -> str:
    with desk.database.reading() as session:
        rows = session.scalars(select(Outbox).where(Outbox.key == key) if key else select(Outbox)).all()
    return "\n".join(str(row.payload) for row in rows)


def test_a_draft_says_who_what_and_how_sure(desk):
    campaign_id = _drafted(desk, name="Win back <!channel> & friends")
    campaign = _campaign(desk, campaign_id)
    body = campaign.body
    assert body["audience"] > 20
    assert body["excluded"]["no_consent"] > 0
    card = _said(desk, campaign.post_key)
    assert "Expected incremental profit" in card
    assert "prior" in card
    assert "<!channel>" not in card.replace(
        "'text': 'Win back <!channel> & friends'", ""
    )  # plain text is no markup
    with desk.database.reading() as session:
        offers = session.scalars(select(Assignment.offer).where(Assignment.campaign_id == campaign_id)).all()
    assert len(offers) == body["audience"]
    assert all(offer["items"] and offer["items"][0]["title"] for offer in offers)
    # a tenth is drawn to learn from: a list of that may be of nothing but what was bought before
    full = [len(offer["items"]) for offer in offers if not offer["arm"].startswith("repeat|")]
    assert set(full) == {3}
    assert all(len(offer["items"]) <= 3 for offer in offers)
    assert {offer["segment"]["value"] for offer in offers} == {"high", "middle", "low"}
    assert {offer["segment"]["reason"] for offer in offers} <= {*REASONS, "none"}


def test_what_past_campaigns_taught_chooses_the_audience_and_the_draft_says_which(desk, monkeypatch):
    from retention.uplift import experiments

    class ByFrequency(UpliftLearner):
        def predict(self, X):
            return 0.4 * (X["orders_all"] > X["orders_all"].median()).to_numpy(float)

    first = _campaign(desk, _drafted(desk))
    assert first.body["targeting"]["by"] == "risk"
    assert "no past campaign had a hold-out" in _said(desk, first.post_key)
    taught = experiments.Uplift("learnt", 2, 900, "s_logistic", 0.08, 0.03, 0.13, ByFrequency(), mean=0.2)
    monkeypatch.setattr(experiments, "learn", lambda *args, **kwargs: taught)
    campaign = _campaign(desk, _drafted(desk, name="Persuadable"))
    assert campaign.body["targeting"]["by"] == "uplift"
    assert 0 < campaign.body["audience"] < first.body["audience"]
    assert campaign.body["excluded"]["no_gain"] > 0
    line = campaign.body["offers"][0]
    assert line["uplift_sales"] == pytest.approx(0.4 * line["sales"])  # only they are worth it
    assert campaign.body["targeting"]["qini_low"] == 0.03
    card = _said(desk, campaign.post_key)
    assert "Chosen by expected incremental profit" in card
    assert "expected to earn too little" in card


def test_the_whole_way_to_a_result(desk):
    campaign_id = _live(desk)
    campaign = _campaign(desk, campaign_id)
    assert campaign.state == "live"
    assert campaign.window_ends_at - campaign.sent_at == timedelta(days=28)
    with desk.database.reading() as session:
        arms = dict(
            session.execute(
                select(Assignment.customer_id, Assignment.arm).where(Assignment.campaign_id == campaign_id)
            )
            .tuples()
            .all()
        )
        coupon_of = dict(session.execute(select(Coupon.customer_id, Coupon.code)).tuples().all())
    treated = {who for who, arm in arms.items() if arm == "treatment"}
    assert coupon_of
    assert coupon_of.keys() <= treated  # a control gets nothing
    sent = desk.lake.table("treatments").execute()
    assert dict(zip(sent["customer_id"], sent["arm"], strict=True)) == arms

    job = _run(desk, CampaignCsv(campaign_id=campaign_id), LEAD, channel=LEAD)
    assert job.error is None
    with desk.database.reading() as session:
        file = session.scalars(select(File).where(File.mime == "text/csv")).one()
        sent_to = session.scalars(select(Outbox).where(Outbox.kind == "file")).one()
        audited = session.scalars(select(Audit).where(Audit.action == "campaign.csv")).one()
    rows = list(csv.DictReader(io.StringIO(file.content.decode("utf-8-sig"))))
    assert {row["customer_id"] for row in rows} == treated
    assert all(coupons.normal(row["code"]) == row["code"] for row in rows if row["code"])
    assert all(not row["code"] or row["code"] in row["text"] for row in rows)
    assert (sent_to.channel, file.sensitive, audited.details["rows"]) == (LEAD, True, len(rows))
    assert f"{len(rows)} rows" in _said(desk)
    assert not any(code in _said(desk) for code in coupon_of.values())  # nor in any message

    early = _run(desk, CampaignMeasure(campaign_id=campaign_id), LEAD, key="early")
    assert "window" in early.error
    _pass(desk, days=29)
    job = _run(desk, CampaignMeasure(campaign_id=campaign_id), LEAD, key="late")
    assert job.error is None
    assert job.result["sample_ratio"]["believable"]
    closed = _campaign(desk, campaign_id)
    assert closed.state == "closed"
    assert "Incremental profit" in _said(desk, f"campaign:{campaign_id}:result:1")
    with desk.database.reading() as session:
        posted = session.scalars(select(Outbox).where(Outbox.key == f"campaign:{campaign_id}:result:1")).one()
    assert posted.thread_key == closed.post_key


def test_the_file_tells_what_each_code_takes_off_and_from_which_order_on(desk):
    """Whoever put the codes of money off into a shop found a discount of nought."""
    campaign_id = _live(desk)
    with desk.database.transaction() as session:
        who, row = session.execute(
            select(Coupon.customer_id, Assignment)
            .join(Assignment, Assignment.customer_id == Coupon.customer_id)
            .where(Assignment.campaign_id == campaign_id)
            .order_by(Coupon.customer_id)
        ).first()
        row.offer = {**row.offer, "discount": 0.0, "amount": 5.0, "min_order": 40.0}
    assert _run(desk, CampaignCsv(campaign_id=campaign_id), LEAD, channel=LEAD).error is None
    with desk.database.reading() as session:
        content = session.scalars(select(File.content).where(File.mime == "text/csv")).one()
    rows = {row["customer_id"]: row for row in csv.DictReader(io.StringIO(content.decode("utf-8-sig")))}
    told = [rows[who][name] for name in ("discount", "amount", "min_order")]
    assert told == ["0.0", "5.0", "40.0"]
    other = next(row for one, row in rows.items() if one != who and row["code"])
    assert (float(other["discount"]) > 0, other["amount"], other["min_order"]) == (True, "0.0", "0.0")


def _offered(desk, campaign_id) -> dict[str, list[str]]:
    """Treated customer → the items of their offer."""
    treated = (Assignment.campaign_id == campaign_id, Assignment.arm == "treatment")
    with desk.database.reading() as session:
        rows = session.execute(select(Assignment.customer_id, Assignment.offer).where(*treated))
        return {who: [item["item_id"] for item in offer["items"]] for who, offer in rows}


def _sold_out_before_it_is_sent(desk, campaign_id, many) -> set[str]:
    """So many of the items that are offered most."""
    offered = Counter(item for items in _offered(desk, campaign_id).values() for item in items)
    popular = {item for item, _ in offered.most_common(many)}
    items = desk.lake.table("items").execute()
    desk.lake.upsert("items", items.assign(in_stock=~items["item_id"].isin(popular)))
    clock.configure(fixed=clock.now() + timedelta(hours=5))
    assert _run(desk, CampaignSend(campaign_id=campaign_id, version=1), LEAD).error is None
    return popular


@pytest.mark.parametrize("blend", ["repeat", "new"])
def test_what_takes_the_place_of_a_sold_out_item_is_of_the_kind_that_was_drawn(desk, blend):
    """The list of who was drawn what they bought before was filled up with what they never had, under the drawn arm's name."""
    campaign_id = _approved(desk)
    with desk.database.transaction() as session:
        for one in session.scalars(select(Assignment).where(Assignment.arm == "treatment")):
            one.offer = {**one.offer, "arm": f"{blend}|All"}
    before = _offered(desk, campaign_id)
    gone = _sold_out_before_it_is_sent(desk, campaign_id, 10)
    events = desk.lake.table("events").execute()
    had = events[events.event_type == "purchase"].groupby("customer_id")["item_id"].agg(set)
    filled = [
        (who, item)
        for who, items in _offered(desk, campaign_id).items()
        for item in items
        if item not in before[who] and had[who] - gone  # of who had nothing else the list is what is popular
    ]
    assert filled
    assert {item in had[who] for who, item in filled} == {blend == "repeat"}


def test_what_sold_out_since_the_draft_is_in_no_copy(desk):
    with (desk.settings.home / "policy.toml").open("a") as policy:
        policy.write(
            "[recommend]\nexperiment = 0\n"
        )  # who is drawn what they bought before may have no more of it
    campaign_id = _approved(desk)
    before = _offered(desk, campaign_id)
    popular = _sold_out_before_it_is_sent(desk, campaign_id, 3)
    after = _offered(desk, campaign_id)
    assert not popular & {item for items in after.values() for item in items}
    assert {who: len(items) for who, items in after.items()} == {
        who: len(items) for who, items in before.items()
    }
    for who, items in before.items():
        assert [item for item in items if item not in popular] == after[who][: len(set(items) - popular)]
    with desk.database.reading() as session:
        assert not popular & set(session.scalars(select(Impression.item_id)))


def _file(desk, campaign_id) -> set[str]:
    """Whom the file of codes that is taken now names."""
    job = _run(desk, CampaignCsv(campaign_id=campaign_id), LEAD, channel=LEAD, key=f"file {clock.wall()}")
    assert job.error is None
    with desk.database.reading() as session:
        sent = session.scalars(
            select(Outbox).where(Outbox.key == f"campaign:{campaign_id}:file:{job.id}")
        ).one()
        content = session.get_one(File, sent.payload["file"]).content.decode("utf-8-sig")
    return {row["customer_id"] for row in csv.DictReader(io.StringIO(content))}


def test_who_does_not_want_to_be_written_to_any_more_is_in_no_file(desk):
    campaign_id = _live(desk)
    with desk.database.reading() as session:
        sends = dict(session.execute(select(Send.customer_id, Send.id)).tuples().all())
    refused, left, *_ = sorted(sends)
    people = desk.lake.table("customers").execute()
    people.loc[people.customer_id == refused, "marketing_consent"] = False
    desk.lake.upsert("customers", people)
    assert _file(desk, campaign_id) == sends.keys() - {refused}
    with desk.database.transaction() as session:
        consent.unsubscribe(session, desk.settings, sends[left], clock.now())
    assert _file(desk, campaign_id) == sends.keys() - {refused, left}
    with desk.database.reading() as session:
        states = dict(session.execute(select(Send.customer_id, Send.state)).tuples().all())
    assert states.pop(refused) == "cancelled"
    assert set(states.values()) == {"sent"}


def _unasked(desk):
    """The policy's file, its one rule for customers who said nothing of consent, and all of them: none has."""
    policy = desk.settings.home / "policy.toml"
    policy.write_text(
        '[campaign]\nquiet_hours = ""\n[[rules]]\nname = "Unasked"\ntiers = ["high", "medium", "low"]\n'
        'consent = ["unknown"]\naction = "reminder"\n'
    )
    people = desk.lake.table("customers").execute()
    desk.lake.upsert("customers", people.assign(marketing_consent=None))
    return policy, people


@pytest.mark.parametrize("instead", [False, True])
def test_who_was_chosen_without_having_said_anything_is_written_to_as_the_rule_says(desk, instead):
    """All of them were approved, and then left out as if they had withdrawn a consent."""
    policy, people = _unasked(desk)
    campaign_id = _live(desk)
    with desk.database.transaction() as session:
        treated = sorted(session.scalars(select(Send.customer_id)))
        if instead:
            policy.write_text(
                policy.read_text()
                + '[[rules]]\nname = "Else"\ninstead_of = ["Unasked"]\naction = "new_arrivals"\n'
            )
            offer = func.json_set(Assignment.offer, "$.rule", "Else")
            session.execute(update(Assignment).values(offer=offer))
    refused = people.customer_id == treated[0]
    desk.lake.upsert("customers", people[refused].assign(marketing_consent=False))
    assert _file(desk, campaign_id) == {*treated[1:]}
    policy.write_text(policy.read_text().replace('consent = ["unknown"]\n', ""))  # strict from now on
    job = _run(desk, CampaignCsv(campaign_id=campaign_id), LEAD, channel=LEAD, key="strict")
    assert "nobody to write to" in job.error


def test_a_rule_that_is_renamed_in_the_clearance_time_leaves_nobody_out(desk):
    """Consent was asked of today's rule of that name: there was none, and all of its customers seemed to have withdrawn."""
    policy, people = _unasked(desk)
    campaign_id = _live(desk)
    with desk.database.reading() as session:
        treated = sorted(session.scalars(select(Send.customer_id)))
    policy.write_text(policy.read_text().replace("Unasked", "Said nothing yet"))
    desk.lake.upsert("customers", people[people.customer_id == treated[0]].assign(marketing_consent=False))
    assert _file(desk, campaign_id) == {*treated[1:]}


def test_who_gets_the_offer_of_a_laxer_rule_was_still_chosen_by_their_own(desk):
    """An offer that is instead_of two rules was sent with the consent that either of them is content with."""
    policy = desk.settings.home / "policy.toml"
    policy.write_text(
        '[campaign]\nquiet_hours = ""\n[[rules]]\nname = "Asked"\ntiers = ["low"]\naction = "reminder"\n'
        '[[rules]]\nname = "Unasked"\ntiers = ["low"]\nconsent = ["unknown"]\naction = "reminder"\n'
        '[[rules]]\nname = "Else"\ninstead_of = ["Asked", "Unasked"]\naction = "new_arrivals"\n'
    )
    campaign_id = _live(desk)
    with desk.database.transaction() as session:
        treated = sorted(session.scalars(select(Send.customer_id)))
        session.execute(update(Assignment).values(offer=func.json_set(Assignment.offer, "$.rule", "Else")))
    people = desk.lake.table("customers").execute()
    desk.lake.upsert("customers", people[people.customer_id == treated[0]].assign(marketing_consent=None))
    assert _file(desk, campaign_id) == {*treated[1:]}


def test_codes_that_became_worthless_while_their_file_was_made_are_not_handed_over(desk, monkeypatch):
    from workers.tasks import campaign_csv

    campaign_id, made = _live(desk), campaign_csv.run

    def stopped_meanwhile(request, context):
        outcome = made(request, context)
        with desk.database.transaction() as session:
            campaigns.stop(session, desk.settings, campaign_id, LEAD, "wrong discount")
        return outcome

    monkeypatch.setattr(campaign_csv, "run", stopped_meanwhile)
    job = _run(desk, CampaignCsv(campaign_id=campaign_id), LEAD, channel=LEAD)
    assert "is cancelled" in job.error
    with desk.database.reading() as session:
        assert not session.scalars(select(Outbox).where(Outbox.kind == "file")).all()
        assert not session.scalars(select(Audit).where(Audit.action == "campaign.csv")).all()


def test_codes_that_are_sent_late_are_valid_as_long_as_they_say(desk):
    campaign_id = _approved(desk)
    clock.configure(fixed=clock.now() + timedelta(hours=5))
    with desk.database.transaction() as session:
        asked = jobs.submit(
            session, desk.settings, CampaignSend(campaign_id=campaign_id, version=1),
            requested_by=LEAD, channel=CHANNEL, idem_key="late",
        ).job  # fmt: skip
    clock.configure(fixed=clock.now() + timedelta(hours=30))  # no worker was there
    run_job(desk.settings, desk.database, asked.id, "test")
    assert _campaign(desk, campaign_id).sent_at == clock.now()


def test_who_is_called_is_on_a_list_of_their_own_and_gets_no_code(desk):
    policy = desk.settings.home / "policy.toml"
    policy.write_text(
        policy.read_text()
        + '[[rules]]\nname = "Call"\ntiers = ["high", "medium", "low"]\nvalues = ["high"]\naction = "call"\n'
    )
    customers = desk.lake.table("customers").execute()
    desk.lake.upsert("customers", customers.assign(phone="+44 20 7946 0000"))
    campaign_id = _live(desk)
    assert ids.CALL_LIST in _said(desk, _campaign(desk, campaign_id).post_key)
    with desk.database.reading() as session:
        rows = session.execute(select(Assignment.customer_id, Assignment.offer, Assignment.arm)).all()
    to_call = {who for who, offer, arm in rows if offer["action"] == "call" and arm == "treatment"}
    assert to_call
    files = {}
    for part in ("codes", "calls"):
        job = _run(desk, CampaignCsv(campaign_id=campaign_id, part=part), LEAD, channel=LEAD)
        assert job.error is None
        with desk.database.reading() as session:
            name = f"{campaign_id}-{part}.csv"
            content = session.scalars(select(File.content).where(File.name == name)).one()
        files[part] = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))
    assert {row["customer_id"] for row in files["calls"]} == to_call
    assert not to_call & {row["customer_id"] for row in files["codes"]}
    assert {row["phone"].lstrip("'") for row in files["calls"]} == {"+44 20 7946 0000"}
    values = [float(row["expected_value"]) for row in files["calls"]]
    assert values == sorted(values, reverse=True)
    assert all(row["name"] in row["talk"] for row in files["calls"])
    assert "rows of the call list" in _said(desk) or "row of the call list" in _said(desk)
    with desk.database.reading() as session:
        assert not set(session.scalars(select(Coupon.customer_id))) & to_call
        sends = session.execute(select(Send.customer_id, Send.channel, Send.state)).all()
    assert {who for who, channel, _ in sends if channel == "call"} == to_call
    assert {state for _, _, state in sends} == {"sent"}


def test_sending_twice_or_after_a_crash_issues_each_code_once(desk, monkeypatch):
    from retention.campaigns import sending

    campaign_id = _approved(desk)
    clock.configure(fixed=clock.now() + timedelta(hours=5))
    finish = sending.finish

    def crash(*_args):
        raise RuntimeError("power cut")

    monkeypatch.setattr(sending, "finish", crash)
    request = CampaignSend(campaign_id=campaign_id, version=1)
    assert _run(desk, request, LEAD, key="send").state == "failed"
    assert _campaign(desk, campaign_id).state == "sending"
    with desk.database.reading() as session:
        reserved = set(session.execute(select(Coupon.code, Coupon.state)).tuples().all())
    assert {state for _, state in reserved} == {"reserved"}
    monkeypatch.setattr(sending, "finish", finish)
    assert _run(desk, request, LEAD, key="again").error is None
    with desk.database.reading() as session:
        issued = set(session.execute(select(Coupon.code, Coupon.state)).tuples().all())
    assert {code for code, _ in issued} == {code for code, _ in reserved}
    assert {state for _, state in issued} == {"issued"}
    assert "already live" in _run(desk, request, LEAD, key="third").error


def test_it_is_not_sent_before_its_time_nor_once_stopped(desk):
    campaign_id = _approved(desk)
    request = CampaignSend(campaign_id=campaign_id, version=1)
    assert "clearance" in _run(desk, request, LEAD, key="soon").error
    with desk.database.transaction() as session:
        campaigns.stop(session, desk.settings, campaign_id, LEAD, "the shop is closed")
    clock.configure(fixed=clock.now() + timedelta(hours=5))
    assert "stopped" in _run(desk, request, LEAD, key="late").error
    with desk.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Coupon)) == 0


def test_it_is_not_measured_before_the_orders_of_its_window_are_there(desk):
    """Without an import nobody had bought anything: "it lost money, do not repeat it", and closed for good."""
    campaign_id = _live(desk)
    assert _measured(desk, campaign_id, _campaign(desk, campaign_id).window_ends_at) == "measuring"
    assert (
        _said(desk, f"campaign:{campaign_id}:waits:1") == ""
    )  # nobody has imported the last minutes' orders yet
    clock.configure(fixed=clock.now() + timedelta(days=1))
    waits = _run(desk, CampaignMeasure(campaign_id=campaign_id), LEAD, key="no orders yet")
    assert (waits.error, waits.result["waits"]) == (None, True)
    assert _campaign(desk, campaign_id).state == "measuring"
    assert "import the orders of the window" in _said(desk, f"campaign:{campaign_id}:waits:1")
    _pass(desk, days=1)
    with desk.database.transaction() as session:
        asked = [one.kind for one in due.due(session, desk.settings, clock.now())]
    assert asked == ["campaign_measure"]
    _run(desk, CampaignMeasure(campaign_id=campaign_id), LEAD, key="the next day")
    assert _campaign(desk, campaign_id).state == "closed"


def test_days_of_the_window_without_any_order_are_told_with_the_result(desk, monkeypatch):
    campaign_id = _live(desk)
    monkeypatch.setattr(holes, "missing_days", lambda *window: [date(2025, 4, 20), date(2025, 4, 21)])
    _pass(desk, days=29)
    measured = _run(desk, CampaignMeasure(campaign_id=campaign_id), LEAD)
    assert measured.result["missing_days"] == ["2025-04-20", "2025-04-21"]
    said = _said(desk, f"campaign:{campaign_id}:result:1")
    assert "2 days of its window have no order here* (20 Apr 2025, 21 Apr 2025)" in said


def _measured(desk, campaign_id, at) -> str:
    """The campaign's state after it was looked at at a moment."""
    clock.configure(fixed=at)
    job = _run(desk, CampaignMeasure(campaign_id=campaign_id), LEAD, key=f"measure {at}")
    assert job.error is None
    return _campaign(desk, campaign_id).state


def test_views_do_not_say_that_the_orders_of_the_window_are_there(desk):
    """One view after its end, no purchase imported: "it lost money, do not repeat it"."""
    campaign_id = _live(desk)
    ends = _campaign(desk, campaign_id).window_ends_at
    clock.configure(fixed=ends + timedelta(hours=2))
    _import(desk, "view", ends + timedelta(hours=1), ["passer-by"])
    assert _measured(desk, campaign_id, ends + timedelta(hours=3)) == "measuring"
    assert _measured(desk, campaign_id, ends + timedelta(days=4)) == "measuring"


def test_the_orders_of_the_windows_last_day_count_where_they_come_the_night_after(desk):
    campaign_id = _live(desk)
    ends = _campaign(desk, campaign_id).window_ends_at
    clock.configure(fixed=ends)
    _import(desk, "purchase", ends - timedelta(hours=23), ["passer-by"])
    assert _measured(desk, campaign_id, ends) == "measuring"
    with desk.database.reading() as session:
        treated = session.scalars(
            select(Assignment.customer_id).where(
                Assignment.campaign_id == campaign_id, Assignment.arm == "treatment"
            )
        ).all()
    clock.configure(fixed=ends + timedelta(hours=14))
    _import(desk, "purchase", ends - timedelta(hours=5), treated)
    _import(desk, "purchase", ends + timedelta(hours=1), ["passer-by"])
    assert _measured(desk, campaign_id, ends + timedelta(days=1)) == "closed"
    assert _campaign(desk, campaign_id).result["effects"]["buyers"]["per_customer"] > 0.9


def test_where_nobody_buys_after_the_window_it_is_measured_some_days_later(desk):
    campaign_id = _live(desk)
    ends = _campaign(desk, campaign_id).window_ends_at
    clock.configure(fixed=ends)
    _import(desk, "purchase", ends - timedelta(hours=23), ["passer-by"])
    assert _measured(desk, campaign_id, ends + timedelta(days=2)) == "measuring"
    assert _measured(desk, campaign_id, ends + timedelta(days=3)) == "closed"


@pytest.mark.parametrize("stopped", [False, True])
def test_where_its_orders_never_come_it_is_closed_without_a_result_and_nothing_is_learnt(desk, stopped):
    """It was looked at each day for ever, and nobody could end it."""
    campaign_id = _live(desk)
    if stopped:
        with desk.database.transaction() as session:
            campaigns.stop(session, desk.settings, campaign_id, LEAD, "wrong price")
    ends = _campaign(desk, campaign_id).window_ends_at
    waiting, ended = ("cancelled", "cancelled") if stopped else ("measuring", "closed")
    assert _measured(desk, campaign_id, ends + timedelta(days=27)) == waiting
    assert _campaign(desk, campaign_id).result is None
    assert _measured(desk, campaign_id, ends + timedelta(days=28)) == ended
    result = _campaign(desk, campaign_id).result
    assert (result["advice"], result["effects"]) == ("no_orders", {})
    said = _said(desk, f"campaign:{campaign_id}:unmeasured:1")
    assert "was not measured: the orders up to" in said
    assert _said(desk, f"campaign:{campaign_id}:result:1") == ""
    with desk.database.transaction() as session:
        assert due.due(session, desk.settings, ends + timedelta(days=29)) == []
        people = session.scalars(
            select(Assignment.customer_id).where(Assignment.campaign_id == campaign_id)
        ).all()
    clock.configure(fixed=ends + timedelta(days=29))
    _import(desk, "purchase", ends + timedelta(days=28), people)  # the hole stays
    _teaches_nothing(desk, campaign_id)  # without its orders it is none to learn from


@pytest.mark.parametrize("redeemed", [False, True])
def test_a_file_that_nobody_took_is_told_as_such_and_its_customers_count_as_treated(desk, redeemed):
    """The result said that all of them were left out, for consent or a stop, and had cost nothing."""
    campaign_id = _live(desk)
    if redeemed:
        with desk.database.transaction() as session:
            used = session.scalars(select(Coupon).order_by(Coupon.code).limit(1)).one()
            used.state, used.redeemed_at = "redeemed", clock.now() + timedelta(days=1)
    _pass(desk, days=29)
    measured = _run(desk, CampaignMeasure(campaign_id=campaign_id), LEAD)
    result, contact = measured.result, _campaign(desk, campaign_id).body["contact_cost"]
    treated = result["sample_ratio"]["treated"]
    assert (measured.error, result["left_out"], result["untaken"]) == (None, 0, treated)
    assert result["cost"] >= treated * contact > 0
    said = _said(desk, f"campaign:{campaign_id}:result:1")
    assert f"Nobody has downloaded the file with {treated} customers of the treated" in said
    assert ("handed out another way" in said) == redeemed
    assert "left out" not in said
    if redeemed:
        with desk.database.reading() as session:
            assert closing.teaching_nothing(session, desk.settings) == set()
            assert not decisions(desk.lake, session, desk.settings, clock.now()).empty
    else:
        _teaches_nothing(desk, campaign_id)


def test_stopping_a_live_campaign_voids_its_codes(desk):
    campaign_id = _live(desk)
    with desk.database.transaction() as session:
        campaigns.stop(session, desk.settings, campaign_id, LEAD, "wrong price")
    with desk.database.reading() as session:
        assert set(session.scalars(select(Coupon.state))) == {"void"}
    job = _run(desk, CampaignCsv(campaign_id=campaign_id), LEAD, channel=LEAD)
    assert "cancelled" in job.error
    assert "wrong price" in _said(desk, _campaign(desk, campaign_id).post_key)
    _pass(desk, days=29)
    measured = _run(desk, CampaignMeasure(campaign_id=campaign_id), LEAD)
    assert measured.error is None
    assert (_campaign(desk, campaign_id).state, measured.result["advice"]) == ("cancelled", "too_small")
    assert "stopped while it was live" in _said(desk)
    assert f"{measured.result['left_out']} customers of the treated were left out" in _said(desk)
    assert f"(the campaign was stopped: {measured.result['left_out']})" in _said(desk)
    assert (measured.result["left_out"], measured.result["cost"]) == (
        measured.result["sample_ratio"]["treated"],
        0,
    )
    _teaches_nothing(desk, campaign_id)


@pytest.mark.parametrize("before", ["it is live", "a copy is sent", "all are sent"])
def test_what_a_stopped_campaign_did_not_send_was_received_by_nobody(desk, monkeypatch, before):
    """It counted as a campaign received by customers who had got nothing."""
    if before == "it is live":
        monkeypatch.setattr(sending, "finish", lambda *_: 1 / 0)
        campaign_id = _approved(desk)
        clock.configure(fixed=clock.now() + timedelta(hours=5))
        assert _run(desk, CampaignSend(campaign_id=campaign_id, version=1), LEAD).state == "failed"
    else:
        campaign_id = _live(desk)
    with desk.database.transaction() as session:
        if before != "it is live":
            some = select(Send.id).where(Send.campaign_id == campaign_id)
            some = some.limit(1) if before == "a copy is sent" else some
            session.execute(update(Send).where(Send.id.in_(some)).values(state="sent", sent_at=clock.now()))
        treated = dict(session.execute(select(Send.customer_id, Send.state)).all())
        campaigns.stop(session, desk.settings, campaign_id, LEAD, "wrong price")
    reached = {who for who, state in treated.items() if state == "sent"}
    sent = desk.lake.table("treatments").execute()
    assert len(sent[sent.arm == "treatment"]) > 1
    for night in ("first", "second"):
        assert _run(desk, Tidy(), "U0ADMIN", key=night).error is None
        left = desk.lake.table("treatments").execute()
        assert set(left[left.arm == "treatment"].customer_id) == reached
        assert len(left[left.arm == "control"]) == len(sent[sent.arm == "control"]) > 0


def _teaches_nothing(desk, campaign_id) -> None:
    with desk.database.transaction() as session:
        assert closing.teaching_nothing(session, desk.settings) == {campaign_id}
        assert decisions(desk.lake, session, desk.settings, clock.now()).empty
        assert learnt_prior(session, desk.settings, load_policy(desk.settings)).campaigns == 0
    job = _run(desk, CampaignDraft(tier="low"), ANALYST, key="the next one")
    assert job.error is None
    assert job.result["targeting"]["why"] == "none"


def test_a_live_campaign_can_be_looked_at_and_nothing_changes(desk):
    campaign_id = _approved(desk)
    assert "once it is live" in _run(desk, CampaignLook(campaign_id=campaign_id), LEAD, key="early").error
    clock.configure(fixed=clock.now() + timedelta(hours=5))
    _run(desk, CampaignSend(campaign_id=campaign_id, version=1), LEAD)
    looked = _run(desk, CampaignLook(campaign_id=campaign_id), LEAD, key="on its first day")
    assert (looked.error, looked.result["effects"]) == (None, {})
    assert "Too early to tell" in _said(desk)
    clock.configure(fixed=clock.now() + timedelta(days=10))
    looked = _run(desk, CampaignLook(campaign_id=campaign_id), LEAD)
    assert looked.error is None
    assert (looked.result["day"], looked.result["days"]) == (10, 28)
    assert set(looked.result["effects"]) == {"orders", "profit"}
    assert looked.result["effects"]["orders"]["tau"] > 0
    assert "hold however often you look" in _said(desk)
    assert _campaign(desk, campaign_id).state == "live"


def test_customers_of_a_running_campaign_and_those_just_contacted_are_left_out(desk):
    first = _live(desk)
    job = _run(desk, CampaignDraft(tier="low"), ANALYST, key="second draft")
    assert "Nobody" in job.error
    with desk.database.transaction() as session:
        assert consent.unsubscribe(
            session, desk.settings, session.scalars(select(Send.id)).first(), clock.now()
        )
    taken = _run(
        desk, CampaignCsv(campaign_id=first), LEAD, channel=LEAD
    )  # so they were contacted, but for one
    treated = sum(1 for arm in _arms(desk, first) if arm == "treatment")
    assert taken.result["rows"] == treated - 1
    with desk.database.transaction() as session:
        campaigns.stop(session, desk.settings, first, LEAD, "over")
    job = _run(desk, CampaignDraft(tier="low"), ANALYST, key="third draft")
    assert job.result["excluded"]["frequency_cap"] == treated - 1
    clock.configure(fixed=clock.now() + timedelta(days=15))
    job = _run(desk, CampaignDraft(tier="low"), ANALYST, key="fourth draft")
    assert "frequency_cap" not in job.result["excluded"]


def test_who_joined_another_campaign_since_the_draft_is_left_out_when_it_is_approved(desk):
    first, second = _drafted(desk), _drafted(desk, name="More people")
    with desk.database.transaction() as session:
        audience = session.scalars(select(Assignment).where(Assignment.campaign_id == first)).all()
        for one in audience[:7]:
            session.delete(one)
    for campaign_id in (first, second):
        with desk.database.transaction() as session:
            campaigns.submit(session, desk.settings, campaign_id, 1, ANALYST)
            campaigns.approve(session, desk.settings, campaign_id, 1, LEAD)
    assert set(_arms(desk, first)) == {"treatment", "control"}
    counts = Counter(_arms(desk, second))
    assert counts["excluded"] == len(audience) - 7
    assert counts["treatment"] + counts["control"] == 7
    assert f"{counts['excluded']} customers of its audience got into another campaign" in _said(
        desk, f"campaign:{second}:approved:1"
    )
    told = _said(desk, f"campaign:{second}:clearance:1")
    assert f"after that it is sent to {counts['treatment']} customer" in told


def test_where_only_those_are_left_who_would_be_held_out_that_is_the_reason_said(desk):
    first, second = _drafted(desk), _drafted(desk, name="The same people")
    with desk.database.transaction() as session:
        held_out = session.scalars(
            select(Assignment.customer_id)
            .where(Assignment.campaign_id == second)
            .order_by(Assignment.bucket)
            .limit(3)
        ).all()
        session.execute(
            delete(Assignment).where(Assignment.campaign_id == first, Assignment.customer_id.in_(held_out))
        )
        for campaign_id in (first, second):
            campaigns.submit(session, desk.settings, campaign_id, 1, ANALYST)
        campaigns.approve(session, desk.settings, first, 1, LEAD)
    with (
        pytest.raises(Conflict, match=r"campaign \(3\) would all be held out. Lower its hold-out"),
        desk.database.transaction() as session,
    ):
        campaigns.approve(session, desk.settings, second, 1, LEAD)
    assert set(_arms(desk, second)) == {"audience"}


def test_what_would_go_to_nobody_any_more_is_not_approved(desk):
    """It was approved "for 315 customers", and its sending broke."""
    first, second = _drafted(desk), _drafted(desk, name="The same people")
    for campaign_id in (first, second):
        with desk.database.transaction() as session:
            campaigns.submit(session, desk.settings, campaign_id, 1, ANALYST)
    with desk.database.transaction() as session:
        campaigns.approve(session, desk.settings, first, 1, LEAD)
    with pytest.raises(Conflict, match="would go to nobody"), desk.database.transaction() as session:
        campaigns.approve(session, desk.settings, second, 1, LEAD)
    assert (_campaign(desk, second).state, set(_arms(desk, second))) == ("submitted", {"audience"})


def test_roles_hold_and_the_operator_cannot_approve(desk):
    campaign_id = _drafted(desk)
    with pytest.raises(NotAllowed), desk.database.transaction() as session:
        campaigns.submit(session, desk.settings, campaign_id, 1, "U0NOBODY")
    with desk.database.transaction() as session:
        campaigns.submit(session, desk.settings, campaign_id, 1, ANALYST)
    for user in (ANALYST, "operator"):
        with pytest.raises(NotAllowed), desk.database.transaction() as session:
            campaigns.approve(session, desk.settings, campaign_id, 1, user)
    with desk.database.transaction() as session:
        campaigns.edit(session, desk.settings, campaign_id, 1, LEAD, Changes(discount=0.12))
        campaigns.submit(session, desk.settings, campaign_id, 2, LEAD)
    with pytest.raises(NotAllowed, match="somebody else"), desk.database.transaction() as session:
        campaigns.approve(session, desk.settings, campaign_id, 2, LEAD)
    with desk.database.transaction() as session:
        campaigns.approve(session, desk.settings, campaign_id, 2, "U0ADMIN")
    with desk.database.reading() as session:
        offers = session.scalars(select(Assignment.offer).where(Assignment.campaign_id == campaign_id)).all()
    assert {offer["discount"] for offer in offers if offer["action"] == "coupon"} == {0.12}


def test_an_approver_who_lost_the_role_stops_what_was_not_sent(desk):
    campaign_id = _approved(desk)
    with desk.database.transaction() as session:
        session.execute(update(RoleGrant).where(RoleGrant.user_id == LEAD).values(role="viewer"))
    with desk.database.transaction() as session:
        tomorrow = clock.now() + timedelta(days=1)
        assert campaigns.schedule(session, desk.settings, tomorrow) == [campaign_id]
        assert campaigns.requests(session, desk.settings, tomorrow) == []
    assert _campaign(desk, campaign_id).state == "cancelled"


def test_what_nobody_decides_on_expires_and_can_be_edited_again(desk):
    campaign_id = _drafted(desk)
    with desk.database.transaction() as session:
        campaigns.submit(session, desk.settings, campaign_id, 1, ANALYST)
    later = clock.now() + timedelta(days=4)
    with desk.database.transaction() as session:
        assert campaigns.expire(session, desk.settings, clock.now()) == []
        assert campaigns.expire(session, desk.settings, later) == [campaign_id]
    with pytest.raises(Stale), desk.database.transaction() as session:
        campaigns.approve(session, desk.settings, campaign_id, 1, LEAD)
    with desk.database.transaction() as session:
        assert (
            campaigns.edit(session, desk.settings, campaign_id, 1, ANALYST, Changes(name="Again")).version
            == 2
        )


def test_a_draft_is_for_as_many_as_the_budget_pays_for(desk, tmp_path):
    """It was for everybody, and could then neither be submitted nor made smaller."""
    everybody = Body.model_validate(_campaign(desk, _drafted(desk, name="All")).body)
    half = everybody.plan().cost / 2
    campaign = _campaign(desk, _drafted(_with_budget(desk, tmp_path, half)))
    body = Body.model_validate(campaign.body)
    assert 0 < body.audience < everybody.audience
    assert body.audience + body.excluded["beyond_budget"] == everybody.audience
    assert "beyond the budget" in _said(desk, campaign.post_key)
    with desk.database.transaction() as session:
        assert campaigns.submit(session, desk.settings, campaign.id, 1, ANALYST).state == "submitted"
    none = _run(_with_budget(desk, tmp_path, 0.001), CampaignDraft(tier="low"), ANALYST, key="none")
    assert "beyond the budget" in none.error


def _with_budget(desk, folder, budget):
    policy = folder / "policy.toml"
    policy.write_text(
        f'[campaign]\nbudget = {budget}\n[[rules]]\nname = "All"\ntiers = ["high", "medium", "low"]\n'
        'action = "coupon"\ndiscount = 0.1\n'
    )
    return tiny.Shop(
        desk.settings.model_copy(update={"policy": policy}), desk.database, desk.lake, desk.begin, desk.end
    )


def test_the_budget_holds_when_it_is_submitted(desk, tmp_path):
    campaign_id = _drafted(_with_budget(desk, tmp_path, 20))
    with desk.database.transaction() as session:
        campaigns.edit(session, desk.settings, campaign_id, 1, ANALYST, Changes(budget=0.1))
    with pytest.raises(BadInput, match="budget"), desk.database.transaction() as session:
        campaigns.submit(session, desk.settings, campaign_id, 2, ANALYST)
    assert _campaign(desk, campaign_id).state == "draft"


def test_an_offer_below_cost_and_an_unknown_cohort_are_refused(desk, tmp_path):
    policy = tmp_path / "policy.toml"
    policy.write_text(
        '[[rules]]\nname = "All"\ntiers = ["high", "medium", "low"]\naction = "coupon"\ndiscount = 0.6\n'
    )
    generous = tiny.Shop(
        desk.settings.model_copy(update={"policy": policy}), desk.database, desk.lake, desk.begin, desk.end
    )
    assert "margin" in _run(generous, CampaignDraft(tier="low"), ANALYST, key="dear").error
    assert "no cohort" in _run(desk, CampaignDraft(cohort_id="nope"), ANALYST).error
    with desk.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Campaign)) == 0


def _arms(desk, campaign_id) -> list[str]:
    with desk.database.reading() as session:
        return list(session.scalars(select(Assignment.arm).where(Assignment.campaign_id == campaign_id)))


def test_every_chance_is_logged_from_the_draft_to_what_came_of_it(desk):
    campaign_id = _live(desk)
    _file(desk, campaign_id)  # of codes that nobody took nothing would be learnt
    with desk.database.reading() as session:
        offers = dict(
            session.execute(
                select(Assignment.customer_id, Assignment.offer).where(Assignment.campaign_id == campaign_id)
            ).all()
        )
        treated = session.scalars(
            select(Assignment.customer_id).where(
                Assignment.arm == "treatment", Assignment.campaign_id == campaign_id
            )
        ).all()
        shown = session.scalars(select(Impression).where(Impression.surface == "campaign")).all()
    tried = sum(not offer["arm"].startswith("both|") for offer in offers.values())
    assert _campaign(desk, campaign_id).body["tried"] == tried
    for offer in offers.values():
        blend, rule = offer["arm"].split("|")
        assert rule == offer["rule"]
        chance = 1.0 if offer["action"] == "reminder" else 0.9 + 0.1 / 3 if blend == "both" else 0.1 / 3
        assert offer["propensity"] == pytest.approx(chance)
        if blend == "new":
            assert "buy_again" not in {item["source"] for item in offer["items"]}
    assert {one.customer_id for one in shown} == {who for who in treated if offers[who]["items"]}
    assert all(
        (one.arm, one.propensity) == (offers[one.customer_id]["arm"], offers[one.customer_id]["propensity"])
        for one in shown
    )
    first = shown[0]
    later = clock.now() + timedelta(days=40)
    with desk.database.transaction() as session:
        assert decisions(desk.lake, session, desk.settings, clock.now()).empty  # its window has not ended
        feedback.record(
            session,
            desk.settings,
            Subject(first.customer_id, "none", first.shown_at, first.item_id, 1),
            "useful",
            "U1",
        )
    bought = pd.DataFrame(
        {
            "customer_id": [first.customer_id], "event_type": "purchase", "item_id": first.item_id, "order_id": "new",
            "occurred_at": [first.shown_at + timedelta(days=2)], "amount": 3.0, "quantity": 1,
        }
    )  # fmt: skip
    file = desk.settings.home / "bought.parquet"
    bought.to_parquet(file)
    import_files(desk.lake, desk.database, desk.settings, "events", [str(file)])
    with desk.database.reading() as session:
        lines = decisions(desk.lake, session, desk.settings, later).set_index("customer_id")
    assert sorted(lines.index) == sorted(treated)
    assert (lines["propensity"] == [offers[who]["propensity"] for who in lines.index]).all()
    discount, margin = offers[first.customer_id]["discount"], lines["margin"].iloc[0]
    assert lines.loc[first.customer_id, "reward"] == pytest.approx(1 - discount / margin)
    assert (lines["reward"].drop(first.customer_id) == 0).all()


def test_the_bandit_is_refused_as_long_as_it_cannot_be_judged(desk):
    desk.settings.policy.write_text(POLICY + "[recommend]\nbandit = true\n")
    job = _run(desk, CampaignDraft(tier="low"), ANALYST)
    assert "judging the bandit takes 100 and 10" in job.error
    desk.settings.policy.write_text(POLICY + "[recommend]\nexperiment = 0.0\n")
    campaign_id = _drafted(desk, name="without")
    with desk.database.reading() as session:
        offers = session.scalars(select(Assignment.offer).where(Assignment.campaign_id == campaign_id)).all()
    assert {(offer["arm"].split("|")[0], offer["propensity"]) for offer in offers} == {("both", 1.0)}
