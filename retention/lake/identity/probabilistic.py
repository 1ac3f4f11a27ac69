"""Links by likeness: splink's Fellegi–Sunter model on DuckDB, learned from the customers themselves, without labels.

What is compared: names (also swapped), e-mail address, telephone number, postcode, date of birth and locale, as far as the
customers have them. Pairs are looked for only among those that agree on something (blocking); how much an agreement tells
is estimated by expectation maximisation, seeded. Everything happens in a DuckDB of its own, in memory and offline.

Source: Fellegi & Sunter (1969), A theory for record linkage; Linacre et al. (2022), Splink.
"""
# ruff: noqa: S608 - SQL only contains our own names, numbers and escaped literals

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from retention.lake.identity import exact, keys, links, resolve
from retention.lake.identity.rules import IdentityRules
from retention.lake.mapping import literal
from retention.progress import Progress, silent

if TYPE_CHECKING:
    import pandas as pd

    from retention.lake.lake import Lake

SEED = 7
FEWEST = 50  # customers: below, frequencies are anecdotes
FILLED = 0.2  # an attribute that fewer have is not compared
MOST_PAIRS = 20_000_000  # a blocking rule that yields more is left out
SAMPLED_PAIRS = 1_000_000  # drawn at random to learn how often strangers agree
POSTCODES = ("postcode", "zip", "zip_code", "postal_code", "postalcode")
BIRTHS = ("birth_date", "date_of_birth", "dob", "birthday")
WORDS = (
    "first",
    "last",
    "email",
    "phone",
    "postcode",
    "birth",
)  # what can tell people apart; locale only helps
# Pairs that agree on one of these are looked at.
BLOCKS: tuple[tuple[str, ...], ...] = (
    ("email_local",),
    ("phone",),
    ("last", "postcode"),
    ("first", "postcode"),
    ("first", "last"),
    ("last", "birth"),
    ("first", "birth"),
    ("low", "high"),
    ("postcode", "substr(email_local, 1, 3)"),
    ("last", "substr(email_local, 1, 4)"),
)
# Each run of EM holds one block fixed and learns the comparisons outside it.
LEARNED_IN: tuple[tuple[str, ...], ...] = (
    ("first", "last"),
    ("email",),
    ("phone",),
    ("last", "postcode"),
    ("low", "high"),
)
_SURE: tuple[tuple[str, ...], ...] = (
    ("email",),
    ("phone", "last"),
    ("first", "last", "postcode"),
)  # hardly ever wrong


def link(
    lake: Lake,
    rules: IdentityRules,
    *,
    accept: float,
    review: float,
    by: str,
    progress: Progress = silent,
) -> exact.Linked:
    """Link customers who are alike: accept from ``accept`` on, leave to a person from ``review`` on, ignore below.

    Parameters
    ----------
    accept, review : float
        Probabilities; ``review ≤ accept``.
    by : str
        Who asked.

    Returns
    -------
    Linked
        With a note, and nothing linked, where there are too few customers or attributes to tell.
    """
    people = _people(lake, rules)
    note = _too_little(people)
    if note:
        return exact.Linked(0, 0, note=note)
    found = alike(people, review, progress=progress)
    with links.writing(lake) as log:
        found = _new(log, found)
        if not len(found):
            return exact.Linked(0, 0)
        state = (found["probability"] >= accept).map({True: "accepted", False: "proposed"})
        found = links.aged(lake, found.assign(method="probable", state=state))
        found = links.admit(log, found, rules.largest)
        links.add(lake, log, found[[*exact.COLUMNS]], by)
    accepted = int((found["state"] == "accepted").sum())
    return exact.Linked(accepted, len(found) - accepted)


def alike(people: pd.DataFrame, review: float, *, progress: Progress = silent) -> pd.DataFrame:
    """Pairs that are one person with at least this probability.

    Parameters
    ----------
    people : DataFrame
        ``customer_id`` and any of `WORDS` and ``locale``, missing as None.
    review : float

    Returns
    -------
    DataFrame
        ``customer_id, same_as, probability, evidence``, ordered by id.
    """
    import pandas as pd

    used = [name for name in WORDS if people[name].notna().mean() >= FILLED]
    with _quiet(), _database(people) as con:
        from splink import DuckDBAPI, Linker

        blocks = _blocks(con, used)
        linker = Linker(
            DuckDBAPI(connection=con).register("people_in"),
            _settings(people, used, blocks),
            log_level=None,
        )
        _learn(linker, con, used, progress)
        progress(8, 10, "Comparing the customers")
        rows = linker.inference.predict(
            threshold_match_probability=review, warning_mode="never"
        ).as_duckdbpyrelation()
        frame = rows.df()
    progress(10, 10, "Compared")
    levels = [name for name in frame.columns if name.startswith("gamma_")]
    told = pd.DataFrame(
        {
            "customer_id": frame["customer_id_l"],
            "same_as": frame["customer_id_r"],
            "probability": frame["match_probability"],
            "evidence": _evidence(frame[levels]) if len(frame) else [],
        }
    )
    return told.sort_values(["customer_id", "same_as"]).reset_index(drop=True)


def _people(lake: Lake, rules: IdentityRules) -> pd.DataFrame:
    """What can be compared of every stored customer, in one spelling."""
    customers = lake.table("customers", identity="stored").get_name()
    spelt = "nullif(trim(regexp_replace(lower(strip_accents(name)), '[^a-z0-9 ,-]', '', 'g')), '')"
    comma = f"split_part({spelt}, ',', 2) || ' ' || split_part({spelt}, ',', 1)"
    ordered = f"trim(CASE WHEN contains({spelt}, ',') THEN {comma} ELSE {spelt} END)"
    birth = f"try_cast({_attribute(BIRTHS)} AS DATE)::VARCHAR"
    postcode = f"nullif(regexp_replace(upper({_attribute(POSTCODES)}), '[^A-Z0-9]', '', 'g'), '')"
    frame = lake.duckdb.execute(
        f"""
        SELECT customer_id, nullif(split_part(name, ' ', 1), '') AS first,
               CASE WHEN contains(name, ' ') THEN nullif(regexp_extract(name, '([^ ]+)$', 1), '') END AS last,
               email, split_part(email, '@', 1) AS email_local, phone, postcode, birth, locale,
               least(first, last) AS low, greatest(first, last) AS high
        FROM (SELECT customer_id, {ordered} AS name, {keys.key_of("email", rules)} AS email,
                     {keys.key_of("phone", rules)} AS phone, {postcode} AS postcode, {birth} AS birth,
                     lower(locale) AS locale FROM "{customers}" WHERE NOT {keys.assumed("name")})
        ORDER BY customer_id"""
    ).df()
    text = frame.astype(object)
    return text.where(text.notna(), None)


def _attribute(names: tuple[str, ...]) -> str:
    each = ", ".join(
        f"nullif(trim(json_extract_string(attributes, {literal('$.' + name)})), '')"
        for name in names
    )
    return f"coalesce({each})"


def _too_little(people: pd.DataFrame) -> str:
    """Why likeness cannot tell anything here; empty where it can."""
    used = [name for name in WORDS if len(people) and people[name].notna().mean() >= FILLED]
    if len(people) < FEWEST:
        return (
            f"there are {len(people)} customers with a row; likeness needs {FEWEST} to learn from."
        )
    if len(used) < 3 or not {"email", "phone", "postcode", "birth"} & set(used):
        had = ", ".join(used) or "nothing"
        return (
            f"of {', '.join(WORDS)} at least {FILLED:.0%} of the customers have {had}; likeness needs names and one "
            "more of them. Import more columns of the customers."
        )
    return ""


def _new(log: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """Those on which nobody has decided and that are not one customer already."""
    held = resolve.current(log)
    people = resolve.canonical(held[held["state"] == "accepted"], log)
    ids = [
        links.link_id(*pair) for pair in zip(found["customer_id"], found["same_as"], strict=True)
    ]
    one, other = (
        found[name].map(lambda who: people.get(who, who)) for name in ("customer_id", "same_as")
    )
    decided = found.assign(link_id=ids)["link_id"].isin(held["link_id"])
    return found[(one != other) & ~decided].reset_index(drop=True)


# ---------------------------------------------------------------- splink


def _settings(people: pd.DataFrame, used: list[str], blocks: list[tuple[str, ...]]) -> Any:
    from splink import SettingsCreator, block_on
    from splink.comparison_library import (
        ExactMatch,
        ForenameSurnameComparison,
        JaroWinklerAtThresholds,
        LevenshteinAtThresholds,
    )

    comparisons: list[Any] = []
    if {"first", "last"} <= set(used):
        comparisons.append(
            ForenameSurnameComparison("first", "last", jaro_winkler_thresholds=[0.92, 0.85])
        )
    elif "first" in used:
        comparisons.append(JaroWinklerAtThresholds("first", [0.92, 0.85]))
    if "email" in used:
        comparisons.append(_email())
    comparisons += [
        LevenshteinAtThresholds(name, [1])
        for name in ("phone", "postcode", "birth")
        if name in used
    ]
    if people["locale"].nunique() > 1:
        comparisons.append(ExactMatch("locale"))
    return SettingsCreator(
        link_type="dedupe_only",
        unique_id_column_name="customer_id",
        comparisons=comparisons,
        blocking_rules_to_generate_predictions=[block_on(*block) for block in blocks],
        retain_matching_columns=True,  # with them come the levels of agreement
        max_iterations=40,
    )


def _email() -> Any:
    """Equal, the same before the @, or a typo apart, but in a letter: by their digits namesakes are told apart. No looser
    likeness: addresses are made of names, which are compared already, and two namesakes would be taken for one.
    """
    from splink import comparison_level_library as levels
    from splink.comparison_library import CustomComparison

    digits = "regexp_replace(email_{}, '[^0-9]', '', 'g')"
    typo = (
        "abs(length(email_l) - length(email_r)) <= 1 AND damerau_levenshtein(email_l, email_r) <= 1 "
        f"AND {digits.format('l')} = {digits.format('r')}"
    )
    return CustomComparison(
        output_column_name="email",
        comparison_levels=[
            levels.NullLevel("email"),
            levels.ExactMatchLevel("email"),
            levels.CustomLevel("email_local_l = email_local_r", "the same before the @"),
            levels.CustomLevel(typo, "a typo apart"),
            levels.ElseLevel(),
        ],
    )


def _blocks(con: Any, used: list[str]) -> list[tuple[str, ...]]:
    """The blocking rules that the data has columns for and that do not yield too many pairs."""
    return [
        block for block in BLOCKS if _there(block, used) and 0 < _pairs(con, block) <= MOST_PAIRS
    ]


def _there(block: tuple[str, ...], used: list[str]) -> bool:
    needs = {"email_local": {"email"}, "low": {"first", "last"}, "high": {"first", "last"}}
    names = [name[7:].split(",")[0] if name.startswith("substr(") else name for name in block]
    return all(needs.get(name, {name}) <= set(used) for name in names)


def _pairs(con: Any, block: tuple[str, ...]) -> int:
    there = " AND ".join(f"{name} IS NOT NULL" for name in block)
    counted = f"SELECT count(*) AS n FROM people_in WHERE {there} GROUP BY {', '.join(block)}"
    return int(
        con.execute(f"SELECT coalesce(sum(n * (n - 1) / 2), 0) FROM ({counted})").fetchall()[0][0]
    )


def _learn(linker: Any, con: Any, used: list[str], progress: Progress) -> None:
    """How often strangers agree by a sample, how often one person does by EM, each from blocks that hold another fixed."""
    from splink import block_on
    from splink.internals.exceptions import EMTrainingException

    training = linker.training
    sure = [
        block for block in _SURE if _there(block, used) and 0 < _pairs(con, block) <= MOST_PAIRS
    ]
    progress(1, 10, "Learning how often strangers agree")
    if sure:
        training.estimate_probability_two_random_records_match(
            [block_on(*block) for block in sure], recall=0.7
        )
    training.estimate_u_using_random_sampling(max_pairs=SAMPLED_PAIRS, seed=SEED)
    blocks = [
        block
        for block in LEARNED_IN
        if _there(block, used) and 0 < _pairs(con, block) <= MOST_PAIRS
    ]
    for number, block in enumerate(blocks):
        progress(2 + number, 10, f"Learning from those with the same {' and '.join(block)}")
        try:
            training.estimate_parameters_using_expectation_maximisation(block_on(*block))
        except EMTrainingException:
            continue  # too few pairs agree on it; another block teaches the same


def _evidence(levels: pd.DataFrame) -> list[dict[str, str]]:
    """How well each attribute agrees, in a word."""
    words = levels.apply(
        lambda level: level.map(
            lambda g: "missing" if g < 0 else "different" if g == 0 else "alike"
        ).where(level < max(level.max(), 1), "equal")
    )
    words.columns = [_name_of(name) for name in levels.columns]
    return [{k: v for k, v in row.items() if v != "missing"} for row in words.to_dict("records")]


def _name_of(column: str) -> str:
    name = column.removeprefix("gamma_")
    return "name" if name.startswith("first") else name


@contextmanager
def _database(people: pd.DataFrame) -> Iterator[Any]:
    """A DuckDB of its own, that fetches nothing, with the table ``people_in``; one thread, so that sums come out alike."""
    import duckdb
    import pyarrow as pa

    con = duckdb.connect(
        config={"autoinstall_known_extensions": False, "autoload_known_extensions": False}
    )
    try:
        con.register("_people", pa.Table.from_pandas(people, preserve_index=False))
        con.execute("CREATE TABLE people_in AS SELECT * FROM _people")
        con.unregister("_people")
        yield con
    finally:
        con.close()


@contextmanager
def _quiet() -> Iterator[None]:
    """splink explains its every step on the log; here only what it warns of on our own."""
    logger = logging.getLogger("splink")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
