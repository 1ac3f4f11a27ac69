"""Test how chats are answered, handed over, waited for, and erased. No extra is installed here."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from retention import clock
from retention.connect.live import inbox
from retention.db.tables import ChatMessage, Conversation, EventBatch, Job, Outbox
from retention.lake import Lake
from retention.service import facts, store
from tests.world import execute, scalars
from workers.customers import chats
from workers.job_requests import Forget, ServiceAnswer
from workers.queue import jobs
from workers.tasks.runner import run_inline, run_job

TOKEN, CHANNEL = "a1" * 32, "C0CRM"


@pytest.fixture
def desk(admin_shop):
    changed = {"service_channel": CHANNEL, "service_wait_minutes": 5}
    settings = admin_shop.settings.model_copy(update=changed)
    return replace(admin_shop, settings=settings, database=admin_shop.database.using(settings))


def say(desk, text, number=1, customer=None):
    with desk.database.transaction() as session:
        chat = store.begin(session, TOKEN)
        chat.customer_id = chat.customer_id or customer
        fields = {"is_signed": customer is not None, "is_handled": False}
        message = store.add(session, chat, store.CUSTOMER, f"c{number}", text, **fields)
        return jobs.submit_due(session, *chats.job_of(message)).job


def ask(desk, text, number=1, customer=None):
    """Say something and run its job."""
    run_job(desk.database, say(desk, text, number, customer).id, "t@w")
    return said(desk)[-1]


def said(desk):
    return scalars(desk.database, select(ChatMessage).order_by(ChatMessage.seq))


def posts(desk):
    rows = scalars(desk.database, select(Outbox).order_by(Outbox.id))
    return [one for one in rows if one.key.startswith(store.PREFIX)]


def chat(desk):
    return scalars(desk.database, select(Conversation))[0]


def buyer(desk):
    lake = Lake.open(desk.settings)
    events = lake.table("events", before=clock.now())
    bought = events.filter(events.event_type == "purchase")
    return bought.customer_id.min().execute()


def test_own_orders_need_a_signed_identity(desk):
    assert ask(desk, "Where is my order?").code == "sign_in"
    customer = buyer(desk)
    answer = ask(desk, "What did I buy last?", 2, customer)
    lake = Lake.open(desk.settings)
    newest = facts.orders(lake, customer, clock.now())[0]
    assert answer.code == "orders"
    assert newest.lines[0].title in answer.text


def test_order_of_another_customer_is_not_shown(desk):
    lake = Lake.open(desk.settings)
    customer = buyer(desk)
    events = lake.table("events", before=clock.now())
    others = events.filter(events.customer_id != customer, events.order_id.notnull())
    name = others.order_id.min().execute()
    if name is None:
        pytest.skip("the shop's orders have no numbers")
    assert ask(desk, f"What is in order {name}?", 1, customer).code == "unknown"


def test_orders_from_now_on_change_no_answer(desk):
    customer = buyer(desk)
    lake = Lake.open(desk.settings)
    before = facts.orders(lake, customer, clock.now() - timedelta(days=60))
    assert all(one.at < clock.now() - timedelta(days=60) for one in before)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("I want to talk to a person", "asked"),
        ("This is the worst shop", "anger"),
        ("Please cancel my subscription", "cancellation"),
        ("我要转人工", "asked"),
    ],
)
def test_person_is_called_with_the_chat_so_far(desk, text, reason):
    ask(desk, "Hello")
    ask(desk, text, 2)
    root, *messages = posts(desk)
    assert (":rotating_light:" in str(root.payload)) == (reason == "cancellation")
    assert (root.channel, root.key) == (CHANNEL, store.thread_key(chat(desk).id))
    assert [one.thread_key for one in messages] == [root.key] * 4
    assert "Hello" in str(messages[0].payload)


def test_later_messages_go_to_the_thread_once_and_in_order(desk):
    ask(desk, "A person, please: talk to a human")
    waiting = [say(desk, f"message {number}", number) for number in (2, 3)]
    for each in reversed(waiting):  # the later job runs first
        run_job(desk.database, each.id, "t@w")
    run_inline(desk.database, ServiceAnswer(conversation_id=chat(desk).id, seq=3), user="operator")
    texts = [str(one.payload) for one in posts(desk)]
    shown = [text for text in texts if "message " in text]
    assert ["message 2" in text for text in shown] == [True, False]
    assert [one.author for one in said(desk)] == ["customer", "desk", "customer", "customer"]


def test_waiting_customer_is_asked_for_an_address_once(desk):
    ask(desk, "talk to a human")
    tell(desk)
    assert chat(desk).state == store.WAITING
    early = clock.wall() - timedelta(minutes=6)
    execute(desk.database, update(Conversation).values(waiting_since=early))
    tell(desk)
    tell(desk)
    assert [one.code for one in said(desk)][2:] == ["absent"]
    assert ask(desk, "it is ann@example.com", 2).code == "thanks"
    assert "ann@example.com" in str([one.payload for one in posts(desk)])


def tell(desk):
    with desk.database.transaction() as session:
        list(chats.due(session, clock.now()))


def test_message_of_a_signed_customer_is_a_live_event_with_its_text(desk):
    ask(desk, "Please cancel my account", 1, "k1")
    [batch] = scalars(desk.database, select(EventBatch))
    row = inbox.unpack(batch.body).decode()
    assert '"event_type":"support"' in row
    assert '"query":"cancellation"' in row
    assert "cancel my account" in row


def test_visitor_without_a_signature_makes_no_event(desk):
    ask(desk, "Please cancel my account")
    assert scalars(desk.database, select(EventBatch)) == []


def test_message_of_a_lost_job_is_submitted_again(desk):
    say(desk, "Hello")
    execute(desk.database, update(ChatMessage).values(at=clock.wall() - timedelta(minutes=2)))
    with desk.database.transaction() as session:
        assert [request.seq for request, _, _ in chats.due(session, clock.now())] == [1]
    run_job(desk.database, scalars(desk.database, select(Job))[0].id, "t@w")
    with desk.database.transaction() as session:
        assert list(chats.due(session, clock.now())) == []


def test_erasure_deletes_the_chat_and_empties_its_thread(desk):
    customer = buyer(desk)
    ask(desk, "talk to a human about my secret tattoo", 1, customer)
    run_inline(desk.database, Forget(customer_id=customer), user="operator")
    assert said(desk) == []
    assert scalars(desk.database, select(Conversation)) == []
    assert "tattoo" not in str([one.payload for one in posts(desk)])


def test_old_chats_lose_their_texts(desk):
    ask(desk, "Hello")
    with desk.database.transaction() as session:
        store.drop_old(session)
    assert len(said(desk)) == 2
    old = clock.wall() - timedelta(days=91)
    execute(desk.database, update(Conversation).values(updated_at=old))
    with desk.database.transaction() as session:
        store.drop_old(session)
    assert said(desk) == []
