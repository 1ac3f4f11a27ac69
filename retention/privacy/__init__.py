"""Pseudonyms: how a customer is called where identities must not be shown."""

from retention.keys import keyed_hash

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford: nothing that can be misread


def pseudonym(key: bytes, customer_id: str) -> str:
    """Name a customer without naming them: ``K7Q2-M9XD``, the same for the same key.

    Parameters
    ----------
    key : bytes
        The installation's secret; without it a pseudonym cannot be traced back by trying ids.
    customer_id : str
        The shop's own id.

    Returns
    -------
    str
        Eight characters of Crockford's base32 (40 bits: two of a million customers collide with a chance of one in
        three; whoever resolves a pseudonym must expect several).
    """
    number = int.from_bytes(keyed_hash(key, "pseudonym", customer_id)[:5], "big")
    letters = "".join(_ALPHABET[number >> shift & 31] for shift in range(35, -1, -5))
    return f"{letters[:4]}-{letters[4:]}"


def email_hash(key: bytes, email: str) -> str:
    """Keyed hash (hex) of an e-mail address as people type it: case and surrounding blanks do not matter."""
    return keyed_hash(key, "email", email.strip().casefold()).hex()
