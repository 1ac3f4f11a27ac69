"""Names and values that stored data depends on are the same as in the frozen version.

See docs/contributor/stored_formats.md.
"""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.frozen_home import adapter
from tests.frozen_home.conftest import golden

FORMATS, HASHES = golden("stored_formats"), golden("hashes")
KEY = HASHES["key"]
# Types that models of later versions need, and that are no moved old ones. Add one only with a new
# kind of model.
NEW_TYPES = {"retention.churn.estimators.select_columns", "retention.churn.private.public_scale"}


def includes(new: Any, old: Any) -> bool:
    """Whether everything in ``old`` is in ``new`` unchanged; dictionaries may have more keys."""
    if isinstance(old, dict) and isinstance(new, dict):
        return all(key in new and includes(new[key], value) for key, value in old.items())
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(includes, new, old))
    return new == old


# ---------------------------------------------------------------- keyed hashes


@pytest.mark.parametrize("vector", HASHES["keyed_hash"], ids=lambda vector: vector["purpose"])
def test_keyed_hash_is_unchanged(vector):
    assert adapter.hash_for(KEY, vector["purpose"], vector["input"]) == vector["output"]


@pytest.mark.parametrize(
    ("name", "compute"),
    [
        ("pseudonym", lambda value: adapter.pseudonym_of(KEY, value)),
        ("email", lambda value: adapter.hash_of_email(KEY, value)),
        ("key_id", adapter.id_of_key),
        ("unsubscribe", lambda value: adapter.unsubscribe_token(KEY, int(value))),
        ("coupon_check", adapter.coupon_check_character),
        ("link_id", lambda value: adapter.id_of_link(*value.split())),
    ],
)
def test_derived_value_is_unchanged(name, compute):
    assert {value: compute(value) for value in HASHES[name]} == HASHES[name]


@pytest.mark.parametrize("send_id", HASHES["unsubscribe"])
def test_old_unsubscribe_token_is_accepted(send_id):
    token = HASHES["unsubscribe"][send_id]
    assert adapter.read_unsubscribe_token(KEY, token) == int(send_id)
    assert adapter.read_unsubscribe_token("another key", token) is None


def test_old_erasure_hash_names_its_customer():
    vector = HASHES["erased"]
    assert adapter.is_erased(KEY, vector["id_hash"], vector["customer_id"])
    assert not adapter.is_erased(KEY, vector["id_hash"], "c0001")


def test_old_model_seal_is_valid(home):
    vector = HASHES["model_seal"]
    row = {name: vector[name] for name in ("team_id", "kind", "version", "sha256")}
    assert adapter.seal_is_valid(home.settings, vector["output"], **row)
    other = row | {"kind": "recommend"}
    assert not adapter.seal_is_valid(home.settings, vector["output"], **other)


def test_signature_of_webhooks_and_redemptions_is_unchanged():
    vector = HASHES["signed_body"]
    body, at = vector["body"].encode(), datetime.fromisoformat(vector["at"])
    assert adapter.signature_headers(KEY, body, at) == vector["headers"]
    assert adapter.signature_fault(KEY, body, vector["headers"], at + timedelta(minutes=1)) == ""
    assert adapter.signature_fault(KEY, body + b" ", vector["headers"], at)


def test_assignment_to_treatment_and_control_is_unchanged():
    vector = HASHES["assignment"]
    customers = list(reversed(vector["buckets"]))
    salt, campaign_id, tier = (vector[name] for name in ("salt", "campaign_id", "tier"))
    assert adapter.assignment_buckets(salt, campaign_id, tier, customers) == vector["buckets"]


def test_simulated_answer_in_the_demo_is_unchanged():
    vector = HASHES["demo_answer"]
    found = adapter.demo_answer(KEY, vector["campaign_id"], vector["customer_id"])
    assert found == vector["output"]


def test_redemption_identity_is_unchanged():
    vector = HASHES["redemption_key"]
    code, at = vector["code"], datetime.fromisoformat(vector["at"])
    who, order = vector["customer_id"], vector["order_id"]
    assert adapter.redemption_identity(code, at, vector["source"], who, order) == vector["output"]
    assert adapter.redemption_identity(code, at, "http", key="id:slip 1") == vector["with_own_key"]


def test_message_id_of_an_email_is_unchanged():
    assert adapter.message_id(HASHES["message_id"]["key"]) == HASHES["message_id"]["output"]


# ---------------------------------------------------------------- stored arguments


@pytest.mark.parametrize("kind", FORMATS["requests"])
def test_stored_job_arguments_still_parse(kind):
    args = FORMATS["requests"][kind]
    assert includes(adapter.parse_request(kind, args), args)
    assert callable(adapter.task_of(kind))


def test_all_job_and_schedule_arguments_in_the_home_still_parse(sql):
    stored = [*sql("SELECT kind, args FROM jobs"), *sql("SELECT kind, args FROM schedules")]
    assert len(stored) > 30
    for kind, text in stored:
        args = json.loads(text)
        assert includes(adapter.parse_request(kind, args), args), kind


def test_stored_schedules_still_parse():
    for schedule in FORMATS["schedules"]:
        assert includes(adapter.parse_request(schedule["kind"], schedule["args"]), schedule["args"])


@pytest.mark.parametrize("campaign_id", FORMATS["campaign_bodies"])
def test_stored_campaign_body_still_parses(campaign_id):
    body = FORMATS["campaign_bodies"][campaign_id]
    assert includes(adapter.parse_campaign_body(body), body)


# ---------------------------------------------------------------- names


def test_old_action_view_and_metadata_ids_still_exist():
    assert set(FORMATS["ids"].values()) <= adapter.action_and_view_ids()
    assert set(FORMATS["buttons"]) <= adapter.action_and_view_ids()


def test_old_columns_of_the_lake_are_unchanged():
    assert includes(adapter.lake_tables(), FORMATS["lake"])


def test_old_sql_columns_are_still_used():
    today = adapter.sql_tables()
    for table, columns in FORMATS["sql"].items():
        assert set(columns) <= today[table], table


def test_upgraded_database_has_every_column_of_today(sql):
    for table, columns in adapter.sql_tables().items():
        assert columns <= {row[1] for row in sql(f"PRAGMA table_info({table})")}, table


def test_old_environment_variables_still_exist():
    assert set(FORMATS["settings"]) <= adapter.environment_variables()


def test_names_in_broker_messages_are_unchanged():
    today = adapter.broker_names()
    queues = today.pop("queues")
    assert {**today, "queues": FORMATS["broker"]["queues"]} == FORMATS["broker"]
    assert set(FORMATS["broker"]["queues"]) <= set(queues)


def test_names_of_the_bandits_arms_are_unchanged(path):
    assert adapter.arms_of(path / "policy.toml") == FORMATS["arms"]


# ---------------------------------------------------------------- artefacts


def test_only_known_types_are_loaded_from_stored_models():
    """A class that moves gets an entry in the map of moved types.

    The allow-list does not become wider.
    """
    old, moved = set(FORMATS["allowed_types"]), adapter.MOVED_TYPES
    assert adapter.allowed_types() <= old | set(moved.values()) | NEW_TYPES
    assert old - moved.keys() <= adapter.allowed_types()
    assert moved.keys() <= old
    assert set(moved.values()) <= adapter.allowed_types()


def test_stored_models_cover_every_class_of_ours_on_the_allow_list():
    """Else a move of the others would not be noticed."""
    held = {name for model in FORMATS["artefacts"].values() for name in model.get("types", ())}
    assert {name for name in FORMATS["allowed_types"] if name.startswith("retention.")} <= held


def test_archive_holds_the_artefacts_of_the_golden_files(path, sql):
    stored = dict(sql("SELECT version, artefact FROM model_versions"))
    assert stored.keys() == FORMATS["artefacts"].keys()
    for version, model in FORMATS["artefacts"].items():
        if "types" in model:
            artefact = (path / "models" / stored[version]).read_bytes()
            assert adapter.types_in(artefact) == set(model["types"])


def test_archive_holds_the_messages_and_runs_of_the_golden_files(sql):
    assert {key for (key,) in sql("SELECT key FROM outbox")} == set(FORMATS["outbox_keys"])
    assert {run for (run,) in sql("SELECT run_id FROM runs")} == set(FORMATS["run_ids"])
