"""Answer a customer's chat messages, or pass them on to the team's thread."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from retention.connect.live import events, inbox
from retention.db import Transaction
from retention.db.tables import ChatMessage, Conversation, LiveScore
from retention.lake import Lake
from retention.privacy import pseudonym
from retention.reports.customer_history import last_orders, newest_lists
from retention.service import answers, facts, intents, policies, store
from retention.service.answers import Answer, Customer, Knowledge
from retention.settings import Settings
from retention.text import gettext, use_language
from workers.customers import chats
from workers.delivery import outbox
from workers.job_requests import ServiceAnswer
from workers.tasks.interface import Context, Outcome, Post

_EMAIL = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@]{2,}")


def run(request: ServiceAnswer, context: Context) -> Outcome:
    """Find the answers, then store them with what follows in one transaction.

    What is computed here holds only for messages that the desk answers itself. Another job may have
    called a person meanwhile; then `apply` passes them on.
    """
    with context.database.reading() as session:
        chat = session.get(Conversation, request.conversation_id)
        waiting = store.unhandled(session, chat.id) if chat else ()
    if chat is None or not waiting:
        return Outcome({"handled": 0})
    lake = Lake.open(context.settings)
    found: dict[int, Answer] = {}
    if chat.state not in store.WITH_PEOPLE:
        known = _knowledge(lake, context.settings)
        for message in waiting:
            own = _customer(lake, context, chat, message)
            found[message.seq] = answers.answer(message.text, known, own)
    card = _card(lake, context, chat) if any(one.reason for one in found.values()) else {}
    handled = {"handled": len(waiting)}

    def apply(session: Transaction) -> tuple[Post, ...]:
        return tuple(_apply(session, request.conversation_id, found, card))

    return Outcome(handled, apply=apply)


# ---------------------------------------------------------------- what is known


def _knowledge(lake: Lake, settings: Settings) -> Knowledge:
    """Return the indexed policies and products; they are read anew when they change."""
    folder = settings.service_policies
    changed = (
        tuple((path.name, path.stat().st_mtime_ns) for path in sorted(folder.glob("*.md")))
        if folder and folder.is_dir()
        else ()
    )
    return _indexed(settings, facts.catalogue_state(lake), changed)


@lru_cache(maxsize=2)
def _indexed(settings: Settings, catalogue: str, changed: Any) -> Knowledge:
    """Index everything; ``catalogue`` and ``changed`` say which state of it."""
    lake = Lake.open(settings)
    return answers.knowledge(
        policies.read_folder(settings.service_policies),
        facts.products(lake),
        lake.currency(settings),
        settings.timezone,
    )


def _customer(
    lake: Lake, context: Context, chat: Conversation, message: ChatMessage
) -> Customer | None:
    """Return the signed customer's own data; None without a signature on this message."""
    if chat.customer_id is None or not message.is_signed:
        return None
    now = context.business_at
    with context.database.reading() as session:
        ids = facts.own_ids(lake, chat.customer_id)
        return Customer(facts.orders(lake, chat.customer_id, now), facts.codes(session, ids, now))


def _card(lake: Lake, context: Context, chat: Conversation) -> dict[str, Any]:
    """Return the customer's pseudonym, risk, value and last orders for the team."""
    if chat.customer_id is None:
        return {}
    people = lake.identities.canonical_ids()
    customer = people.get(chat.customer_id, chat.customer_id)
    with context.database.reading() as session:
        score = _score(lake, session, customer)
    return {
        "customer": pseudonym(context.settings.key, customer),
        "as_of": context.business_at.isoformat(),
        "currency": lake.currency(context.settings),
        "last_orders": last_orders(lake, customer, context.business_at),
        **score,
    }


def _score(lake: Lake, session: Transaction, customer: str) -> dict[str, Any]:
    """Return the newest tier, risk and expected value of a customer, if there are any."""
    columns = ("tier", "churn_probability", "expected_value", "model_version")
    live = session.get(LiveScore, (session.settings.team_id, customer))
    if live is not None:
        return {name: getattr(live, name) for name in columns}
    newest = next(iter(newest_lists(session, limit=1)), None)
    if newest is None:
        return {}
    scores = lake.scores(newest.run_id)
    rows = scores.filter(scores.customer_id == customer).execute().to_dict("records")
    return {name: rows[0][name] for name in columns} if rows else {}


# ---------------------------------------------------------------- what follows


def _apply(
    session: Transaction, conversation_id: str, found: Mapping[int, Answer], card: dict[str, Any]
) -> list[Post]:
    """Handle the messages in order; those that came since have jobs of their own."""
    chat = store.locked(session, conversation_id)
    posts: list[Post] = []
    for message in store.unhandled(session, chat.id):
        chat.language = intents.language_of(message.text)
        answer = found.get(message.seq)
        if chat.state in store.WITH_PEOPLE:
            posts += chats.thread_posts(chat, [message])
            posts += _thanked(session, chat, message)
        elif answer is None:
            break
        else:
            posts += _answered(session, chat, message, answer, card)
        message.is_handled = True
        _note(session, chat, message, answer.reason if answer else "")
    return posts


def _answered(
    session: Transaction,
    chat: Conversation,
    message: ChatMessage,
    answer: Answer,
    card: dict[str, Any],
) -> list[Post]:
    """Store the desk's answer; call a person if it has a reason."""
    shown = dict.fromkeys((source.title, source.url) for source in answer.sources)
    store.add(
        session,
        chat,
        store.DESK,
        f"{chat.id}:answer:{message.seq}",
        answer.text,
        code=answer.code,
        sources=[{"title": title, "url": url} for title, url in shown],
    )
    if not answer.reason:
        return []
    store.hand_over(chat, answer.reason, chats.channel_of(session))
    so_far = chats.thread_posts(chat, store.since(session, chat, 0))
    new = [post for post in so_far if outbox.channel_of(session, post.key or "") is None]
    return [chats.root_post(chat, card), *new]


def _thanked(session: Transaction, chat: Conversation, message: ChatMessage) -> list[Post]:
    """Confirm an e-mail address that the customer was asked for."""
    if chat.state != store.ABSENT or not _EMAIL.search(message.text):
        return []
    with use_language(chat.language):
        text = gettext("Thank you. A colleague will write to you.")
    key = f"{chat.id}:thanks:{message.seq}"
    thanks = store.add(session, chat, store.DESK, key, text, code="thanks")
    return chats.thread_posts(chat, [thanks] if thanks else [])


def _note(session: Transaction, chat: Conversation, message: ChatMessage, reason: str) -> None:
    """Make what a signed customer wrote a live event of support, which is a text of a ticket, too.

    Its id is the message's, so that it counts once.
    """
    if chat.customer_id is None or not message.is_signed:
        return
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
