"""Test the routes of live events: signatures, limits, idempotency and answers per row."""

import gzip
import json
from base64 import b64encode
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select
from standardwebhooks import Webhook

from bot.http import event_api
from bot.http.event_api import client_address
from bot.http.rate_limit import TokenBuckets
from bot.http.requests import Request
from bot.http.web import Site
from retention import clock
from retention.connect.live import inbox
from retention.connect.live.events import check_rows
from retention.db.tables import EventBatch
from retention.privacy import standard_webhooks
from retention.settings import Settings
from tests.world import scalars

KEY = "whsec_" + b64encode(b"shared with the shop's server").decode()
PUBLIC, ORIGIN = "pk-0123456789", "https://shop.example"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def site(settings, database) -> Site:
    clock.configure(fixed=NOW)
    keys = {"events_key": KEY, "events_public_key": PUBLIC, "shop_origins": ORIGIN}
    return Site(Settings(home=settings.home, _env_file=None, **keys), database)


def event(number: int = 1, **fields) -> dict:
    usual = {"event_id": f"e{number}", "customer_id": "k3", "event_type": "view"}
    return {**usual, "occurred_at": "2026-03-01T11:59:00Z", **fields}


def send(site, body, *, key=KEY, message_id="msg-1", at=None, **headers):
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    signed = standard_webhooks.headers(key, message_id, sent, at or clock.wall())
    request = Request("POST", "/events", headers=signed | headers, body=sent)
    return answered(site, request)


def answered(site, request):
    reply = site.early_refusal(request) or site.respond(request)
    return reply.status, json.loads(reply.body or b"{}"), dict(reply.headers)


def stored(site) -> list[dict]:
    batches = scalars(site.database, select(EventBatch).order_by(EventBatch.id))
    return [json.loads(line) for batch in batches for line in inbox.unpack(batch.body).splitlines()]


def from_page(site, body, *, key=PUBLIC, origin=ORIGIN, address="203.0.113.7"):
    headers = {"origin": origin, "content-type": "text/plain"}
    sent = json.dumps(body).encode()
    request = Request("POST", "/events/browser", f"key={key}", headers, sent, address)
    return answered(site, request)


def track(site, message, *, key=KEY, path="/v1/track", origin=None):
    user = b64encode(f"{key}:".encode()).decode()
    headers = {"authorization": f"Basic {user}"} | ({"origin": origin} if origin else {})
    return answered(site, Request("POST", path, "", headers, json.dumps(message).encode()))


def test_signed_batch_is_committed_before_the_answer(site):
    status, answer, _ = send(site, [event(1), event(2, event_type="purchase", amount=9.5)])
    assert (status, answer) == (202, {"accepted": 2, "duplicate": 0, "rejected": []})
    assert [row["event_id"] for row in stored(site)] == ["e1", "e2"]
    assert stored(site)[0]["occurred_at"] == 1772366340000000


def test_signature_of_the_reference_library_is_accepted(site):
    body = json.dumps([event()])
    at = clock.wall().replace(microsecond=0)
    signature = Webhook(KEY).sign("msg-1", at, body)
    assert send(site, body.encode(), at=at, **{"webhook-signature": signature})[0] == 202


def test_repeated_events_are_accepted_once(site):
    assert send(site, [event(1), event(1)])[1] == {"accepted": 1, "duplicate": 1, "rejected": []}
    again = send(site, [event(1, customer_id="k4"), event(2)], message_id="msg-2")[1]
    assert (again["accepted"], again["duplicate"]) == (1, 1)
    without_id = {name: text for name, text in event().items() if name != "event_id"}
    assert send(site, [without_id])[1]["accepted"] == 1
    assert send(site, [without_id, {**without_id, "quantity": 2}])[1]["accepted"] == 1


BAD_ROWS = [
    ({"event_id": "e2"}, "missing_customer"),
    (event(3, event_type="bought"), "unknown_value"),
    (event(4, occurred_at="yesterday"), "not_a_time"),
    (event(5, amount="much"), "not_a_number"),
    (event(6, occurred_at="2026-03-03T00:00:00Z"), "future_time"),
    (event(7, price=3), "unknown_field"),
    (event(8, customer_id="x" * 300), "too_long"),
    ("text", "not_an_object"),
    (event(9, customer_id="a\0b"), "unknown_value"),
    (event(10, occurred_at="1600-01-01T00:00:00Z"), "impossible_date"),
    (event(11, customer_id=None), "missing_customer"),
    (event(12, amount=float("inf")), "not_a_number"),
    (event(13, amount=1e305), "too_large"),
    (event(14, quantity=-(10**400)), "not_a_number"),
    (event(15, occurred_at="0001-01-01T00:00:00+14:00"), "impossible_date"),
    (event(16, occurred_at="9999-12-31T23:00:00-14:00"), "future_time"),
]


def test_bad_rows_are_rejected_and_the_others_accepted(site):
    status, answer, _ = send(site, [event(1), *(row for row, _ in BAD_ROWS)])
    assert (status, answer["accepted"]) == (202, 1)
    codes = {row["index"]: row["code"] for row in answer["rejected"]}
    assert codes == dict(enumerate((code for _, code in BAD_ROWS), start=1))
    assert all(row["text"] for row in answer["rejected"])


def test_ndjson_and_gzip_are_read(site):
    lines = "\n".join([json.dumps(event(1)), "", "{broken", json.dumps(event(2))]).encode()
    status, answer, _ = send(site, gzip.compress(lines), **{"content-encoding": "gzip"})
    assert (status, answer["accepted"]) == (202, 2)
    assert [row["index"] for row in answer["rejected"]] == [1]


def test_times_without_a_zone_are_utc_and_numbers_are_ids(site):
    row = event(1, customer_id=17, occurred_at="2026-03-01T10:00:00")
    assert send(site, [row])[1]["accepted"] == 1
    assert (stored(site)[0]["customer_id"], stored(site)[0]["source"]) == ("17", "events")


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"key": "whsec_AAAA"}, 401),
        ({"age": timedelta(minutes=6)}, 401),
        ({"webhook-signature": "v2,abc"}, 401),
        ({"webhook-id": ""}, 401),
        ({"webhook-timestamp": "soon"}, 401),
        ({"content-encoding": "br"}, 415),
        ({"content-encoding": "gzip"}, 400),
    ],
)
def test_refused_calls(site, changes, status):
    at = clock.wall() - changes.pop("age", timedelta())
    assert send(site, [event()], at=at, **changes)[0] == status
    assert stored(site) == []


CUT = gzip.compress(json.dumps([event()]).encode())[:-4]


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        (b"", "", 400),
        (b"[]", "", 400),
        (b"[1", "", 400),
        (b"[\xff\xfe]", "", 400),
        ([event(number) for number in range(1001)], "", 400),
        (CUT, "gzip", 400),
        (gzip.compress(b" " * (event_api.MAX_UNPACKED_BYTES + 1)), "gzip", 413),
    ],
    ids=["empty", "no event", "cut JSON", "no UTF-8", "too many", "cut zip", "zip bomb"],
)
def test_unreadable_and_too_large_bodies_are_refused(site, body, encoding, status):
    refused, answer, _ = send(site, body, **{"content-encoding": encoding})
    assert refused == status
    assert answer


def test_full_inbox_asks_to_retry(site, monkeypatch):
    assert send(site, [event(1)])[0] == 202
    monkeypatch.setattr(inbox, "MAX_WAITING", 1)
    site.event_api._depth_until = float("-inf")
    status, _, headers = send(site, [event(2)])
    assert (status, headers["Retry-After"]) == (429, "30")


def test_route_is_closed_without_a_key(settings, database):
    site = Site(settings, database)
    assert send(site, [event()])[0] == 404
    assert from_page(site, [event()])[0] == 404
    assert track(site, {})[0] == 404


def test_page_sends_views_searches_and_carts_only(site):
    rows = [event(1), event(2, event_type="purchase", amount=1), event(3, event_type="cart")]
    status, answer, headers = from_page(site, rows)
    assert (status, answer["accepted"]) == (202, 2)
    assert [(row["index"], row["code"]) for row in answer["rejected"]] == [(1, "not_allowed")]
    assert headers["Access-Control-Allow-Origin"] == ORIGIN
    assert {row["source"] for row in stored(site)} == {"browser"}


CLAIMED = "woocommerce:7005:70050"
CLAIM = {"type": "page", "userId": "k3", "messageId": CLAIMED}


@pytest.mark.parametrize(
    ("claim", "prefix"),
    [
        (lambda site: from_page(site, [event(1, event_id=CLAIMED)]), "page"),
        (lambda site: track(site, CLAIM, key=PUBLIC, origin=ORIGIN), "page"),
        (lambda site: track(site, CLAIM), "segment"),
    ],
    ids=["browser", "library in a page", "library of a server"],
)
def test_shopper_cannot_claim_the_id_of_an_order(site, claim, prefix):
    """A shopper chooses the messageId also where a server forwards it with the secret key."""
    assert claim(site)[1]["accepted"] == 1
    assert claim(site)[1]["duplicate"] == 1
    order = event(1, event_id=CLAIMED, event_type="purchase", amount=9.5)
    assert send(site, [order])[1]["accepted"] == 1
    assert send(site, [order], message_id="msg-2")[1]["duplicate"] == 1
    assert [row["event_id"] for row in stored(site)] == [f"{prefix}:{CLAIMED}", CLAIMED]


def test_message_that_an_earlier_version_stored_is_a_duplicate(site):
    """Earlier versions stored the messageId without a prefix."""
    assert send(site, [event(1, event_id="m1")])[1]["accepted"] == 1
    view = {"type": "page", "userId": "k3", "messageId": "m1"}
    assert track(site, view)[1]["duplicate"] == 1
    assert track(site, view)[1]["duplicate"] == 1
    assert len(stored(site)) == 1


def test_ids_of_servers_are_kept_as_earlier_versions_stored_them(site):
    """An event that an earlier version stored is recognised if it comes again after an upgrade."""
    (key,) = check_rows([event(1)], NOW, source="events").keys
    assert key == "376cd6f0ea56c13879152ac7da605fb0"


@pytest.mark.parametrize("at", ["1990-01-01T00:00:00Z", "2026-02-22T11:00:00Z", "2030-01-01"])
def test_page_with_an_odd_clock_sends_the_time_of_arrival(site, at):
    assert from_page(site, [event(1, occurred_at=at, available_at=at)])[1]["accepted"] == 1
    (row,) = stored(site)
    assert row["occurred_at"] == row["available_at"] == int(NOW.timestamp() * 1e6)


def test_page_with_an_odd_clock_that_repeats_a_call_counts_once(site):
    row = event(1, occurred_at="1990-01-01T00:00:00Z")
    del row["event_id"]
    assert from_page(site, [row])[1]["accepted"] == 1
    clock.configure(fixed=NOW + timedelta(seconds=5))
    assert from_page(site, [row])[1]["duplicate"] == 1


def test_page_may_send_what_happened_in_the_last_week(site):
    at = NOW - timedelta(days=6)
    from_page(site, [event(1, occurred_at=at.isoformat())])
    assert stored(site)[0]["occurred_at"] == int(at.timestamp() * 1e6)


def test_foreign_page_and_wrong_public_key_are_refused(site):
    assert from_page(site, [event()], origin="https://evil.example")[0] == 403
    assert from_page(site, [event()], origin="")[0] == 403
    assert from_page(site, [event()], key=KEY)[0] == 401
    assert stored(site) == []


def test_rate_of_one_address_is_limited(site):
    site.event_api.calls = TokenBuckets(2, 60, now=lambda: 0.0)
    statuses = [from_page(site, [event(n)])[0] for n in range(3)]
    assert statuses == [202, 202, 429]
    assert from_page(site, [event(4)], address="203.0.113.8")[0] == 202


def test_preflight_names_the_shop_only(site):
    for origin, status in ((ORIGIN, 204), ("https://evil.example", 403)):
        request = Request("OPTIONS", "/events/browser", headers={"origin": origin})
        found, _, headers = answered(site, request)
        assert found == status
        assert headers.get("Access-Control-Allow-Origin") == (ORIGIN if status == 204 else None)


def test_script_is_small_and_has_no_secret(site):
    reply = site.respond(Request("GET", "/events.js"))
    assert reply.status == 200
    assert len(reply.body) < 3000
    assert KEY.encode() not in reply.body


@pytest.mark.parametrize(
    ("forwarded", "peer", "client"),
    [
        ("6.6.6.6, 198.51.100.4", "127.0.0.1", "198.51.100.4"),
        ("6.6.6.6, 198.51.100.4", "8.8.8.8", "8.8.8.8"),
        ("", "10.0.0.2", "10.0.0.2"),
    ],
)
def test_client_address_trusts_a_proxy_only(forwarded, peer, client):
    request = Request("POST", "/track", headers={"x-forwarded-for": forwarded}, address=peer)
    assert client_address(request) == client


def test_order_of_a_tracking_library_becomes_lines(site):
    message = {"type": "track", "event": "Order Completed", "userId": "k3", "messageId": "m1"}
    message["timestamp"] = "2026-03-01T11:00:00Z"
    lines = [{"product_id": "i1", "price": 2.5, "quantity": 2}, {"sku": "i2", "price": 3}]
    order = {"order_id": "o1", "currency": "eur", "coupon": "SPRING", "products": lines}
    message["properties"] = order
    status, answer, _ = track(site, message)
    assert (status, answer["accepted"]) == (202, 3)
    first, second, coupon = stored(site)
    assert (first["event_id"], first["item_id"], first["amount"]) == ("segment:m1/0", "i1", 5.0)
    assert (second["item_id"], second["amount"], second["currency"]) == ("i2", 3.0, "EUR")
    assert (coupon["event_type"], coupon["query"]) == ("coupon_redeem", "SPRING")
    assert track(site, message)[1]["duplicate"] == 3


def raw_track(body, *, key=PUBLIC, **headers):
    user = b64encode(f"{key}:".encode()).decode()
    headers = {"authorization": f"Basic {user}", "origin": ORIGIN} | headers
    headers["content-length"] = str(len(body))
    return Request("POST", "/v1/batch", "", headers, body)


def test_large_body_with_a_public_key_is_refused_before_it_is_read(site):
    """55 calls with 2 MB of small objects took 750 MB of memory."""
    message = {"userId": "k3", "type": "page", "messageId": "m", "context": {"pad": "x" * 64_000}}
    body = json.dumps(message).encode()
    for key, status in ((PUBLIC, 413), ("guess", 413), (KEY, None)):
        reply = site.early_refusal(raw_track(body, key=key))
        assert (reply and reply.status) == status
    assert answered(site, raw_track(body, key=KEY))[1]["accepted"] == 1
    packed = raw_track(gzip.compress(body), **{"content-encoding": "gzip"})
    assert answered(site, packed)[0] == 413
    page = {"origin": ORIGIN, "content-length": str(10**9)}
    request = Request("POST", "/events/browser", f"key={PUBLIC}", page, b"")
    assert site.early_refusal(request).status == 413


def test_many_messages_with_a_public_key_are_refused(site):
    batch = [{"userId": "k3", "type": "page", "messageId": str(n)} for n in range(101)]
    assert track(site, {"batch": batch}, key=PUBLIC, origin=ORIGIN)[0] == 413
    assert track(site, {"batch": batch[:100]}, key=PUBLIC, origin=ORIGIN)[1]["accepted"] == 100


@pytest.mark.parametrize("depth", [40, 500, 30_000])
def test_deeply_nested_events_are_refused(site, depth):
    nested = b"[" * depth + b"]" * depth
    assert answered(site, raw_track(b'{"userId":"k3","type":%s}' % nested))[0] == 400
    assert send(site, b"[%s]" % nested)[0] == 400
    lines = b'{"query":%s}\n%s' % (nested, json.dumps(event()).encode())
    status, answer, _ = send(site, lines, message_id="msg-2")
    assert (status, answer["accepted"], answer["rejected"][0]["index"]) == (202, 1, 0)


def test_batch_of_a_tracking_library_is_answered_per_message(site):
    batch = [
        {"type": "page", "userId": "k1", "messageId": "a"},
        {"type": "track", "event": "Something Else", "userId": "k1"},
        {"type": "identify", "userId": "k1", "traits": {"email": "a@b.example", "name": "Ann"}},
        {"type": "track", "event": "Product Viewed", "anonymousId": "x"},
        {"type": "identify", "userId": "k2", "traits": {"email": "no address"}},
        7,
    ]
    status, answer, _ = track(site, {"batch": batch}, path="/v1/batch")
    assert (status, answer["accepted"]) == (202, 2)
    assert [(row["index"], row["code"]) for row in answer["rejected"]] == [
        (1, "unknown_event"),
        (3, "missing_customer"),
        (4, "unknown_value"),
        (5, "not_an_object"),
    ]


def test_public_write_key_changes_no_customer_and_sends_no_order(site):
    order = {"event": "Order Completed", "userId": "k3", "properties": {"total": 3}}
    assert track(site, order, key=PUBLIC)[0] == 403
    answer = track(site, order, key=PUBLIC, origin=ORIGIN)[1]
    assert [row["code"] for row in answer["rejected"]] == ["not_allowed"]
    identify = {"userId": "k3", "traits": {"email": "me@evil.example"}}
    answer = track(site, identify, key=PUBLIC, origin=ORIGIN, path="/v1/identify")[1]
    assert [row["code"] for row in answer["rejected"]] == ["not_allowed"]
    assert track(site, order, key="guess")[0] == 401
    assert stored(site) == []


def test_price_beyond_every_float_rejects_its_message_only(site):
    message = {"type": "track", "userId": "k3", "event": "Order Completed"}
    huge = {"product_id": "i1", "price": 10**400, "quantity": 1.5}
    batch = [
        message | {"properties": {"products": [line]}} for line in (huge, {"product_id": "i2"})
    ]
    status, answer, _ = track(site, {"batch": batch}, path="/v1/batch")
    assert (status, answer["accepted"]) == (202, 1)
    assert [row["code"] for row in answer["rejected"]] == ["not_a_number"]


def test_old_and_new_keys_are_taken_while_they_are_changed(settings, database):
    clock.configure(fixed=NOW)
    old, new = "pk-old-0123456789", "pk-new-0123456789"
    secret = "whsec_" + b64encode(b"the new one of the shop's server").decode()
    keys = {"events_key": f"{secret} {KEY}", "events_public_key": f"{new}, {old}"}
    own = Settings(home=settings.home, shop_origins=ORIGIN, _env_file=None, **keys)
    site = Site(own, database)
    for number, key in enumerate((secret, KEY)):
        assert send(site, [event(number)], key=key, message_id=f"m{number}")[0] == 202
        assert track(site, {"type": "track", "event": "x", "userId": "k3"}, key=key)[0] == 202
    for key in (new, old):
        assert from_page(site, [event(9)], key=key)[0] == 202
    assert send(site, [event(3)], key=keys["events_key"])[0] == 202  # signs with the new one
    for wrong in (f"{secret} ", "whsec_" + b64encode(b"another one of somebody else").decode()):
        assert track(site, {"type": "track", "event": "x"}, key=wrong)[0] == 401
    assert from_page(site, [event(9)], key=keys["events_public_key"])[0] == 401
