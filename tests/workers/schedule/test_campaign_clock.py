"""Test what the clock does for a campaign whose message cannot be written."""

import pytest
from sqlalchemy import select

from retention import clock
from retention.db.tables import Campaign, Outbox, Redemption
from tests.bot.campaign import drafted
from workers.campaigns import due_steps
from workers.delivery import outbox
from workers.tasks.interface import Post


def announcements(database) -> list[str]:
    with database.reading() as session:
        keys = session.scalars(select(Outbox.key)).all()
        return [key for key in keys if ":misuse" in key or ":later" in key]


@pytest.mark.parametrize("kind", ["misuse", "later"])
def test_an_announcement_that_fails_is_made_at_the_next_tick(database, settings, monkeypatch, kind):
    campaign_id = drafted(database, settings)
    with database.transaction() as session:
        use = {"campaign_id": campaign_id, "at": clock.now(), "source": "http"}
        session.add(Redemption(key="r1", code="ABC", outcome="other_customer", **use))
        session.get(Campaign, campaign_id).result = {"later": {"told": False}}

    def tick():
        with database.transaction() as session:
            if kind == "misuse":
                due_steps.report_misuse(session, clock.now())
            else:
                due_steps.report_late(session)

    def fails(*_, **__):
        raise ValueError("the template is broken")

    with monkeypatch.context() as patch:
        patch.setattr(outbox, "put", fails)
        patch.setattr("workers.queue.completion.outbox.channel_of", lambda *_: "C1")
        patch.setattr(due_steps, "thread_post", fails)
        tick()
    assert announcements(database) == []
    monkeypatch.setattr(outbox, "put", lambda *_, **__: sent.append(1))
    monkeypatch.setattr(due_steps, "thread_post", lambda *_, **__: post)
    sent, post = [], Post("x", {}, "key")
    tick()
    tick()
    assert sent == [1]
