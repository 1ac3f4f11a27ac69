"""People with a known truth: some are in the shop's books twice.

The entries differ by typos, swapped names or changed addresses.
"""

import numpy as np
import pandas as pd

_SOUNDS = (
    *("ba", "ca", "da", "el", "fi", "go", "ha", "in", "jo", "ka"),
    *("lu", "ma", "na", "or", "pe", "ri", "sa", "to", "ur", "vi"),
)
_STREETS = ("mail.example", "post.example", "web.example", "home.example")


def people(n: int, twice: float = 0.3, seed: int = 5) -> tuple[pd.DataFrame, set[frozenset[str]]]:
    """``n`` persons, a share of them with a second row.

    Returns
    -------
    frame : DataFrame
        Rows of the canonical table customers.
    truth : set of frozenset
        The pairs of ids that are one person.
    """
    rng = np.random.default_rng(seed)
    first = _names(rng, 400)[_zipf(rng, 400, n)]
    last = _names(rng, 4000)[_zipf(rng, 4000, n)]
    number = rng.integers(1, 999, n).astype(str)
    domain = np.array(_STREETS)[rng.integers(0, len(_STREETS), n)]
    dotted = np.char.add(np.char.add(first, "."), last)
    customers = pd.DataFrame(
        {
            "customer_id": [f"w{place:06d}" for place in range(n)],
            "first": first,
            "last": last,
            "email": np.char.add(np.char.add(np.char.add(dotted, number), "@"), domain),
            "phone": np.char.add("07", rng.integers(10**8, 10**9, n).astype(str)),
            "postcode": [f"P{area:04d}" for area in rng.integers(0, max(n // 20, 10), n)],
        }
    )
    again = customers[rng.random(n) < twice].copy()
    truth_ids = again["customer_id"].to_numpy()
    again["customer_id"] = ["s" + name[1:] for name in truth_ids]
    again = _spoilt(again, rng)
    frame = pd.concat(
        [_thinned(customers, rng, 0.1), _thinned(again, rng, 0.25)], ignore_index=True
    )
    truth = {frozenset(("s" + name[1:], name)) for name in truth_ids}
    return _canonical(frame), truth


def _spoilt(rows: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Change rows as between two counters: a typo, swapped names, a new address, number or home."""
    n = len(rows)
    rows = rows.copy()
    for name, share in (("first", 0.15), ("last", 0.15), ("email", 0.1)):
        hit = rng.random(n) < share
        rows.loc[hit, name] = [_typo(word, rng) for word in rows.loc[hit, name]]
    swap = rng.random(n) < 0.08
    rows.loc[swap, ["first", "last"]] = rows.loc[swap, ["last", "first"]].to_numpy()
    new = rng.random(n) < 0.4
    rows.loc[new, "email"] = [
        f"{word}{number}@new.example"
        for word, number in zip(
            rows.loc[new, "last"], rng.integers(0, 10**6, new.sum()), strict=True
        )
    ]
    new = rng.random(n) < 0.4
    rows.loc[new, "phone"] = np.char.add("07", rng.integers(10**8, 10**9, new.sum()).astype(str))
    moved = rng.random(n) < 0.15
    rows.loc[moved, "postcode"] = [
        f"P{area:04d}" for area in rng.integers(0, max(n // 6, 10), moved.sum())
    ]
    return rows


def _thinned(rows: pd.DataFrame, rng: np.random.Generator, share: float) -> pd.DataFrame:
    rows = rows.astype(object)
    for name in ("email", "phone", "postcode"):
        rows.loc[rng.random(len(rows)) < share, name] = None
    return rows


def _canonical(rows: pd.DataFrame) -> pd.DataFrame:
    attributes = [
        None if code is None else f'{{"postcode": "{code}"}}' for code in rows["postcode"]
    ]
    name = rows["first"].str.title() + " " + rows["last"].str.title()
    return rows[["customer_id", "email", "phone"]].assign(
        name=name, attributes=attributes, locale="en-GB"
    )


def _names(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.array(["".join(rng.choice(_SOUNDS, size)) for size in rng.integers(2, 5, n)])


def _zipf(rng: np.random.Generator, k: int, n: int) -> np.ndarray:
    share = 1 / (np.arange(k) + 10)
    return rng.choice(k, n, p=share / share.sum())


def _typo(word: str, rng: np.random.Generator) -> str:
    place = int(rng.integers(0, max(len(word) - 1, 1)))
    kind = rng.integers(0, 3)
    if kind == 0:
        return word[:place] + word[place + 1 :]
    if kind == 1:
        return (
            word[:place] + word[place + 1 : place + 2] + word[place : place + 1] + word[place + 2 :]
        )
    return word[:place] + "x" + word[place + 1 :]
