"""Test the jobs that make codes at a shop, from the approval to the messages."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from retention import clock
from retention.campaigns.codes import shop_code_sync, shop_codes
from retention.campaigns.lifecycle.states import Step
from retention.db.tables import Audit, Connection, Coupon, Job, Outbox
from tests.standins import code_shops
from tests.standins.code_shops import STAND_INS
from tests.workers.campaigns.steps import (
    AFTER_CLEARANCE,
    LEAD,
    campaign_of,
    done,
    messages,
    prepared_campaign,
    run,
)
from tests.world import change, read, scalars
from workers import roles
from workers.campaigns import decisions
from workers.campaigns.requests import CampaignCsv, CampaignSend, ShopCodes, ShopReconcile
from workers.schedule import tick
from workers.shops import shop_checks
from workers.tasks.runner import run_job
from workers.times import next_local_time

SHOP_CHANNEL = "C0SHOP"


@pytest.fixture
def shop(desk, monkeypatch):
    """A stand-in of WooCommerce that is connected to the desk."""
    monkeypatch.setattr(shop_code_sync, "POLL_EVERY", 0.01)
    with STAND_INS["woocommerce"].start(allowed=code_shops.may_exist(desk.database)) as stand_in:
        code_shops.connect(desk.database, desk.settings, "woocommerce", stand_in.url, "tea-shop")
        yield stand_in


def _sent(desk) -> str:
    campaign_id = prepared_campaign(desk)
    clock.configure(fixed=clock.now() + AFTER_CLEARANCE)
    assert run(desk, CampaignSend(campaign_id=campaign_id, version=1), LEAD).error is None
    return campaign_id


def _make(desk, campaign_id, key="codes") -> Job:
    code_shops.end_waits(desk.database)
    job = done(desk, ShopCodes(campaign_id=campaign_id), LEAD, key=key)
    return job


def _problems(desk) -> list[Outbox]:
    with desk.database.reading() as session:
        keys = Outbox.key.like("shop:%:problem:%")
        return list(session.scalars(select(Outbox).where(keys).order_by(Outbox.id)))


@pytest.mark.campaign("approved")
def test_card_says_that_the_campaign_waits_for_the_shop(desk, shop):
    campaign_id = _sent(desk)
    card = messages(desk, campaign_of(desk, campaign_id).post_key)
    codes = len(code_shops.states(desk.database, campaign_id))
    assert f"Waiting for the shop to make {codes} of {codes} codes." in card
    assert "Download the file" not in messages(desk)
    assert read(desk.database, shop_codes.waiting, campaign_id)["total"] == codes
    file = run(desk, CampaignCsv(campaign_id=campaign_id), LEAD, channel=LEAD)
    assert "tea-shop has made 0 of" in file.error
    job = _make(desk, campaign_id)
    assert job.result["made"] == codes == len(shop.coupons.codes())
    assert not shop.coupons.unapproved
    card = messages(desk, campaign_of(desk, campaign_id).post_key)
    assert "Waiting" not in card
    assert f"tea-shop has made {codes} codes; they work at the checkout." in messages(desk)
    assert "Download the file" in messages(desk)
    file = done(desk, CampaignCsv(campaign_id=campaign_id), LEAD, channel=LEAD, key="again")


@pytest.mark.campaign("approved")
def test_tick_submits_the_job_until_all_codes_are_made(desk, shop):
    campaign_id = _sent(desk)
    kinds = _tick(desk)
    assert kinds.count("shop_codes") == 1
    assert "campaign_deliver" not in kinds
    assert "shop_codes" not in _tick(desk)  # it is queued
    _run_queued(desk)
    clock.configure(fixed=clock.now() + timedelta(minutes=2))
    assert "shop_codes" not in _tick(desk)
    assert set(code_shops.states(desk.database, campaign_id).values()) == {"made"}


def _tick(desk) -> list[str]:
    ids = tick.tick(desk.database)
    return list(scalars(desk.database, select(Job.kind).where(Job.id.in_(ids))))


def _run_queued(desk) -> None:
    with desk.database.reading() as session:
        queued = select(Job.id).where(Job.state == "queued", Job.kind.startswith("shop_"))
        ids = session.scalars(queued).all()
    for job_id in ids:
        run_job(desk.database, job_id, "test")


@pytest.mark.campaign("approved")
def test_stop_deletes_the_codes_and_says_so(desk, shop):
    campaign_id = _sent(desk)
    _make(desk, campaign_id)
    used = sorted(shop.coupons.codes())[0]
    shop.coupons.use(used)
    change(desk.database, decisions.stop, Step(campaign_id, LEAD), "Too dear")
    number = len(shop.coupons.codes())
    _make(desk, campaign_id, "after the stop")
    assert set(shop.coupons.codes()) == {used}
    assert f"Deleted {number - 1} codes at tea-shop. 1 used code stays." in messages(desk)


@pytest.mark.campaign("approved")
@pytest.mark.nightly_after(1)
@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("unauthorized", "refuses our key; an admin has to enter a new one."),
        ("forbidden", "may not write discounts; give it that permission at the shop."),
        ("not_json", "answers in a form that we do not know"),
    ],
)
def test_problem_is_one_sentence_in_the_channel_of_the_shop(desk, shop, fault, sentence):
    campaign_id = _sent(desk)
    shop.fail(fault, times=2)
    _make(desk, campaign_id, "first")
    _make(desk, campaign_id, "second")
    (problem,) = _problems(desk)
    assert problem.channel == SHOP_CHANNEL
    assert sentence in str(problem.payload)
    assert not shop.coupons.codes()
    _make(desk, campaign_id, "third")
    assert "makes the codes of" in str(_problems(desk)[1].payload)


@pytest.mark.campaign("approved")
def test_short_outage_is_not_reported(desk, shop):
    campaign_id = _sent(desk)
    shop.fail("server_error", times=5)
    for number in range(3):
        _make(desk, campaign_id, f"attempt {number}")
    assert not _problems(desk)
    _make(desk, campaign_id, "fourth")
    (problem,) = _problems(desk)
    assert "does not answer; we retry automatically." in str(problem.payload)


@pytest.mark.campaign("approved")
def test_nightly_check_reports_a_difference_once(desk, shop):
    campaign_id = _sent(desk)
    _make(desk, campaign_id)
    with desk.database.reading() as session:
        connection = session.scalars(select(Connection)).one()
        assert not shop_checks.due(session, clock.now())
        due = tick.next_due(session, clock.now())
    night = next_local_time(shop_checks.CHECK_AT, desk.settings.zone, clock.now())
    assert due != night  # the demo's clock stops for no check of a shop
    clock.configure(fixed=night)
    assert "shop_reconcile" in _tick(desk)
    _run_queued(desk)
    assert "differ from ours" not in messages(desk)
    shop.coupons.rows.popitem()
    job = run(desk, ShopReconcile(connection_id=connection.id), roles.OPERATOR, channel=None)
    assert (job.result["missing"], job.result["extra"], job.result["foreign"]) == (1, 0, 0)
    assert "differ from ours: 1 code was missing and is made again." in messages(desk)
    nights = scalars(desk.database, select(Audit).where(Audit.action == "shop_codes.compare"))
    assert [(row.subject, row.details["missing"]) for row in nights] == [
        ("tea-shop", 0),
        ("tea-shop", 1),
    ]
    _make(desk, campaign_id, "repair")
    with desk.database.reading() as session:
        issued = select(Coupon.code).where(Coupon.state == "issued")
        assert set(session.scalars(issued)) == set(shop.coupons.codes())
