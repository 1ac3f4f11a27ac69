"""Answer a customer's chat messages, or pass them on to the team's thread."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from retention import clock
from retention.connect.live import events, inbox
from retention.db import Transaction
from retention.db.tables import ChatMessage, Conversation
from retention.lake import Lake
from retention.lake.identity.links import ids_of
from retention.privacy import pseudonym
from retention.reports.customer_history import last_orders, newest_lists
from retention.service import answers, facts, intents, store
from retention.service.answers import Answer, Customer, Knowledge
from retention.settings import Settings
from retention.text import gettext, use_language
from workers.customers import chats
from workers.data.source_pulls import digest_channel
from workers.delivery import outbox
from workers.job_requests import ServiceAnswer
from workers.tasks.interface import Context, Outcome, Post

_EMAIL = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@]{2,}")


def run(request: ServiceAnswer, context: Context) -> Outcome:
    """Find the answers, then store them with what follows in one transaction.

    What is computed here holds only for messages that the desk answers itself. Another job may have
    called a person meanwhile; then `_handle` passes them on.
    """
    lake, found, card = Lake.open(context.settings), dict[int, Answer](), dict[str, Any]()
    with context.database.reading() as session:
        chat = session.get(Conversation, request.conversation_id)
        if chat is None:  # erased since
            return Outcome({"handled": 0})
        for message in store.messages(session, chat.id, is_handled=False):
            if chat.state not in store.WITH_PEOPLE:
                known = _knowledge(lake, context.settings)
                own = _customer(lake, session, chat, message)
                found[message.seq] = answers.answer(message.text, known, own)
        if chat.customer_id and any(each.reason for each in found.values()):
            card = _card(lake, session, chat.customer_id)

    def apply(session: Transaction) -> None:
        chat = store.locked(session, request.conversation_id)
        for message in store.messages(session, chat.id, is_handled=False):
            if chat.state not in store.WITH_PEOPLE and message.seq not in found:
                break  # it came since, and has a job of its own
            _handle(session, chat, message, found.get(message.seq), card)

    return Outcome({"handled": len(found)}, apply=apply)


# ---------------------------------------------------------------- what is known


def _knowledge(lake: Lake, settings: Settings) -> Knowledge:
    """Return the indexed policies and products; they are read anew when they change."""
    files = facts.policy_files(settings.service_policies)
    changed = tuple((path, path.stat().st_mtime_ns) for path in files)
    return _indexed(settings, facts.catalogue_state(lake), changed)


@lru_cache(maxsize=2)
def _indexed(settings: Settings, catalogue: str, changed: Any) -> Knowledge:
    """Index everything; ``catalogue`` and ``changed`` say which state of it."""
    lake, sections = Lake.open(settings), facts.policies(settings.service_policies)
    return answers.knowledge(
        sections, facts.products(lake), lake.currency(settings), settings.timezone
    )


def _customer(
    lake: Lake, session: Transaction, chat: Conversation, message: ChatMessage
) -> Customer | None:
    """Return the signed customer's own data; None without a signature on this message."""
    if chat.customer_id is None or not message.is_signed:
        return None
    ids, now = ids_of(lake, chat.customer_id), clock.now()
    return Customer(facts.orders(lake, ids[0], now), facts.codes(session, ids, now))


def _card(lake: Lake, session: Transaction, customer_id: str) -> dict[str, Any]:
    """Return the customer's pseudonym, risk, value and last orders for the team."""
    [customer], now = lake.identities.resolved([customer_id]), clock.now()
    card = {
        "customer": pseudonym(session.settings.key, customer),
        "as_of": now.isoformat(),
        "currency": lake.currency(session.settings),
        "last_orders": last_orders(lake, customer, now),
    }
    for newest in newest_lists(session, limit=1):
        scores = lake.scores(newest.run_id)
        columns = ("tier", "churn_probability", "expected_value", "model_version")
        own = scores.filter(scores.customer_id == customer).select(*columns).execute()
        card |= next(iter(own.to_dict("records")), {})
    return card


# ---------------------------------------------------------------- what follows


def _handle(
    session: Transaction,
    chat: Conversation,
    message: ChatMessage,
    answer: Answer | None,
    card: Mapping[str, Any],
) -> None:
    """Store the answer, call a person if it has a reason, or pass the message on to one."""
    chat.language, reason = intents.language_of(message.text), ""
    message.is_handled = True
    if chat.state in store.WITH_PEOPLE:
        chats.post(session, chat, [message])
        if chat.state == store.ABSENT and _EMAIL.search(message.text):
            with use_language(chat.language):
                thanks = gettext("Thank you. A colleague will write to you.")
            chats.tell(session, chat, "thanks", thanks)
    elif answer is not None:
        key, reason = f"{chat.id}:answer:{message.seq}", answer.reason
        shown = dict.fromkeys((source.title, source.url) for source in answer.sources)
        sources = [{"title": title, "url": url} for title, url in shown]
        fields = {"code": answer.code, "sources": sources}
        store.add(session, chat, store.DESK, key, answer.text, **fields)
        if reason:
            _call(session, chat, reason, card)
    if chat.customer_id is not None and message.is_signed:
        _note(session, chat, message, reason)


def _call(session: Transaction, chat: Conversation, reason: str, card: Mapping[str, Any]) -> None:
    """Call a person: begin the chat's thread with all that was said."""
    chat.state, chat.waiting_since = store.WAITING, clock.wall()
    chat.channel = session.settings.service_channel or digest_channel(session)
    values = {"chat": chat.id, "reason": reason, **card}
    root = Post("service/handover", values, store.thread_key(chat.id), chat.channel)
    outbox.put(session, root, default_channel=None)
    chats.post(session, chat, store.messages(session, chat.id))


def _note(session: Transaction, chat: Conversation, message: ChatMessage, reason: str) -> None:
    """Make what a signed customer wrote a live event, which is a text of a ticket, too.

    Its id is the message's, so that it counts once.
    """
    event = {
        "event_id": f"chat:{chat.id}:{message.seq}",
        "customer_id": chat.customer_id,
        "event_type": "support",
        "occurred_at": message.said_at.isoformat(),
        "channel": "chat",
        "source": "chat",
        "query": reason,
        "text": message.text,
        "language": chat.language,
    }
    checked = events.check_rows([event], message.said_at, source="chat")
    inbox.add(session, checked.rows, checked.keys)
