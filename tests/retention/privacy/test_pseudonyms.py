"""Test pseudonyms and hashes of e-mail addresses."""

import re

from hypothesis import given
from hypothesis import strategies as st

from retention.keys import keyed_hash
from retention.privacy import email_hash, pseudonym


@given(st.text())
def test_pseudonym_is_readable_and_stable(customer):
    name = pseudonym(b"key", customer)
    assert re.fullmatch(r"[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}", name)
    assert name == pseudonym(b"key", customer)


@given(st.text(), st.text())
def test_pseudonym_depends_on_the_key(customer, other):
    assert pseudonym(b"one key", customer) != pseudonym(b"another key", customer)
    assert customer == other or pseudonym(b"key", customer) != pseudonym(b"key", other)


def test_email_hash_ignores_case_and_spaces():
    assert email_hash(b"key", " Ann@Example.COM ") == email_hash(b"key", "ann@example.com")


def test_hashes_of_two_purposes_differ():
    assert keyed_hash(b"key", "email", "x") != keyed_hash(b"key", "pseudonym", "x")
