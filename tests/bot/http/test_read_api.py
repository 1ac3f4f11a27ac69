"""Test the read API: keys, scores, pages of audiences, limits and the description."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from bot.http import read_api
from bot.http.rate_limit import TokenBuckets
from bot.http.requests import Request
from bot.http.web import Site
from retention import clock
from retention.connect.platforms import profiles
from retention.connect.readers import api_keys
from retention.db.tables import Audience, Audit, DirectoryEntry, LiveScore
from retention.errors import BadInput, Conflict

AT = datetime(2026, 3, 1, 4, tzinfo=UTC)


def publish(database, settings, *, members=5, as_of=AT, job="job-1", tier="high") -> None:
    scores = [
        {
            "customer_id": f"k{number}",
            "churn_probability": 0.8,
            "tier": tier,
            "expected_value": 12.5,
            "next_order_at": as_of + timedelta(days=9),
            "items": ["i1", "i2"],
        }
        for number in range(members)
    ]
    customers = [score["customer_id"] for score in scores]
    snapshot = profiles.write_snapshot(database, job, as_of, "m1", scores, {"vips": customers})
    with database.transaction() as session:
        profiles.complete(session, snapshot)


@pytest.fixture
def shop(settings, database):
    """An installation with an audience, five scored customers, one without scores and a key."""
    clock.configure(fixed=AT)
    publish(database, settings)
    counted = {"customers": 5, "counted_as_of": AT, "saved_by": "U0ADMIN"}
    with database.transaction() as session:
        session.add(Audience(name="vips", expression="value > 5", **counted))
        for number in range(7):
            names = {"customer_id": f"k{number}", "pseudonym": f"p{number}"}
            merged = "k1" if number == 6 else None
            session.add(DirectoryEntry(**names, canonical_id=merged))
        key = api_keys.add(session, "warehouse", "U0ADMIN")
    return Site(settings, database), key


def get(shop, path, *, key=None, query=""):
    site, valid = shop
    headers = {"authorization": f"Bearer {valid if key is None else key}"}
    reply = site.respond(Request("GET", path, query, headers))
    return reply.status, json.loads(reply.body), dict(reply.headers)


def test_customer_has_the_published_scores(shop):
    status, body, headers = get(shop, "/v1/customers/k3")
    assert status == 200
    assert body == {
        "customer_id": "k3",
        "as_of": "2026-03-01T04:00:00+00:00",
        "model_version": "m1",
        "risk": {"tier": "high", "churn_probability": 0.8},
        "expected_value": 12.5,
        "next_order_at": "2026-03-10T04:00:00+00:00",
        "recommended_items": ["i1", "i2"],
        "audiences": ["vips"],
    }
    assert headers["Cache-Control"] == "no-store"


def test_merged_id_answers_with_the_present_one(shop):
    assert get(shop, "/v1/customers/k6")[1]["customer_id"] == "k1"


def test_known_customer_without_scores_has_no_risk(shop):
    status, body, _ = get(shop, "/v1/customers/k5")
    assert (status, body["risk"], body["audiences"]) == (200, None, [])


@pytest.mark.parametrize("customer", ["k99", "", "k\0", "x" * 300])
def test_unknown_customer_is_not_found(shop, customer):
    assert get(shop, f"/v1/customers/{customer}")[0] == 404


@pytest.mark.parametrize(("hours", "tier"), [(1, "low"), (-1, "high")])
def test_newer_score_of_live_and_published_counts(shop, database, settings, hours, tier):
    score = {"model_version": "m2", "churn_probability": 0.1, "tier": "low", "expected_value": 9.0}
    with database.transaction() as session:
        session.add(LiveScore(customer_id="k3", as_of=AT + timedelta(hours=hours), **score))
    body = get(shop, "/v1/customers/k3")[1]
    assert body["risk"]["tier"] == tier
    assert body["recommended_items"] == ["i1", "i2"]


def test_pages_of_an_audience_list_each_member_once(shop):
    cursor, seen = "", []
    while cursor is not None:
        status, body, _ = get(shop, "/v1/audiences/vips", query=f"limit=2{cursor}")
        assert (status, body["customers"]) == (200, 5)
        seen += body["members"]
        cursor = body["next_cursor"] and f"&cursor={body['next_cursor']}"
    assert seen == [f"k{number}" for number in range(5)]


def test_cursor_of_an_older_publication_is_gone(shop, database, settings):
    cursor = get(shop, "/v1/audiences/vips", query="limit=2")[1]["next_cursor"]
    publish(database, settings, job="job-2", as_of=AT + timedelta(days=1))
    assert get(shop, "/v1/audiences/vips", query=f"cursor={cursor}")[0] == 410


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=two", "limit=", "cursor=k2"])
def test_wrong_paging_is_refused(shop, query):
    status, body, _ = get(shop, "/v1/audiences/vips", query=query)
    assert status == 400
    assert query.partition("=")[0] in body["error"]


def test_unknown_audience_names_the_nearest(shop):
    status, body, _ = get(shop, "/v1/audiences/vip")
    assert status == 404
    assert "vips" in body["error"]


def test_half_written_publication_is_not_read(shop, database, settings):
    profiles.write_snapshot(database, "job-2", AT + timedelta(days=1), "m2", [], {"vips": ["z"]})
    assert get(shop, "/v1/audiences/vips")[1]["members"] == [f"k{number}" for number in range(5)]


def test_repeated_attempt_of_a_publication_replaces_the_first(shop, database):
    for _ in range(2):
        snapshot = profiles.write_snapshot(
            database, "job-2", AT + timedelta(days=1), "m2", [], {"vips": ["z"]}
        )
    with database.transaction() as session:
        profiles.complete(session, snapshot)
    assert get(shop, "/v1/audiences/vips")[1]["members"] == ["z"]


@pytest.mark.parametrize("key", ["", "rk_0123456789ab_" + "x" * 43, "nonsense", "ключ"])
def test_call_without_a_valid_key_is_refused(shop, key):
    status, body, headers = get(shop, "/v1/customers/k3", key=key)
    assert status == 401
    assert headers["WWW-Authenticate"] == "Bearer"
    assert "k3" not in json.dumps(body)


def test_revoked_key_is_refused_at_once(shop, database, settings):
    with database.transaction() as session:
        api_keys.revoke(session, "warehouse", "U0ADMIN")
    assert get(shop, "/v1/customers/k3")[0] == 401


def test_stored_key_does_not_reveal_the_key(shop, database, settings):
    with database.reading() as session:
        (stored,) = api_keys.keys(session)
        assert stored.secret_hash not in shop[1]
        assert shop[1].rpartition("_")[2] not in stored.secret_hash


def test_names_of_keys_are_checked(database, settings):
    with database.transaction() as session:
        with pytest.raises(BadInput, match="'A b'"):
            api_keys.add(session, "A b", "U0ADMIN")
        api_keys.add(session, "crm", "U0ADMIN")
        with pytest.raises(Conflict, match="'crm'"):
            api_keys.add(session, "crm", "U0ADMIN")
        with pytest.raises(BadInput, match="'other'"):
            api_keys.revoke(session, "other", "U0ADMIN")


def test_too_many_calls_wait(shop):
    shop[0].read_api.calls = TokenBuckets(2, 60)
    assert [get(shop, "/v1/customers/k3")[0] for _ in range(3)] == [200, 200, 429]
    status, _, headers = get(shop, "/v1/customers/k3")
    assert status == 429
    assert int(headers["Retry-After"]) > 0


def test_each_answer_is_in_the_audit_log_by_pseudonym(shop, database):
    get(shop, "/v1/customers/k3")
    get(shop, "/v1/audiences/vips")
    get(shop, "/v1/customers/k3", key="wrong")
    with database.reading() as session:
        rows = session.scalars(select(Audit).where(Audit.action.startswith("api."))).all()
        found = [(row.actor, row.action, row.subject) for row in rows]
    assert [(actor, action) for actor, action, _ in found] == [
        ("key:warehouse", "api.customer"),
        ("key:warehouse", "api.audience"),
    ]
    assert found[0][2] != "k3"


@pytest.mark.nightly
def test_answers_keep_to_the_description(shop):
    schemathesis = pytest.importorskip("schemathesis")
    from hypothesis import HealthCheck, given
    from hypothesis import settings as hypothesis_settings

    from bot.http.server import Gateway

    site, key = shop
    site.read_api.calls = TokenBuckets(10**6, 60)
    schema = schemathesis.openapi.from_asgi(read_api.OPENAPI, Gateway(site))
    for operation in schema.get_all_operations():

        @given(case=operation.ok().as_strategy())
        @hypothesis_settings(
            max_examples=60, deadline=None, suppress_health_check=list(HealthCheck)
        )
        def check(case):
            case.call_and_validate(headers={"Authorization": f"Bearer {key}"})

        check()
