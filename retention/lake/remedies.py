"""Remedies of the reasons for quarantine."""

import re

_AGAIN = "then `retention data release`"
_REMEDIES: tuple[tuple[str, str], ...] = (
    (
        r"customer_id is missing",
        "guests cannot be won back; map another column onto customer_id if there is one, " + _AGAIN,
    ),
    (
        r"(\w+) is missing",
        r"map a column that has it onto \1, or complete the source and import it again",
    ),
    (
        r"(.+) is no number",
        r"write \1 in the source as a plain number, or make it one in the map's `from`, and import the file again",
    ),
    (
        r"(.+) is no date or time",
        r"write \1 in the source like 2010-12-31 08:26, or make it so in the map's `from`, and import the file again",
    ),
    (r"(.+) is neither yes nor no", r"map \1 with { sql = … } to true or false, " + _AGAIN),
    (r"(.+) is no (text|JSON)", r"mend \1 in the source, or leave it out of the map, " + _AGAIN),
    (r"(\w+) is none of .*", r"translate \1 in the map with { sql = 'CASE …' }, " + _AGAIN),
    (
        r"occurred_at lies in the future",
        "see that the map's time zone and the order of day and month are right, " + _AGAIN,
    ),
    (
        r"occurred_at lies before .*",
        "a default stands where no date was known; mend the source, or set earliest of [impossible_date] in clean.toml, "
        + _AGAIN,
    ),
    (
        r"no code of ours",
        "see whether it was typed right (a check character tells), or is another system's; mend it and import the file again",
    ),
    (
        r"the line is broken.*",
        "mend the line in the file (a quote or a delimiter too many) and import the file again",
    ),
    (
        r"customer_id stands for everybody.*",
        "map another column onto customer_id; or, if it is one customer, take the word out of [placeholder_customer] in clean.toml, "
        + _AGAIN,
    ),
    (r"a test order", "nothing to do; if it is none, change [test_order] in clean.toml, " + _AGAIN),
    (
        r"a line of the accounts.*",
        "nothing to do; if it is a product, change [bookkeeping] in clean.toml, " + _AGAIN,
    ),
    (
        r"amount and quantity contradict.*",
        "say in the map what is a return (event_type); or set [negative] to keep in clean.toml, "
        + _AGAIN,
    ),
    (
        r"nothing was paid.*",
        "if samples count as orders, set [nothing_paid] to keep in clean.toml, " + _AGAIN,
    ),
    (
        r"the same order.*",
        "nothing to do; if both are real, lower or switch off [order_twice] in clean.toml, "
        + _AGAIN,
    ),
    (
        r"the same line.*",
        "nothing to do; if both are real, lower or switch off [near_duplicate] in clean.toml, "
        + _AGAIN,
    ),
    (
        r"browsing faster.*",
        "nothing to do; if it is a person, raise the limits of [bot] in clean.toml, " + _AGAIN,
    ),
    (
        r"a price far from.*",
        "see whether the amount is a typing error; if it is right, raise factor in [price] of clean.toml, "
        + _AGAIN,
    ),
)


def remedy(reason: str) -> str:
    """Return a reason's remedy as one sentence without a full stop."""
    for pattern, text in _REMEDIES:
        if match := re.fullmatch(pattern, reason):
            return match.expand(text)
    return "mend the source or the map, " + _AGAIN
