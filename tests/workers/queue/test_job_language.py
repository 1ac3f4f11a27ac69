"""Test that a job speaks the language of the place where its result is posted."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import select

from retention.campaigns.message.email_content import placeholder_values
from retention.campaigns.planning.requested_terms import default_name, is_default_name
from retention.db.tables import Outbox
from retention.text import use_language
from tests import readonly
from tests import shop as tiny
from tests.workers.harness import ANALYST, OTHER, ask, grant, row
from tests.world import add, change, scalars
from workers import languages
from workers.campaigns.job_requests import CampaignDraft
from workers.job_requests import Digest, Sweep
from workers.tasks import runner

CHINESE, ENGLISH = "C0ZH", "C0EN"
# Names, which nobody translates: pseudonyms, commands, emoji, mentions, model versions, items, and
# the rules of the policy file.
NAMES = re.compile(
    r"`[^`]*`|:[a-z_0-9]+:|<[^>]*>|\b[0-9A-Z]{4}-[0-9A-Z]{4}\b|\b[a-z]+-[0-9a-z-]+\b|CSV"
    r"|[A-Z][a-z]+ no\. \d+|(High|Medium) risk(, [a-z ]+)?:"
)


@pytest.fixture(scope="module")
def answers(shop, tmp_path_factory) -> Iterator[tuple[tiny.Shop, dict[str, str]]]:
    """A shop whose worker has answered the same requests in two channels."""
    shop = readonly.copy_of(shop, tmp_path_factory.mktemp("answers") / "home")
    settings, database = shop.settings, shop.database
    add(database, *(grant(settings, user, "admin") for user in (ANALYST, OTHER)))
    for scope in (CHINESE, OTHER):
        change(database, languages.choose, scope, "zh")
    requests = {
        "list": Sweep(tier="medium", as_of=shop.end),
        "draft": CampaignDraft(tier="medium"),
        "digest": Digest(as_of=shop.end),
    }
    jobs = {}
    for name, request in requests.items():
        jobs[f"{name}-zh"] = _run(shop, request, CHINESE, ANALYST)
    jobs["list-en"] = _run(shop, requests["list"], ENGLISH, ANALYST)
    jobs["list-requester"] = _run(shop, requests["list"], "C0QUIET", OTHER)
    with readonly.shared(shop) as shared:
        yield shared, jobs


def _run(shop: tiny.Shop, request: Any, channel: str, user: str) -> str:
    key = f"{request.kind}:{channel}"
    job = ask(shop.database, request, key, user=user, channel=channel)
    assert runner.run_job(shop.database, job.id, "test") == "done"
    return job.id


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("text", "alt_text") and isinstance(value, str):
                yield value
            else:
                yield from _texts(value)
    elif isinstance(node, list):
        for value in node:
            yield from _texts(value)


def _shown(shop: tiny.Shop, job: str) -> set[str]:
    """Return the texts of a job's messages without names."""
    payloads = scalars(shop.database, select(Outbox.payload).where(Outbox.job_id == job))
    return {NAMES.sub("", text) for text in _texts(payloads)}


@pytest.mark.parametrize("name", ["list", "draft", "digest", "list-requester"])
def test_messages_of_a_job_are_wholly_in_chinese(answers, name):
    shop, jobs = answers
    shown = _shown(shop, jobs.get(f"{name}-zh") or jobs[name])
    assert any(re.search("[\u4e00-\u9fff]", text) for text in shown)
    assert {text for text in shown if re.search("[A-Za-z]{2}", text)} == set()


def test_same_list_is_in_english_in_another_channel(answers):
    shop, jobs = answers
    lists = {
        name: list(_texts(row(shop.database, f"job:{jobs[name]}").payload["blocks"]))
        for name in ("list-zh", "list-en")
    }
    assert not re.search("[\u4e00-\u9fff]", "".join(lists["list-en"]))
    assert any("longest pause before" in text for text in lists["list-en"])
    assert len(lists["list-en"]) == len(lists["list-zh"])


def test_thread_and_later_revisions_speak_the_language_of_the_job(answers):
    shop, jobs = answers
    key = f"job:{jobs['list-requester']}"
    with shop.database.reading() as session:
        speak = lambda *place: languages.of_message(session, *place)  # noqa: E731
        assert speak("C0QUIET", None, key) == "zh"
        assert speak("C0QUIET", None, "new", key) == "zh"
        assert speak("C0QUIET", None, "new") is None
        # A colleague reads the requester's job elsewhere.
        assert speak("U0LEAD2", jobs["list-requester"], "new") is None
        assert speak(ENGLISH, jobs["list-zh"], "new") is None


def test_customers_read_the_language_of_the_shop(answers):
    shop, _ = answers
    offer = {"action": "coupon", "discount": 0.1, "min_order": 30.0, "currency": "GBP", "items": []}
    row = {"offer": offer, "code": "A", "expires_at": shop.end}
    with use_language("zh"):
        values = placeholder_values(shop.settings, "Ann", row)
    assert values == placeholder_values(shop.settings, "Ann", row)
    assert values["conditions"] == " (from £30.00 on)"


def test_default_name_is_known_in_each_language():
    body = SimpleNamespace(tiers={"high": 3, "medium": 2}, drafted_for=None, kind="win_back")
    now = datetime(2017, 10, 2, tzinfo=UTC)
    with use_language("zh"):
        name = default_name(body, now)
    assert name == "高和中风险，2017年10月2日"
    assert default_name(body, now) == "High and medium risk, 2 Oct 2017"
    assert is_default_name(name, body, now)
    assert not is_default_name("Autumn", body, now)
