"""Test that the secrets of a connection go to its own place only."""

import json

import pytest
from cryptography.fernet import Fernet

from retention import encryption
from retention.connect import connections
from retention.connect.contract import WEBHOOKS_AT
from retention.connect.platforms.brevo import Brevo
from retention.connect.shops.shopify import Shopify
from retention.errors import Refused

GIVEN = {"shop": "https://a.example", "token": "shpat_1", "client_secret": "s", "version": "1"}


@pytest.fixture
def two(database):
    """Two connections of different platforms."""
    with database.transaction() as session:
        by = {"channel": None, "by": "U1"}
        connections.add(session, "shop", Shopify.kind, Shopify.settings, GIVEN, **by)
        own = {each.key: "x" * 20 for each in Brevo.settings}
        connections.add(session, "mail", Brevo.kind, Brevo.settings, own, **by)
        yield [connections.find(session, name) for name in ("shop", "mail")]


def test_notes_of_the_desk_leave_secrets_readable(database, two):
    shop, _ = two
    shop.config = {**shop.config, WEBHOOKS_AT: "https://desk.example"}
    assert connections.access(database.settings, shop)["token"] == "shpat_1"


def test_secrets_of_a_changed_or_another_place_are_refused(database, two):
    shop, mail = two
    unbound = encryption._fernet(database.settings.keys).encrypt(json.dumps(GIVEN).encode())
    changes = [
        {"config": {**shop.config, "shop": "https://evil.example"}},
        {"config": {key: value for key, value in shop.config.items() if key != "shop"}},
        {"config": {**shop.config, "since": "https://evil.example"}},  # it was not given
        {"kind": mail.kind},
        {"secrets": mail.secrets},
        {"secrets": unbound},
        {"secrets": Fernet(Fernet.generate_key()).encrypt(b"{}")},
    ]
    for change in changes:
        before = {name: getattr(shop, name) for name in change}
        for name, value in change.items():
            setattr(shop, name, value)
        with pytest.raises(Refused):
            connections.access(database.settings, shop)
        for name, value in before.items():
            setattr(shop, name, value)
    assert connections.access(database.settings, shop)["token"] == "shpat_1"
