"""Compute pseudonyms and hashes of e-mail addresses."""

from retention.keys import keyed_hash

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base32, without ambiguous letters


def pseudonym(key: bytes, customer_id: str) -> str:
    """Return a customer's pseudonym, such as ``K7Q2-M9XD``.

    Returns: eight characters of Crockford's base32 (40 bits).

    Notes
    -----
    Among a million customers, the probability of a collision is one third. Callers must expect
    several customers with one pseudonym.
    """
    number = int.from_bytes(keyed_hash(key, "pseudonym", customer_id)[:5], "big")
    letters = "".join(_ALPHABET[number >> shift & 31] for shift in range(35, -1, -5))
    return f"{letters[:4]}-{letters[4:]}"


def email_hash(key: bytes, email: str) -> str:
    """Hash an e-mail address, ignoring case and spaces."""
    return keyed_hash(key, "email", email.strip().casefold()).hex()
