"""Pseudonyms: stable, keyed, readable; hashes of two purposes cannot be joined."""

import re

from hypothesis import given
from hypothesis import strategies as st

from retention.keys import keyed_hash
from retention.privacy import email_hash, pseudonym


@given(st.text())
def test_a_pseudonym_is_readable_and_always_the_same(customer):
    made = pseudonym(b"key", customer)
    assert re.fullmatch(r"[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}", made)
    assert made == pseudonym(b"key", customer)


@given(st.text(), st.text())
def test_without_the_key_it_cannot_be_traced(customer, other):
    assert pseudonym(b"one key", customer) != pseudonym(b"another key", customer)
    assert customer == other or pseudonym(b"key", customer) != pseudonym(b"key", other)


def test_an_address_is_known_however_it_is_typed():
    assert email_hash(b"key", " Ann@Example.COM ") == email_hash(b"key", "ann@example.com")


def test_hashes_of_two_purposes_cannot_be_joined():
    assert keyed_hash(b"key", "email", "x") != keyed_hash(b"key", "pseudonym", "x")
