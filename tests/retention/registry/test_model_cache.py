"""Tests of the model cache."""

from pathlib import Path

import pytest

from retention.errors import BadInput
from retention.registry import model_cache
from tests.retention.registry.test_registry import _saved


@pytest.fixture(autouse=True)
def empty():
    model_cache._CACHE.clear()


def test_reads_each_version_once(settings):
    row, other = _saved(settings, b"one"), _saved(settings, b"two")
    read: list[bytes] = []

    def parse(content: bytes) -> str:
        read.append(content)
        return content.decode()

    assert [
        model_cache.load_cached(settings, version, parse) for version in (row, row, other, row)
    ] == ["one", "one", "two", "one"]
    assert read == [b"one", b"two"]


def test_invalid_seal_gets_no_cached_model(settings):
    row, other = _saved(settings, b"one"), _saved(settings, b"two")
    assert model_cache.load_cached(settings, row, bytes) == b"one"
    row.hmac = other.hmac
    with pytest.raises(BadInput, match="not what was saved"):
        model_cache.load_cached(settings, row, bytes)


def test_changed_artefact_is_refused(settings):
    row = _saved(settings, b"one")
    (Path(settings.models_url) / row.artefact).write_bytes(b"other")
    with pytest.raises(BadInput, match="not what was saved"):
        model_cache.load_cached(settings, row, bytes)
    assert not model_cache._CACHE


def test_cache_size_is_limited(settings):
    rows = [_saved(settings, bytes([number])) for number in range(model_cache.MAX_MODELS + 2)]
    for row in rows:
        model_cache.load_cached(settings, row, bytes)
    assert len(model_cache._CACHE) == model_cache.MAX_MODELS
