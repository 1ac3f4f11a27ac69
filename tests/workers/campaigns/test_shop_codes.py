"""Test the jobs that make codes at a shop, from the approval to the messages."""

import pytest
from sqlalchemy import select

from retention import clock
from retention.campaigns.codes import shop_code_queue, shop_code_sync
from retention.db.tables import Audit, Connection, Coupon, Job, Outbox
from tests.standins import code_shops
from workers import user_roles
from workers.campaigns.job_requests import ShopCodes, ShopReconcile
from workers.schedule import due_shop_checks, tick
from workers.typed_times import next_local_time

pytestmark = pytest.mark.campaign("approved")


@pytest.fixture
def shop(desk, monkeypatch):
    """A stand-in of WooCommerce that is connected to the desk; its campaign is live."""
    monkeypatch.setattr(shop_code_sync, "POLL_EVERY", 0.01)
    with code_shops.connected(desk.database, "woocommerce", "tea-shop") as stand_in:
        desk.send_now()
        yield stand_in


def _make(desk) -> Job:
    code_shops.end_waits(desk.database)
    return desk.done(ShopCodes(campaign_id=desk.campaign_id))


def _problems(desk) -> list[Outbox]:
    keys = Outbox.key.like("shop:%:problem:%")
    return desk.scalars(select(Outbox).where(keys).order_by(Outbox.id))


def _states(desk) -> dict[str, str]:
    return code_shops.states(desk.database, desk.campaign_id)


def test_card_says_that_the_campaign_waits_for_the_shop(desk, shop):
    codes = len(_states(desk))
    assert f"Waiting for the shop to make {codes} of {codes} codes." in desk.card()
    assert "Download the file" not in desk.messages()
    assert desk.read(shop_code_queue.waiting, desk.campaign_id)["total"] == codes
    assert "tea-shop has made 0 of" in desk.download().error
    assert _make(desk).result["made"] == codes == len(shop.coupons.codes())
    assert not shop.coupons.unapproved
    assert "Waiting" not in desk.card()
    assert f"tea-shop has made {codes} codes; they work at the checkout." in desk.messages()
    assert "Download the file" in desk.messages()
    assert desk.download().error is None


def test_tick_submits_the_job_until_all_codes_are_made(desk, shop):
    kinds = _tick(desk)
    assert kinds.count("shop_codes") == 1
    assert "campaign_deliver" not in kinds
    assert "shop_codes" not in _tick(desk)  # it is queued
    _run_queued(desk)
    desk.wait(minutes=2)
    assert "shop_codes" not in _tick(desk)
    assert set(_states(desk).values()) == {"made"}


def _tick(desk) -> list[str]:
    """Kinds of the jobs that the tick submits; nobody runs them."""
    return desk.scalars(select(Job.kind).where(Job.id.in_(tick.tick(desk.database))))


def _run_queued(desk) -> None:
    queued = select(Job.id).where(Job.state == "queued", Job.kind.startswith("shop_"))
    desk.run_jobs(desk.scalars(queued))


def test_stop_deletes_the_codes_and_says_so(desk, shop):
    _make(desk)
    used, *unused = sorted(shop.coupons.codes())
    shop.coupons.use(used)
    desk.stop()
    _make(desk)
    assert set(shop.coupons.codes()) == {used}
    assert f"Deleted {len(unused)} codes at tea-shop. 1 used code stays." in desk.messages()


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
    shop.fail(fault, times=2)
    _make(desk)
    _make(desk)
    (problem,) = _problems(desk)
    assert problem.channel == "C0SHOP"
    assert sentence in str(problem.payload)
    assert not shop.coupons.codes()
    _make(desk)
    assert "makes the codes of" in str(_problems(desk)[1].payload)


def test_short_outage_is_not_reported(desk, shop):
    shop.fail("server_error", times=5)
    for _attempt in range(3):
        _make(desk)
    assert not _problems(desk)
    _make(desk)
    (problem,) = _problems(desk)
    assert "does not answer; we retry automatically." in str(problem.payload)


def test_nightly_check_reports_a_difference_once(desk, shop):
    _make(desk)
    assert not desk.read(due_shop_checks.due, clock.now())
    night = next_local_time(due_shop_checks.CHECK_AT, desk.settings.zone, clock.now())
    # The demo's clock stops for no check of a shop
    assert desk.read(tick.next_due, clock.now()) != night
    clock.configure(fixed=night)
    assert "shop_reconcile" in _tick(desk)
    _run_queued(desk)
    assert "differ from ours" not in desk.messages()
    shop.coupons.rows.popitem()
    check = ShopReconcile(connection_id=desk.one(select(Connection.id)))
    result = desk.run(check, user_roles.OPERATOR, channel=None).result
    assert (result["missing"], result["extra"], result["foreign"]) == (1, 0, 0)
    assert "differ from ours: 1 code was missing and is made again." in desk.messages()
    nights = desk.scalars(select(Audit).where(Audit.action == "shop_codes.compare"))
    compared = [(row.subject, row.details["missing"]) for row in nights]
    assert compared == [("tea-shop", 0), ("tea-shop", 1)]
    _make(desk)
    issued = select(Coupon.code).where(Coupon.state == "issued")
    assert set(desk.scalars(issued)) == set(shop.coupons.codes())
