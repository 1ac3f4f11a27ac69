"""Tests of stored artefacts, seals, the cache of models and promotion."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from retention.db.tables import ModelVersion
from retention.errors import BadInput
from retention.registry import champion, load, model_cache, promote, save
from tests.world import change, model_version, read


@pytest.fixture(autouse=True)
def empty():
    model_cache._CACHE.clear()


def _saved(settings, content=b"model", **changes) -> ModelVersion:
    row = {"cutoff": datetime(2025, 6, 1, tzinfo=UTC), "features": ["a"]} | changes
    return save(settings, model_version(settings, **row), content)


def _file(settings, row: ModelVersion) -> Path:
    return Path(settings.models_url) / row.artefact


def test_saved_artefact_loads_without_leftover_files(settings):
    row = _saved(settings, b"\x00artefact")
    assert load(settings, row) == b"\x00artefact"
    assert list(_file(settings, row).parent.iterdir()) == [_file(settings, row)]


def test_version_contains_the_shops_local_day(settings):
    """What was learned from before the first of June in London was called 20250531."""
    for zone, moment in (
        ("America/Chicago", datetime(2025, 6, 2, 4, tzinfo=UTC)),
        ("Europe/London", datetime(2025, 5, 31, 23, tzinfo=UTC)),
    ):
        row = _saved(settings.model_copy(update={"timezone": zone}), cutoff=moment)
        assert row.version.startswith("churn-20250601-")


def test_changed_artefact_or_row_is_not_loaded(settings):
    row, other = _saved(settings), _saved(settings, b"other")
    _file(settings, row).write_bytes(b"other")
    for sha256, seal in (
        (row.sha256, row.hmac),
        (hashlib.sha256(b"other").hexdigest(), row.hmac),
        (hashlib.sha256(b"other").hexdigest(), other.hmac),  # nor does another version's seal fit
    ):
        row.sha256, row.hmac = sha256, seal
        with pytest.raises(BadInput, match="not what was saved"):
            model_cache.load_cached(settings, row, bytes)
    assert not model_cache._CACHE


def test_missing_artefact_gives_a_clear_message(settings):
    row = _saved(settings)
    _file(settings, row).unlink()
    with pytest.raises(BadInput, match="is missing"):
        load(settings, row)


def test_there_is_one_champion(settings, database):
    first, second = _saved(settings), _saved(settings)
    assert read(database, champion, "churn") is None
    for row in (first, second):
        change(database, promote, row, "U0ADMIN")
    assert read(database, champion, "churn").version == second.version
    assert read(database, lambda session: session.get(ModelVersion, first.version)).state == (
        "retired"
    )
    assert read(database, champion, "recommend") is None


def test_cache_reads_each_version_once_and_checks_its_seal_each_time(settings):
    row, other = _saved(settings, b"one"), _saved(settings, b"two")
    parsed: list[bytes] = []

    def parse(content: bytes) -> str:
        parsed.append(content)
        return content.decode()

    models = [model_cache.load_cached(settings, each, parse) for each in (row, row, other, row)]
    assert models == ["one", "one", "two", "one"]
    assert parsed == [b"one", b"two"]
    row.hmac = other.hmac
    with pytest.raises(BadInput, match="not what was saved"):
        model_cache.load_cached(settings, row, parse)


def test_cache_size_is_limited(settings):
    for number in range(model_cache.MAX_MODELS + 2):
        model_cache.load_cached(settings, _saved(settings, bytes([number])), bytes)
    assert len(model_cache._CACHE) == model_cache.MAX_MODELS
