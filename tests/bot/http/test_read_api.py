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
from retention.db.tables import Audience, Audit, DirectoryEntry, LiveScore, PrivacyRelease
from retention.errors import BadInput, Conflict
from retention.privacy import ledger
from tests.world import add, change, read, scalars

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
    change(database, profiles.complete, snapshot)


@pytest.fixture
def shop(settings, database):
    """An installation with an audience, five scored customers, one without scores and a key."""
    clock.configure(fixed=AT)
    publish(database, settings)
    counted = {"customers": 5, "counted_as_of": AT, "saved_by": "U0ADMIN"}
    add(database, Audience(name="vips", expression="value > 5", **counted))
    for number in range(7):
        names = {"customer_id": f"k{number}", "pseudonym": f"p{number}"}
        add(database, DirectoryEntry(**names, canonical_id="k1" if number == 6 else None))
    return Site(settings, database), change(database, api_keys.add, "warehouse", "U0ADMIN")


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

    assert get(shop, "/v1/customers/k6")[1]["customer_id"] == "k1"  # merged
    status, body, _ = get(shop, "/v1/customers/k5")  # known, without scores
    assert (status, body["risk"], body["audiences"]) == (200, None, [])


def test_unknown_customer_is_not_found(shop):
    for customer in ("k99", "", "k\0", "x" * 300):
        assert get(shop, f"/v1/customers/{customer}")[0] == 404


@pytest.mark.parametrize(("hours", "tier"), [(1, "low"), (-1, "high")])
def test_newer_score_of_live_and_published_counts(shop, database, settings, hours, tier):
    score = {"model_version": "m2", "churn_probability": 0.1, "tier": "low", "expected_value": 9.0}
    add(database, LiveScore(customer_id="k3", as_of=AT + timedelta(hours=hours), **score))
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


def test_counts_are_those_of_this_weeks_release_and_cost_nothing(shop, database):
    assert get(shop, "/v1/audience-counts")[0] == 404
    figure = {"name": "vips", "unit": "customers", "value": 6, "low": 0, "high": 18}
    week = read(database, ledger.week_of, AT)
    change(database, ledger._add, "audiences", week, "U1", (0.25, 0.0), [figure])
    status, body, _ = get(shop, "/v1/audience-counts")
    counts = [{"name": "vips", "value": 6, "low": 0, "high": 18}]
    assert (status, body["week"], body["audiences"]) == (200, "2026-W09", counts)
    assert get(shop, "/v1/audience-counts", key="nonsense")[0] == 401
    assert len(scalars(database, select(PrivacyRelease))) == 1


def test_cursor_of_an_older_publication_is_gone(shop, database, settings):
    cursor = get(shop, "/v1/audiences/vips", query="limit=2")[1]["next_cursor"]
    publish(database, settings, job="job-2", as_of=AT + timedelta(days=1))
    assert get(shop, "/v1/audiences/vips", query=f"cursor={cursor}")[0] == 410


def test_wrong_paging_and_unknown_audience_are_refused(shop):
    long = "limit=000000001000000000"  # it once let more than 1,000 through
    for query in ("limit=0", "limit=1001", "limit=two", "limit=", "cursor=k2", long):
        status, body, _ = get(shop, "/v1/audiences/vips", query=query)
        assert (status, query.partition("=")[0] in body["error"]) == (400, True)
    status, body, _ = get(shop, "/v1/audiences/vip")
    assert (status, "vips" in body["error"]) == (404, True)


def test_publication_is_read_once_it_is_complete_and_a_repeated_one_once(shop, database):
    for _ in range(2):
        at = AT + timedelta(days=1)
        snapshot = profiles.write_snapshot(database, "job-2", at, "m2", [], {"vips": ["z"]})
    members = [f"k{number}" for number in range(5)]
    assert get(shop, "/v1/audiences/vips")[1]["members"] == members
    change(database, profiles.complete, snapshot)
    assert get(shop, "/v1/audiences/vips")[1]["members"] == ["z"]


def test_call_without_a_valid_key_is_refused(shop):
    for key in ("", "rk_0123456789ab_" + "x" * 43, "nonsense", "ключ"):
        status, body, headers = get(shop, "/v1/customers/k3", key=key)
        assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
        assert "k3" not in json.dumps(body)


def test_stored_key_does_not_reveal_the_key_and_a_revoked_one_is_refused(shop, database):
    (stored,) = read(database, api_keys.keys)
    assert stored.secret_hash not in shop[1]
    assert shop[1].rpartition("_")[2] not in stored.secret_hash
    change(database, api_keys.revoke, "warehouse", "U0ADMIN")
    assert get(shop, "/v1/customers/k3")[0] == 401


@pytest.mark.parametrize(
    ("deed", "name", "error"),
    [
        (api_keys.add, "A b", BadInput),
        (api_keys.add, "warehouse", Conflict),
        (api_keys.revoke, "other", BadInput),
    ],
)
def test_names_of_keys_are_checked(shop, database, deed, name, error):
    with pytest.raises(error, match=f"'{name}'"):
        change(database, deed, name, "U0ADMIN")


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
    answers = scalars(database, select(Audit).where(Audit.action.startswith("api.")))
    found = [(row.actor, row.action) for row in answers]
    assert found == [("key:warehouse", f"api.{kind}") for kind in ("customer", "audience")]
    assert answers[0].subject != "k3"


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
