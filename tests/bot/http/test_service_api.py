"""Test the routes of the chat: what is stored, who is believed, and what is refused."""

import json

import pytest
from sqlalchemy import select

from bot.http.requests import Request
from bot.http.web import Site
from retention import clock
from retention.db.tables import ChatMessage, Conversation, Job
from retention.service.identity import sign
from retention.settings import Settings
from tests.world import scalars

PUBLIC, ORIGIN, KEY = "pk-0123456789", "https://shop.example", "of-the-chat-0123456789abcdef"
TOKEN, OTHER = "a1" * 32, "b2" * 32
HOUR = 3600


def site_with(settings, database, **changed) -> Site:
    keys = {"events_public_key": PUBLIC, "shop_origins": ORIGIN, "service_key": KEY}
    return Site(Settings(home=settings.home, _env_file=None, **(keys | changed)), database)


@pytest.fixture
def site(settings, database) -> Site:
    return site_with(settings, database)


def call(site, method="POST", body=None, query=f"key={PUBLIC}", origin=ORIGIN, **headers):
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = Request(method, "/service", query, {"origin": origin, **headers}, sent)
    reply = site.respond(request)
    return reply.status, json.loads(reply.body or b"{}")


def say(site, text="Hello there", message_id="message-1", token=TOKEN, **fields):
    return call(site, body={"token": token, "id": message_id, "text": text, **fields})


def read(site, token=TOKEN, after=0):
    query = f"key={PUBLIC}&after={after}"
    return call(site, "GET", b"", query, authorization=f"Bearer {token}")


def signed(customer="42", seconds=HOUR, key=KEY):
    expires = int(clock.wall().timestamp()) + seconds
    return {"customer": customer, "expires": expires, "signature": sign(key, customer, expires)}


def stored(site, table=ChatMessage):
    return scalars(site.database, select(table))


def test_message_is_stored_once_with_one_job(site):
    assert say(site) == (202, {})
    assert say(site) == (202, {})
    assert [one.text for one in stored(site)] == ["Hello there"]
    assert [one.kind for one in stored(site, Job)] == ["service_answer"]
    assert say(site, message_id="message-2") == (202, {})


def test_chat_is_read_with_its_token_only(site):
    say(site)
    status, answer = read(site)
    assert (status, [one["text"] for one in answer["messages"]]) == (200, ["Hello there"])
    assert read(site, after=1)[1]["messages"] == []
    assert read(site, token=OTHER)[1]["messages"] == []
    assert read(site, token="short")[1]["messages"] == []
    [chat] = stored(site, Conversation)
    assert TOKEN[:8] not in chat.id


def test_customer_is_taken_from_a_valid_signature_only(site):
    say(site)
    assert stored(site, Conversation)[0].customer_id is None
    say(site, message_id="message-2", identity=signed())
    assert stored(site, Conversation)[0].customer_id == "42"
    assert [one.is_signed for one in stored(site)] == [False, True]


@pytest.mark.parametrize(
    "wrong",
    [
        signed(key="another-key"),
        signed() | {"customer": "43"},
        signed(seconds=-1),
        signed(seconds=3 * 24 * HOUR),
    ],
    ids=["other key", "other customer", "expired", "too long"],
)
def test_wrong_signature_is_refused_and_stores_nothing(site, wrong):
    status, answer = say(site, identity=wrong)
    assert (status, answer["code"]) == (401, "signature")
    assert stored(site) == []


def test_another_customer_cannot_write_into_a_chat(site):
    say(site, identity=signed("42"))
    status, answer = say(site, message_id="message-2", identity=signed("43"))
    assert (status, answer["code"]) == (409, "other_customer")
    assert len(stored(site)) == 1


def test_text_of_more_than_1000_characters_is_refused_with_both_numbers(site):
    status, answer = say(site, text="x" * 10_000)
    assert status == 400
    assert "10,000" in answer["error"]
    assert "1,000" in answer["error"]
    assert say(site, text="x" * 1_000)[0] == 202


@pytest.mark.parametrize(
    "body", [b"[]", b"{", b"null", {"token": TOKEN}, {"token": "'; --", "id": "12345678"}]
)
def test_unreadable_message_is_refused(site, body):
    assert call(site, body=body)[0] == 400


def test_foreign_page_and_wrong_key_are_refused(site):
    body = {"token": TOKEN, "id": "message-1", "text": "Hello"}
    assert call(site, body=body, origin="https://evil.example")[0] == 403
    assert call(site, body=body, query="key=pk-guess")[0] == 401
    assert stored(site) == []


def test_too_many_messages_of_one_address_are_refused(site):
    codes = [say(site, message_id=f"message-{number}")[0] for number in range(25)]
    assert codes[:20] == [202] * 20
    assert codes[-1] == 429


def test_chat_is_closed_without_its_key(settings, database):
    site = site_with(settings, database, service_key=None)
    status, answer = say(site)
    assert status == 404
    assert "RETENTION_SERVICE_KEY" in answer["error"]


def test_hostile_text_is_stored_as_it_is(site):
    text = "<script>alert(1)</script>'; DROP TABLE chat_messages; --"
    assert say(site, text=text)[0] == 202
    assert read(site)[1]["messages"][0]["text"] == text
