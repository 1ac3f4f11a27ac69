"""Test ``POST /redemptions``: signature, age, idempotency."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count

import pytest

from bot.http.rate_limit import TokenBuckets
from bot.http.redemption_api import MAX_UNKNOWN_CODES, UnknownCodes
from bot.http.web import Site
from retention import clock
from retention.campaigns.codes.redemptions import CodeUse, redeem
from retention.db.tables import Coupon, Redemption
from retention.privacy import signing
from retention.settings import Settings
from tests.bot.http.test_server import ask
from tests.bot.wire import stored
from tests.retention.outreach import live_campaigns
from tests.world import change

KEY = b"shared with the till, and long enough"


@pytest.fixture
def site(settings, database) -> Site:
    live_campaigns.start_campaign(database, settings, 10)
    clock.configure(fixed=live_campaigns.NOW + timedelta(days=1))
    return Site(Settings(home=settings.home, redemption_key=KEY.decode(), _env_file=None), database)


def tell(site, body, *, key=KEY, at=None, tamper=b""):
    """Call the API; return status and answer."""
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = signing.headers(key, sent, at or clock.wall())
    status, _, answer = ask(site, "POST", "/redemptions", sent + tamper, headers)
    return status, json.loads(answer)


@pytest.fixture
def seconds(site) -> list[float]:
    """The limiter's clock, which a test can move."""
    now = [0.0]
    site.redemption_api.unknown_codes = UnknownCodes(
        TokenBuckets(MAX_UNKNOWN_CODES, 60, now=lambda: now[0])
    )
    return now


GUESSES = count()


def guess(site, times: int) -> list[int]:
    """Send codes that were not tried before."""
    return [tell(site, {"code": f"WRONG{next(GUESSES)}"})[0] for _ in range(times)]


def _code(site, customer="k3") -> str:
    (coupon,) = stored(site.database, Coupon, Coupon.customer_id == customer)
    return coupon.code


def test_replayed_redemption_gets_the_same_answer(site):
    body = {"code": _code(site), "customer_id": "k3", "order_id": "o1"}
    first, replay = tell(site, body), tell(site, body)
    assert first == replay
    reply = {"outcome": "redeemed", "said": "used, as it was meant", "campaign_id": "c1"}
    reply |= {"action": "coupon", "discount": 0.1}
    assert first == (200, {**reply, "amount": None, "min_order": None, "category": None})
    assert tell(site, {**body, "order_id": "o2"})[0] == 409
    others = {"code": _code(site, "k5"), "customer_id": "k3"}
    assert tell(site, others)[1]["outcome"] == "other_customer"
    assert tell(site, {"code": "SPRING10"})[0] == 404
    assert len(stored(site.database, Redemption)) == 3


def test_future_redemption_is_refused_and_the_code_stays_valid(site):
    """It was refused as expired, or accepted."""
    body = {"code": _code(site), "customer_id": "k3", "order_id": "o1"}
    for ahead in (timedelta(days=2), timedelta(days=400)):
        at = clock.now() + ahead
        status, answer = tell(site, {**body, "at": at.isoformat()})
        error = f"at: {at:%Y-%m-%d %H:%M} UTC lies in the future"
        assert (status, answer["error"].split("; ")[0]) == (400, error)
        assert "set the till's clock right" in answer["error"]
    zone = clock.now() + timedelta(hours=14)  # of a till that tells its own time without its zone
    assert tell(site, {**body, "at": zone.replace(tzinfo=None).isoformat()})[0] == 200


def test_two_codes_of_one_receipt_are_two_redemptions(site):
    """The second code got the first one's answer and stayed unused."""
    first, second = ({"code": _code(site, who), "id": "till 7, slip 4711"} for who in ("k3", "k5"))
    assert [tell(site, redemption)[0] for redemption in (first, second, second)] == [200, 200, 200]
    used = stored(site.database, Coupon, Coupon.state == "redeemed")
    assert sorted(coupon.customer_id for coupon in used) == ["k3", "k5"]
    assert len(stored(site.database, Redemption)) == 2


def test_call_stored_by_an_earlier_version_gets_the_same_answer(site):
    """Earlier versions stored the id alone; the repeated call was refused after an upgrade."""
    first, second = ({"code": _code(site, who), "id": "slip 1"} for who in ("k3", "k5"))
    used = CodeUse(first["code"], clock.now(), "http", key="id:slip 1")
    change(site.database, redeem, [used])
    assert [tell(site, redemption)[0] for redemption in (first, second, second, first)] == [200] * 4
    assert len(stored(site.database, Redemption)) == 2


def test_code_at_two_tills_counts_as_used_twice_and_reveals_no_order(site):
    body = {"code": _code(site), "id": "till 1, slip 1"}
    assert tell(site, body)[0] == 200
    again = tell(site, {**body, "id": "till 2, slip 9"})
    assert again == (409, {"outcome": "twice", "said": "used already"})
    assert tell(site, body)[0] == 200
    assert tell(site, {"code": _code(site), "order_id": "o7"})[1]["outcome"] == "twice"


def test_call_without_a_valid_signature_changes_nothing(site):
    body = {"code": _code(site), "customer_id": "k3"}
    old, ahead = clock.wall() - timedelta(minutes=6), clock.wall() + timedelta(minutes=6)
    assert [tell(site, body, at=at)[0] for at in (old, ahead)] == [401, 401]
    assert tell(site, body, key=b"guessed")[0] == 401
    assert tell(site, body, tamper=b" ")[0] == 401
    assert ask(site, "POST", "/redemptions", b"{}")[0] == 401
    assert stored(site.database, Redemption) == []


def test_invalid_redemption_is_explained(site):
    """An impossible date got 503, so tills repeated it for ever."""
    times = ("soon", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00")
    bodies = [b"", b"[]", b"{", b"[" * 9_000, {"code": ""}, {"code": "x", "amount": 1}]
    bodies += [{"code": "x", "at": at} for at in times]
    bodies += [{"code": "x", "order_id": order} for order in ("a\0b", "\ud800")]
    for body in bodies:
        status, answer = tell(site, body)
        assert (status, bool(answer["error"])) == (400, True), body
        assert "_told" not in answer["error"]


def test_the_log_names_neither_code_nor_customer(site, caplog):
    body = {"code": _code(site), "customer_id": "ann@example.com"}
    with site.database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE redemptions RENAME TO gone")
    assert tell(site, body)[0] == 503
    assert "cannot store a redemption" in caplog.text
    assert body["code"] not in caplog.text
    assert "ann@" not in caplog.text


def test_large_body_and_missing_key_are_refused(site, settings):
    assert tell(site, b"x" * 10_001)[0] == 413
    assert tell(Site(settings, site.database), {"code": "x"})[0] == 404


def test_empty_key_accepts_no_redemption(settings, database):
    """A signature with an empty key was accepted."""
    live_campaigns.start_campaign(database, settings, 10)
    site = Site(Settings(home=settings.home, redemption_key="", _env_file=None), database)
    status, said = tell(site, {"code": _code(site)}, key=b"")
    error = "redemptions are not taken here: RETENTION_REDEMPTION_KEY is not set"
    assert (status, said["error"]) == (404, error)


# ---------------------------------------------------------------- wrong codes


def test_unknown_codes_are_limited_to_20_in_a_minute(site, seconds):
    assert guess(site, 22) == [404] * 20 + [429] * 2
    sent = json.dumps({"code": "WRONG"}).encode()
    headers = signing.headers(KEY, sent, clock.wall())
    status, answered, body = ask(site, "POST", "/redemptions", sent, headers)
    assert (status, answered["Retry-After"]) == (429, "3")
    assert answered["Content-Type"] == "application/json"
    assert json.loads(body) == {"error": "too many unknown codes; send this again in 3 s"}
    seconds[0] = 6.0
    assert guess(site, 3) == [404, 404, 429]
    seconds[0] = 66.0
    assert guess(site, 21) == [404] * 20 + [429]


def test_throttled_valid_code_is_answered_like_an_unknown_one(site, seconds):
    body = {"code": _code(site), "customer_id": "k3", "order_id": "o1"}
    guess(site, 20)
    assert tell(site, body) == tell(site, {"code": "WRONG"})
    assert stored(site.database, Redemption) == []
    (coupon,) = stored(site.database, Coupon, Coupon.customer_id == "k3")
    assert coupon.state == "issued"
    seconds[0] = 3.0
    assert tell(site, body)[0] == 200


def test_known_repeated_unsigned_and_malformed_calls_never_count(site, seconds):
    body = {"code": _code(site), "customer_id": "k3", "order_id": "o1"}
    for number in range(30):
        bodies = ({"code": "MISTYPED"}, body, {**body, "order_id": f"other {number}"}, {"code": ""})
        assert [tell(site, sent)[0] for sent in bodies] == [404, 200, 409, 400]
        assert tell(site, {"code": f"WRONG{number}"}, key=b"guessed")[0] == 401
    assert guess(site, 20) == [404] * 19 + [429]  # the mistyped one counts once
    assert tell(site, {"code": "WRONG"}, key=b"guessed")[0] == 401  # as without the throttle
    assert [tell(site, sent)[0] for sent in ({"code": ""}, b"x" * 10_001)] == [400, 413]


def test_unknown_codes_of_many_threads_are_throttled(site, seconds):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: tell(site, {"code": f"W{number}"})[0], range(60)))
    assert 20 <= answers.count(404) < 20 + 8
    assert answers.count(404) + answers.count(429) == 60


def test_old_and_new_keys_of_tills_are_taken_while_they_are_changed(settings, site):
    old, new = b"0123456789abcdef" * 2, b"fedcba9876543210" * 2
    both = Settings(home=settings.home, redemption_key=f"{new.decode()} {old.decode()}")
    site = Site(both, site.database)
    code = _code(site)
    assert [tell(site, {"code": code}, key=key)[0] for key in (new, old)] == [200, 200]
    assert [tell(site, {"code": code}, key=key)[0] for key in (KEY, new[:16])] == [401, 401]
