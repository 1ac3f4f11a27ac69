"""Link similar customers with splink's Fellegi–Sunter model.

Compares names (also swapped), e-mail address, telephone number, postcode, date of birth and
locale. Blocking rules select candidate pairs. Seeded expectation maximisation estimates the
weights, without labels. A separate in-memory DuckDB without network access holds the data.

References: Fellegi & Sunter (1969), A theory for record linkage; Linacre et al. (2022), Splink.
"""
# ruff: noqa: S608 - SQL only contains our own names, numbers and escaped literals

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import duckdb
import pandas as pd
import pyarrow as pa

from retention.lake.identity import keys, links
from retention.lake.identity.keys import IdentityRules
from retention.lake.importing.mapping import literal
from retention.progress import Progress, silent
from retention.text import gettext

if TYPE_CHECKING:
    from retention.lake.lake import Lake

SEED = 7
MIN_CUSTOMERS = 50
MIN_FILLED = 0.2  # share of customers with an attribute; below, it is not compared
MAX_PAIRS = 20_000_000  # per blocking rule; above, the rule is skipped
SAMPLED_PAIRS = 1_000_000  # random pairs, to estimate how often different customers agree
POSTCODES = ("postcode", "zip", "zip_code", "postal_code", "postalcode")
BIRTHS = ("birth_date", "date_of_birth", "dob", "birthday")
# Attributes that identify a person; locale only supports them.
IDENTIFYING = ("first", "last", "email", "phone", "postcode", "birth")
# Only pairs that agree on one of these are compared.
BLOCKING_RULES: tuple[tuple[str, ...], ...] = (
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
# Each run of EM trains the comparisons outside its block.
TRAINING_BLOCKS: tuple[tuple[str, ...], ...] = (
    ("first", "last"),
    ("email",),
    ("phone",),
    ("last", "postcode"),
    ("low", "high"),
)
# Rules with hardly any false matches.
_DETERMINISTIC_RULES: tuple[tuple[str, ...], ...] = (
    ("email",),
    ("phone", "last"),
    ("first", "last", "postcode"),
)


def link(
    lake: Lake,
    rules: IdentityRules,
    *,
    accept: float,
    review: float,
    by: str,
    progress: Progress = silent,
) -> links.LinkingResult:
    """Link similar customers.

    `accept`, `review`: minimum probabilities of accepted and proposed links; ``review ≤ accept``.
    """
    customers = _attributes(lake, rules)
    if note := _missing_data(customers):
        return links.LinkingResult(0, 0, note=note)
    pairs = similar_pairs(customers, review, progress=progress)
    with links.locked_log(lake) as log:
        pairs = _undecided(log, pairs)
        if not len(pairs):
            return links.LinkingResult(0, 0)
        state = (pairs["probability"] >= accept).map({True: "accepted", False: "proposed"})
        pairs = pairs.assign(method="probable", state=state)
        return links.LinkingResult(*links.store(lake, log, pairs, rules, by))


def similar_pairs(
    customers: pd.DataFrame, review: float, *, progress: Progress = silent
) -> pd.DataFrame:
    """Find pairs with a minimum match probability.

    `customers`: ``customer_id``, any of `IDENTIFYING`, and ``locale``. Missing values are None.
    Returns: ``customer_id, same_as, probability, evidence``, ordered by id.
    """
    used = _filled(customers)
    with _quiet(), _database(customers) as con:
        from splink import DuckDBAPI, Linker

        blocks = _usable(BLOCKING_RULES, con, used)
        people = DuckDBAPI(connection=con).register("people_in")
        linker = Linker(people, _settings(customers, used, blocks), log_level=None)
        _train(linker, con, used, progress)
        progress(8, 10, gettext("Comparing the customers"))
        found = linker.inference.predict(threshold_match_probability=review, warning_mode="never")
        frame = found.as_duckdbpyrelation().df()
    progress(10, 10, gettext("Compared"))
    levels = [name for name in frame.columns if name.startswith("gamma_")]
    columns = {
        "customer_id": frame["customer_id_l"],
        "same_as": frame["customer_id_r"],
        "probability": frame["match_probability"],
        "evidence": _evidence(frame[levels]) if len(frame) else [],
    }
    pairs = pd.DataFrame(columns)
    return pairs.sort_values(["customer_id", "same_as"]).reset_index(drop=True)


def _attributes(lake: Lake, rules: IdentityRules) -> pd.DataFrame:
    """Return the normalised attributes of all stored customers."""
    customers = lake.table("customers", identity="stored").get_name()
    spelt = "nullif(trim(regexp_replace(lower(strip_accents(name)), '[^a-z0-9 ,-]', '', 'g')), '')"
    comma = f"split_part({spelt}, ',', 2) || ' ' || split_part({spelt}, ',', 1)"
    ordered = f"trim(CASE WHEN contains({spelt}, ',') THEN {comma} ELSE {spelt} END)"
    birth = f"try_cast({_attribute(BIRTHS)} AS DATE)::VARCHAR"
    postcode = f"nullif(regexp_replace(upper({_attribute(POSTCODES)}), '[^A-Z0-9]', '', 'g'), '')"
    sql = f"""
        SELECT customer_id, nullif(split_part(name, ' ', 1), '') AS first,
               CASE WHEN contains(name, ' ')
                    THEN nullif(regexp_extract(name, '([^ ]+)$', 1), '') END AS last,
               email, split_part(email, '@', 1) AS email_local, phone, postcode, birth, locale,
               least(first, last) AS low, greatest(first, last) AS high
        FROM (SELECT customer_id, {ordered} AS name, {keys.key_of("email", rules)} AS email,
                     {keys.key_of("phone", rules)} AS phone, {postcode} AS postcode,
                     {birth} AS birth, lower(locale) AS locale
              FROM "{customers}" WHERE NOT {keys.is_assumed("name")})
        ORDER BY customer_id"""
    frame = lake.duckdb.execute(sql).df()
    text = frame.astype(object)
    return text.where(text.notna(), None)


def _attribute(names: tuple[str, ...]) -> str:
    values = ", ".join(
        f"nullif(trim(json_extract_string(attributes, {literal('$.' + name)})), '')"
        for name in names
    )
    return f"coalesce({values})"


def _filled(customers: pd.DataFrame) -> list[str]:
    return [name for name in IDENTIFYING if customers[name].notna().mean() >= MIN_FILLED]


def _missing_data(customers: pd.DataFrame) -> str:
    """Return the lack of data, or ""."""
    if len(customers) < MIN_CUSTOMERS:
        return gettext(
            "there are {customers} customers with a row; likeness needs {minimum} to learn from."
        ).format(customers=len(customers), minimum=MIN_CUSTOMERS)
    used = _filled(customers)
    if len(used) < 3 or not {"email", "phone", "postcode", "birth"} & set(used):
        attributes = ", ".join(IDENTIFYING)
        return gettext(
            "of {attributes} at least {share:.0%} of the customers have {used}; likeness needs "
            "names and one more of them. Import more columns of the customers."
        ).format(
            attributes=attributes, share=MIN_FILLED, used=", ".join(used) or gettext("nothing")
        )
    return ""


def _undecided(log: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Select undecided, unmerged pairs."""
    decisions, ids, is_apart = links.compare(log, pairs)
    is_decided = pd.Series(ids, pairs.index, dtype=object).isin(decisions["link_id"])
    return pairs[is_apart & ~is_decided].reset_index(drop=True)


# ---------------------------------------------------------------- splink


def _settings(customers: pd.DataFrame, used: list[str], blocks: list[tuple[str, ...]]) -> Any:
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
    names = ("phone", "postcode", "birth")
    comparisons += [LevenshteinAtThresholds(name, [1]) for name in names if name in used]
    if customers["locale"].nunique() > 1:
        comparisons.append(ExactMatch("locale"))
    return SettingsCreator(
        link_type="dedupe_only",
        unique_id_column_name="customer_id",
        comparisons=comparisons,
        blocking_rules_to_generate_predictions=[block_on(*block) for block in blocks],
        retain_matching_columns=True,  # also adds the levels of agreement
        max_iterations=40,
    )


def _email() -> Any:
    """Define the comparison of e-mail addresses.

    Levels: equal, equal before the @, a typo in a letter.

    Digits must agree because they distinguish namesakes. Looser similarity would compare the names
    twice, since addresses contain them.
    """
    from splink import comparison_level_library as levels
    from splink.comparison_library import CustomComparison

    digits = "regexp_replace(email_{}, '[^0-9]', '', 'g')"
    typo = (
        "abs(length(email_l) - length(email_r)) <= 1 "
        "AND damerau_levenshtein(email_l, email_r) <= 1 "
        f"AND {digits.format('l')} = {digits.format('r')}"
    )
    comparison_levels: list[Any] = [
        levels.NullLevel("email"),
        levels.ExactMatchLevel("email"),
        levels.CustomLevel("email_local_l = email_local_r", "the same before the @"),
        levels.CustomLevel(typo, "a typo apart"),
        levels.ElseLevel(),
    ]
    return CustomComparison(output_column_name="email", comparison_levels=comparison_levels)


def _usable(
    blocks: tuple[tuple[str, ...], ...], con: Any, used: list[str]
) -> list[tuple[str, ...]]:
    """Return the blocks with columns and limited pairs."""
    return [
        block
        for block in blocks
        if _has_columns(block, used) and 0 < _count_pairs(con, block) <= MAX_PAIRS
    ]


def _has_columns(block: tuple[str, ...], used: list[str]) -> bool:
    needs = {"email_local": {"email"}, "low": {"first", "last"}, "high": {"first", "last"}}
    names = [name[7:].split(",")[0] if name.startswith("substr(") else name for name in block]
    return all(needs.get(name, {name}) <= set(used) for name in names)


def _count_pairs(con: Any, block: tuple[str, ...]) -> int:
    is_filled = " AND ".join(f"{name} IS NOT NULL" for name in block)
    counts = f"SELECT count(*) AS n FROM people_in WHERE {is_filled} GROUP BY {', '.join(block)}"
    sql = f"SELECT coalesce(sum(n * (n - 1) / 2), 0) FROM ({counts})"
    return int(con.execute(sql).fetchall()[0][0])


def _train(linker: Any, con: Any, used: list[str], progress: Progress) -> None:
    """Train the model. A random sample gives the u probabilities, and EM the m probabilities."""
    from splink import block_on
    from splink.internals.exceptions import EMTrainingException

    training = linker.training
    deterministic = _usable(_DETERMINISTIC_RULES, con, used)
    progress(1, 10, gettext("Learning how often strangers agree"))
    if deterministic:
        training.estimate_probability_two_random_records_match(
            [block_on(*block) for block in deterministic], recall=0.7
        )
    training.estimate_u_using_random_sampling(max_pairs=SAMPLED_PAIRS, seed=SEED)
    for number, block in enumerate(_usable(TRAINING_BLOCKS, con, used)):
        attributes = " and ".join(block)
        text = gettext("Learning from those with the same {attributes}")
        progress(2 + number, 10, text.format(attributes=attributes))
        try:
            training.estimate_parameters_using_expectation_maximisation(block_on(*block))
        except EMTrainingException:
            continue  # too few pairs; another block trains the same comparisons


def _evidence(levels: pd.DataFrame) -> list[dict[str, str]]:
    """Describe the agreement of each attribute."""
    words = levels.apply(
        lambda level: level.map(
            lambda g: "missing" if g < 0 else "different" if g == 0 else "alike"
        ).where(level < max(level.max(), 1), "equal")
    )
    words.columns = [_attribute_name(name) for name in levels.columns]
    return [{k: v for k, v in row.items() if v != "missing"} for row in words.to_dict("records")]


def _attribute_name(column: str) -> str:
    name = column.removeprefix("gamma_")
    return "name" if name.startswith("first") else name


@contextmanager
def _database(customers: pd.DataFrame) -> Iterator[Any]:
    """Open an offline in-memory DuckDB with ``people_in``."""
    config: dict[str, Any] = {
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    con = duckdb.connect(config=config)
    try:
        con.register("_people", pa.Table.from_pandas(customers, preserve_index=False))
        con.execute("CREATE TABLE people_in AS SELECT * FROM _people")
        con.unregister("_people")
        yield con
    finally:
        con.close()


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence splink's progress messages; keep errors."""
    logger = logging.getLogger("splink")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
