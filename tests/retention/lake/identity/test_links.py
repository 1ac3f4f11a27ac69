"""Test links by keys: merged views, point-in-time validity, and undoing."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import select

from retention.campaigns.measurement.outcomes import collect_outcomes
from retention.db.tables import DirectoryEntry
from retention.errors import BadInput
from retention.features import build
from retention.lake import Lake, customer_directory
from retention.lake.identity import (
    IdentityRules,
    canonical_ids,
    forget,
    ids_of,
    keys,
    links,
    load_rules,
    review,
)
from retention.lake.schema import LINKS
from retention.lake.storage import delta_store
from retention.window import Window
from tests import world
from tests.retention.campaigns.samples import a_body
from tests.shop import add, merged

MAY = datetime(2025, 5, 1, tzinfo=UTC)
RULES = IdentityRules()


class Desk:
    """An installation with short methods that fill it."""

    def __init__(self, settings, database) -> None:
        self.settings, self.database, self.lake = settings, database, Lake.open(settings)
        settings.home.mkdir(parents=True, exist_ok=True)

    def import_rows(self, table: str, rows: list[dict]):
        return add(self, pd.DataFrame(rows), table)

    def customers(self, **of: str | dict):
        """Import customers, the oldest first, each with an e-mail address or columns."""
        rows = [row if isinstance(row, dict) else {"email": row} for row in of.values()]
        for place, who in enumerate(of):
            since = MAY - timedelta(days=90 - place)
            rows[place] = {"customer_id": who, "created_at": since} | rows[place]
        self.import_rows("customers", rows)

    def purchases(self, *of: tuple[str, datetime]) -> None:
        rows = pd.DataFrame(of, columns=["customer_id", "occurred_at"])
        rows = rows.assign(event_type="purchase", amount=10.0, channel="of " + rows.customer_id)
        add(self, rows.assign(order_id=[f"{who}{at}" for who, at in of]))

    def people(self) -> dict[str, str]:
        return self.lake.identities.canonical_ids()

    def link(self, left: str, right: str) -> str:
        """Accept a link as a person."""
        merged(self.lake, (left, right))
        return links.link_id(left, right)

    def undo(self, left: str, right: str):
        return self.decide(links.link_id(left, right), "undone")

    def decide(self, link: str, state: str) -> review.Decision:
        return review.decide(self.lake, self.database, [link], state, by="me")


@pytest.fixture
def shop(settings, database) -> Desk:
    return Desk(settings, database)


def _features(shop: Desk, at: datetime = MAY) -> pd.DataFrame:
    window = Window(active_within_days=None)
    return build(shop.lake, at, window=window).order_by("customer_id").execute()


@pytest.mark.nightly
def test_import_links_equal_keys_for_all_readers(shop):
    shop.customers(web="j.doe+shop@gmail.com", store="JDoe@googlemail.com", other="x@y.z")
    shop.purchases(
        ("web", MAY - timedelta(days=20)),
        ("store", MAY - timedelta(days=5)),
        ("other", MAY - timedelta(days=9)),
    )
    assert shop.people() == {"store": "web"}
    features = _features(shop).set_index("customer_id")
    assert sorted(features.index) == ["other", "web"]
    assert features.loc["web", "orders_all"] == 2
    assert features.loc["web", "recency_days"] == pytest.approx(5)
    events = shop.lake.table("events").execute()
    assert sorted(events["channel"][events.customer_id == "web"]) == ["of store", "of web"]
    expected = {"web", "store", "other"}
    assert set(shop.lake.table("events", identity="stored").execute()["customer_id"]) == expected
    assert sorted(shop.lake.table("customers").execute()["customer_id"]) == ["other", "web"]
    with shop.database.reading() as session:
        entry = customer_directory.find_match(session, "store")
        assert (entry.customer_id, entry.merged) == ("web", "store")
        assert customer_directory.find(session, "JDoe@googlemail.com") == "web"


def test_reads_decisions_after_a_checkpoint_of_the_log(shop):
    shop.customers(a="a@x.example", b="b@x.example", c="c@x.example")
    shop.link("a", "b")
    delta_store.open_table(shop.lake.root, LINKS).create_checkpoint()
    assert shop.people() == {"b": "a"}
    shop.link("a", "c")
    assert shop.people() == {"b": "a", "c": "a"}


def test_undo_restores_events_and_prevents_a_new_link(shop):
    shop.customers(web="a@b.c", store="a@b.c")
    shop.purchases(("web", MAY), ("store", MAY))
    before = shop.lake.fingerprint(MAY + timedelta(days=1))
    undone = shop.undo("web", "store")
    assert undone.still_one == ()
    assert shop.people() == {}
    assert set(shop.lake.table("events").execute()["customer_id"]) == {"web", "store"}
    assert shop.lake.fingerprint(MAY + timedelta(days=1)) != before
    assert links.link_exact(shop.lake, RULES, by="me").accepted == 0
    with shop.database.reading() as session:
        assert customer_directory.find_match(session, "store").merged is None
        assert not any(session.scalars(select(DirectoryEntry.canonical_id)))


def test_chain_is_one_customer_and_can_be_split(shop):
    b = {"email": "A@x.org", "phone": "+44 7700 900123"}
    shop.customers(a="a@x.org", b=b, c={"phone": "0044 7700 900123"})
    shop.link("c", "d")
    assert shop.people() == {"b": "a", "c": "a", "d": "a"}
    assert ids_of(shop.lake, "c") == ("a", "b", "c", "d")
    shop.undo("b", "c")
    assert shop.people() == {"b": "a", "d": "c"}
    assert ids_of(shop.lake, "z") == ("z",)


@pytest.mark.nightly
def test_linking_does_not_overrule_a_person(shop):
    shop.customers(a={"email": "a@x.org", "phone": "07700900123"}, b="a@x.org")
    shop.undo("a", "b")
    shop.customers(c={"email": "a@x.org", "created_at": MAY})  # a's or b's: a person has to say
    d = {"phone": "07700900123", "created_at": MAY, "attributes": '{"loyalty_id": "7"}'}
    shop.customers(d=d)
    assert shop.people() == {"d": "a"}
    b = {"email": "a@x.org", "attributes": '{"loyalty_id": "7"}'}
    shop.customers(b=b)  # would make a and b one again
    assert shop.people() == {"d": "a"}
    waiting = {pair["evidence"]["held_back"]: pair["link_id"] for pair in review.review(shop.lake)}
    assert len(waiting) == 2
    shop.decide(waiting["would join customers whom a person parted"], "accepted")
    assert shop.people() == {"b": "a", "d": "a"}


def test_undo_reports_links_that_still_connect(shop):
    shop.customers(a="a@x.org", b="a@x.org")
    shop.link("b", "c")
    through = shop.link("a", "c")
    still_one = shop.undo("a", "b").still_one
    assert [pair["customer_id"] for pair in still_one] == ["a"]
    assert through in still_one[0]["through"]


def test_review_omits_pairs_that_are_merged_already(shop):
    ann = {"phone": "+447700900123", "name": "Ann Smith"}
    shop.customers(ann=ann, bob={"phone": "+447700900123", "name": "Bob Jones"})
    assert len(review.review(shop.lake)) == 1
    other = shop.link("ann", "bob2")
    shop.link("bob", "bob2")
    with shop.database.reading() as session:
        counted = review.status(shop.lake, session, load_rules(shop.settings))
    assert (counted["links"]["proposed"], review.review(shop.lake)) == (0, [])
    shop.decide(other, "undone")
    assert len(review.review(shop.lake)) == 1


def test_reports_keys_of_too_many_customers(shop):
    many = {f"c{number}": "info@shop.org" for number in range(6)}
    report = shop.import_rows(
        "customers", [{"customer_id": who, "email": mail} for who, mail in many.items()]
    )
    assert shop.people() == {}
    assert report.linked["shared"] == [{"kind": "email", "key": "i…@shop.org", "customers": 6}]


def test_shared_telephone_with_other_names_needs_review(shop):
    shop.customers(
        ann={"phone": "07700 900 123", "locale": "en-GB", "name": "Ann Smith"},
        bob={"phone": "+447700900123", "name": "Bob Jones"},
        ann2={"phone": "07700900123 ext 3", "locale": "en-GB", "name": "Smith, Ann"},
    )
    assert shop.people() == {"ann2": "ann"}
    assert [pair["evidence"]["name"] for pair in review.review(shop.lake)] == ["different"]


def test_loyalty_number_links_but_made_up_keys_do_not(shop):
    shop.customers(
        a={"attributes": '{"loyalty_id": "L1"}'},
        b={"attributes": '{"loyalty_id": " l1 "}'},
        c={"email": "x@y.z", "attributes": '{"assumed": ["email"]}'},
        d={"email": "x@y.z", "attributes": '{"assumed": ["email"]}'},
    )
    assert shop.people() == {"b": "a"}


NUMBERS = {
    ("07700 900123", "en-GB"): "+447700900123",
    ("+44 (0)7700 900123", None): "+447700900123",
    ("0044 7700 900123", None): "+447700900123",
    ("447700900123", "en_GB"): "+447700900123",
    ("(555) 010-9999", "en-US"): "+15550109999",
    ("1-555-010-9999", "en-US"): "+15550109999",
    ("06 1234 5678", "it-IT"): "+390612345678",
    ("030 1234567 x12", "de-DE"): "+49301234567",
    ("030 1234567", None): "~0301234567",
    ("0000000", "en-GB"): None,
    ("12345", "en-GB"): None,
    ("033", "fr-FR"): None,
    ("441", "en-GB"): None,
    ("491701234567", "de-DE"): "+491701234567",
    ("0170 1234567", "de-DE"): "+491701234567",
    ("+352 27 12 34", None): "+352271234",
    ("0301234567#2", None): "~0301234567",
    ("+999 1234567", None): "~9991234567",
    ("none", None): None,
    ("'+44 7700 900123", "en-US"): "+447700900123",
}
ADDRESSES = {
    " J.Doe+x@GMail.com ": "jdoe@gmail.com",
    "jdoe@googlemail.com": "jdoe@gmail.com",
    "j.doe@shop.org": "j.doe@shop.org",
    "j+a@shop.org": "j+a@shop.org",
    "j+a@pm.me": "j@pm.me",
    "nobody": None,
    "a@b": None,
    "a b@c.de": None,
    "+x@gmail.com": None,
}


def test_normalises_telephone_numbers(lake):
    query = (
        f"SELECT {keys.phone('phone', 'locale', RULES)} "
        "FROM (SELECT ?::VARCHAR AS phone, ?::VARCHAR AS locale)"
    )
    found = {pair: lake.duckdb.execute(query, pair).fetchone()[0] for pair in NUMBERS}
    assert found == NUMBERS


def test_normalises_email_addresses(lake):
    query = f"SELECT {keys.email('email', RULES)} FROM (SELECT ?::VARCHAR AS email)"
    found = {each: lake.duckdb.execute(query, [each]).fetchone()[0] for each in ADDRESSES}
    assert found == ADDRESSES


def test_merged_customer_has_the_stricter_consent(shop):
    """The number must be the one that the customer agreed to get SMS on."""
    a = {"email": "a@x.org", "name": "Ann", "phone": "0770011"}
    b = {"email": "A@x.org", "name": "Anne", "phone": "0770090"}
    shop.customers(
        a=a | {"attributes": '{"tier": 1, "shoe": 40}'},
        b=b
        | {"attributes": '{"tier": 2, "hat": 7}', "marketing_consent": True, "sms_consent": True},
    )
    customer = shop.lake.table("customers").execute().iloc[0]
    expected = ("a", "Ann", "A@x.org", "0770090")
    assert (customer.customer_id, customer["name"], customer.email, customer.phone) == expected
    assert (customer.marketing_consent, customer.sms_consent) == (True, True)
    assert json.loads(customer.attributes) == {"tier": 1, "shoe": 40, "hat": 7}
    shop.customers(c={"email": "A@x.org", "sms_consent": False})
    customer = shop.lake.table("customers").execute().iloc[0]
    assert (customer.marketing_consent, customer.sms_consent) == (True, False)
    shop.customers(b={"email": "A@x.org", "marketing_consent": False})
    assert not shop.lake.table("customers").execute().iloc[0].marketing_consent
    d = {"email": "d@x.org", "phone": "0770022", "marketing_consent": True}
    shop.customers(d=d, e={"email": "D@x.org", "phone": "0770033", "sms_consent": True})
    customer = shop.lake.table("customers").execute().set_index("customer_id").loc["d"]
    assert (customer.phone, customer.marketing_consent) == ("0770033", True)


@pytest.mark.nightly
def test_link_counts_from_its_evidence_not_its_creation(shop):
    """a = b = c, and b came after the cutoff: before it, a and c are separate."""
    a = {"email": "a@x.org", "created_at": MAY - timedelta(days=60)}
    shop.customers(a=a, c={"phone": "+447700900123", "created_at": MAY - timedelta(days=50)})
    shop.purchases(("a", MAY - timedelta(days=9)), ("c", MAY - timedelta(days=8)))
    past = _features(shop)
    mark = shop.lake.fingerprint(MAY)
    b = {"email": "a@x.org", "phone": "+447700900123", "created_at": MAY + timedelta(days=3)}
    shop.customers(b=b)
    assert shop.people() == {"b": "a", "c": "a"}
    pd.testing.assert_frame_equal(past, _features(shop))
    assert mark.split(" ", 1)[1] == shop.lake.fingerprint(MAY).split(" ", 1)[1]
    assert len(_features(shop, MAY + timedelta(days=4))) == 1


def test_new_key_of_an_old_customer_does_not_change_the_past(shop):
    shop.customers(a="a@x.org", b={"name": "B"})
    shop.purchases(("a", MAY - timedelta(days=9)), ("b", MAY - timedelta(days=8)))
    past = _features(shop)
    shop.import_rows("customers", [{"customer_id": "b", "email": "a@x.org"}])
    assert shop.people() == {"b": "a"}
    pd.testing.assert_frame_equal(past, _features(shop))


def test_new_link_of_two_old_customers_holds_for_the_past(shop):
    shop.customers(a="a@x.org", b="a@x.org")
    shop.purchases(("a", MAY - timedelta(days=9)), ("b", MAY - timedelta(days=8)))
    assert set(shop.lake.table("events", MAY).execute()["customer_id"]) == {"a"}


@pytest.mark.nightly
def test_merge_across_arms_counts_orders_once_where_assigned(shop):
    shop.customers(a="a@x.org", b="b@x.org")
    body = a_body(contact_cost=0.0, margin=0.5).model_dump(mode="json")
    times = {"created_at": MAY, "sent_at": MAY, "window_ends_at": MAY + timedelta(days=28)}
    campaign = world.campaign("May", id="c1", state="live", body=body, **times)
    world.add(shop.database, campaign)
    for who, arm in (("a", "treatment"), ("b", "control")):
        world.add(shop.database, world.assignment("c1", who, arm))
    shop.purchases(
        ("a", MAY + timedelta(days=1)),
        ("b", MAY + timedelta(days=2)),
        ("b", MAY + timedelta(days=3)),
    )
    with shop.database.reading() as session:
        apart = collect_outcomes(shop.lake, session, campaign).customers
    shop.import_rows("customers", [{"customer_id": "b", "email": "a@x.org"}])
    assert shop.people() == {"b": "a"}
    with shop.database.reading() as session:
        merged = collect_outcomes(shop.lake, session, campaign).customers
        expected = ({"campaign_id": "c1", "name": "May", "customers": 1},)
        assert review.campaigns_with_both_arms(shop.lake, session) == expected
    pd.testing.assert_frame_equal(apart, merged)
    assert dict(zip(merged.customer_id, merged.orders, strict=True)) == {"a": 1, "b": 2}


def test_concurrent_linking_creates_each_link_once(shop):
    shop.import_rows(
        "customers", [{"customer_id": f"c{n}", "email": f"x{n // 2}@y.z"} for n in range(40)]
    )
    forget(shop.lake, [f"c{n}" for n in range(40)])
    assert shop.people() == {}
    desks = [Lake.open(shop.settings) for _ in range(2)]
    with ThreadPoolExecutor(2) as threads:
        accepted = list(
            threads.map(lambda lake: links.link_exact(lake, RULES, by="me").accepted, desks)
        )
    assert sorted(accepted) == [0, 20]
    assert len(shop.people()) == 20


def test_forget_deletes_links(shop):
    shop.customers(a="a@x.org", b="a@x.org", c="c@x.org", d="c@x.org")
    assert forget(shop.lake, ids_of(shop.lake, "b")) == 1
    assert shop.people() == {"d": "c"}


def test_refuses_invalid_decisions(shop):
    shop.customers(a="a@x.org", b="a@x.org")
    link = links.link_id("a", "b")
    with pytest.raises(BadInput, match="did you mean"):
        shop.decide(link[:-1] + "!", "undone")
    with pytest.raises(BadInput, match="is accepted; only one that is proposed"):
        shop.decide(link, "rejected")


def test_policy_sets_the_keys(shop, tmp_path):
    policy = tmp_path / "policy.toml"
    policy.write_text('[identity]\nattributes = ["card"]\nemail = false\n')
    settings = shop.settings.model_copy(update={"policy": policy})
    assert load_rules(settings).attributes == ("card",)
    policy.write_text("[identity]\nreview = 0.99\n")
    with pytest.raises(BadInput, match="must not be above accept"):
        load_rules(settings)


PAIRS = st.lists(
    st.tuples(st.integers(0, 7), st.integers(0, 7)).filter(lambda pair: pair[0] != pair[1]),
    max_size=12,
)


@hypothesis_settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(pairs=PAIRS, seed=st.integers(0, 5))
def test_canonical_id_is_the_oldest_for_any_order_of_links(pairs, seed):
    def since(number: int) -> pd.Timestamp:
        return pd.Timestamp(2025, 1, 9 - number)

    frame = pd.DataFrame(
        [
            (f"L{place}", f"c{left}", f"c{right}", since(left), since(right), place)
            for place, (left, right) in enumerate(pairs)
        ],
        columns=["link_id", "customer_id", "same_as", "customer_since", "same_as_since", "seq"],
    )
    shuffled = frame.sample(frac=1, random_state=seed)
    people = canonical_ids.canonical_ids(shuffled, frame)
    group = {number: {number} for number in range(8)}
    for left, right in pairs:
        both = group[left] | group[right]
        group.update(dict.fromkeys(both, both))
    expected = {f"c{number}": f"c{max(of)}" for number, of in group.items() if number != max(of)}
    assert people == expected
