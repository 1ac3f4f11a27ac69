"""Walk everything that a person can send in Slack, with every role and none."""

import json
import logging
import re
import time
from itertools import count

import pytest

from bot.http import rate_limit
from retention.db.tables import Job, Outbox, RoleGrant
from retention.errors import NotAllowed, Refused
from tests.bot.campaign import drafted
from tests.bot.conftest import _short_transactions, api, settings, workspace  # noqa: F401
from tests.bot.wire import ADMIN, stored
from tests.security import walk
from tests.world import add

NUMBER = count(1)


@pytest.fixture
def listeners(monkeypatch):
    """The ids that the app listens to; its listeners end before the answer."""
    monkeypatch.setattr(rate_limit, "REQUESTS", 100_000)
    walk.run_at_once(monkeypatch)
    return walk.record_listeners(monkeypatch)


@pytest.fixture
def refusals(monkeypatch) -> list[Refused]:
    """The refusals that were made since the last request was sent."""
    return walk.record_refusals(monkeypatch)


@pytest.fixture
def slack(listeners, workspace, settings, database):  # noqa: F811
    """The app with one person of each role, and a campaign of somebody else."""
    drafted(database, settings, author="U0AUTHOR")
    add(
        database,
        RoleGrant(team_id=settings.team_id, user_id=walk.VIEWER, role="viewer", granted_by=ADMIN),
    )
    return workspace


def answered(slack, database, request, user) -> tuple[int, str]:
    """Send a request; return the status, and all words that the person reads."""
    slack.api.calls.clear()
    posts = {row.key for row in stored(database, Outbox)} if request.is_event else set()
    answer = slack.send(*request.sent(user, next(NUMBER)))
    shown = [answer.body, *(call for _, call in slack.api.calls)]
    if request.is_event:
        shown += [row.payload for row in stored(database, Outbox) if row.key not in posts]
    return answer.status, json.dumps(shown, default=str)


def is_of(pattern: str, name: str) -> bool:
    return any(re.match(pattern, name + end) for end in ("", "0"))


def test_walk_has_each_listener_of_the_app(slack, listeners):
    known = {request.name for request in walk.everything()} | {"/retention"}
    patterns = {each for each in listeners if each.startswith("^")}
    assert listeners - patterns - known == set()
    assert [each for each in patterns if not any(is_of(each, name) for name in known)] == []
    silent = {name for name in known - listeners if not any(is_of(each, name) for each in patterns)}
    assert {name for name in silent if not name.startswith("/")} == set()


@pytest.mark.parametrize("kind", walk.KINDS)
def test_refused_requests_change_nothing(slack, database, refusals, kind):
    answers = ("outbox", "threads") if kind is walk.events else ()
    before, wrong = walk.content(database, *answers), []
    for request in kind():
        for user in walk.PEOPLE:
            if not walk.is_allowed(user, request.role):
                refusals.clear()
                status, said = answered(slack, database, request, user)
                needed = [each.needed for each in refusals if isinstance(each, NotAllowed)]
                is_refused = refusals if request.role == "nobody" else request.role in needed
                if status != 200 or not is_refused or not walk.is_told(refusals, said):
                    wrong.append((request.name, request.role, user, status, said[:300]))
    after = walk.content(database, *answers)
    assert wrong == [], "\n".join(map(str, wrong))
    assert {name: after[name] for name in before if after[name] != before[name]} == {}


@pytest.mark.nightly
def test_role_is_enough_for_each_request(slack, database, refusals, caplog):
    wrong = []
    for request in walk.everything():
        for user in walk.PEOPLE:
            if walk.is_allowed(user, request.role):
                refusals.clear()
                status, said = answered(slack, database, request, user)
                needed = [each.needed for each in refusals if isinstance(each, NotAllowed)]
                failed = [each for each in caplog.records if each.levelno >= logging.ERROR]
                caplog.clear()
                if status != 200 or any(needed) or failed:
                    wrong.append((request.name, request.role, user, status, said[:300]))
    assert wrong == [], "\n".join(map(str, wrong))


@pytest.mark.parametrize(
    ("how", "status"),
    [
        ({"secret": "another secret of another app"}, 401),
        ({"age": 400}, 401),
        ({"age": -400}, 401),
        ({"team": "T0OTHER"}, 200),
        ({"user_team": "T0OTHER"}, 200),
        ({"team": ""}, 200),
    ],
)
def test_request_of_a_stranger_changes_nothing(slack, database, how, status):
    before, teams = walk.content(database), {"team", "user_team"} & how.keys()
    places = {name: how[name] for name in teams}
    signed = {name: value for name, value in how.items() if name not in teams}
    slack.api.calls.clear()
    for request in walk.everything():
        answer = slack.send(*request.sent(ADMIN, next(NUMBER), **places), **signed)
        assert answer.status == status, request.name
    assert walk.content(database) == before
    assert {name for name, _ in slack.api.calls} <= {"auth.test"}


def settled(database) -> dict[str, list[str]]:
    """Return the content when the deferred writes are done."""
    before = None
    while before != (now := what_counts(database)):
        before = now
        time.sleep(0.5)
    return now


def what_counts(database) -> dict[str, list[str]]:
    """Return the content; a message may be drawn again."""
    keys = sorted(row.key for row in stored(database, Outbox))
    return walk.content(database, "outbox") | {"outbox": keys}


@pytest.mark.nightly
def test_replayed_request_has_no_second_effect(slack, database):
    """Slack's signature holds for five minutes, so whoever saw a request can send it again."""
    wrong = []
    for request in walk.everything():
        sent = request.sent(ADMIN, next(NUMBER))
        slack.send(*sent)
        first = what_counts(database)
        slack.send(*sent)
        if what_counts(database) != first:  # or a deferred write came late
            first = settled(database)
            slack.send(*sent)
            second = settled(database)
            wrong += [(request.name, name) for name in first if first[name] != second[name]]
    assert len(stored(database, Job)) >= 5
    assert wrong == []


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize("kind", walk.KINDS)
def test_replay_of_a_refused_request_stays_refused(slack, database, settings, kind):  # noqa: F811
    """The person may get the role, or the campaign may change, within the five minutes."""
    requests = [each for each in kind() if not walk.is_allowed(walk.NOBODY, each.role)]
    sent = [request.sent(walk.NOBODY, next(NUMBER)) for request in requests]
    first = [slack.send(*each).status for each in sent]
    grant = {"team_id": settings.team_id, "granted_by": ADMIN}
    add(database, RoleGrant(user_id=walk.NOBODY, role="admin", **grant))
    before = what_counts(database)
    assert [slack.send(*each).status for each in sent] == first
    assert what_counts(database) == before


def test_new_request_counts_after_a_refused_one(slack, database, settings):  # noqa: F811
    (sweep,) = [request for request in walk.commands() if request.name == "/sweep"]
    slack.send(*sweep.sent(walk.NOBODY, next(NUMBER)))
    grant = {"team_id": settings.team_id, "granted_by": ADMIN}
    add(database, RoleGrant(user_id=walk.NOBODY, role="admin", **grant))
    assert stored(database, Job) == []
    slack.send(*sweep.sent(walk.NOBODY, next(NUMBER)))
    assert len(stored(database, Job)) == 1
