"""A warm worker reads an artefact once, and believes no row that it has not sealed."""

from pathlib import Path

import pytest

from retention.errors import BadInput
from retention.registry import model_cache
from tests.retention.registry.test_registry import _saved


@pytest.fixture(autouse=True)
def empty():
    model_cache._CACHE.clear()


def test_an_artefact_is_read_once_and_another_version_anew(settings):
    row, other = _saved(settings, b"one"), _saved(settings, b"two")
    read: list[bytes] = []

    def parse(content: bytes) -> str:
        read.append(content)
        return content.decode()

    assert [model_cache.load_cached(settings, one, parse) for one in (row, row, other, row)] == [
        "one",
        "one",
        "two",
        "one",
    ]
    assert read == [b"one", b"two"]


def test_a_row_without_our_seal_gets_nothing_though_its_content_is_kept(settings):
    row, other = _saved(settings, b"one"), _saved(settings, b"two")
    assert model_cache.load_cached(settings, row, bytes) == b"one"
    row.hmac = other.hmac
    with pytest.raises(BadInput, match="not what was saved"):
        model_cache.load_cached(settings, row, bytes)


def test_a_changed_artefact_is_refused_where_it_is_not_kept(settings):
    row = _saved(settings, b"one")
    (Path(settings.models_url) / row.artefact).write_bytes(b"other")
    with pytest.raises(BadInput, match="not what was saved"):
        model_cache.load_cached(settings, row, bytes)
    assert not model_cache._CACHE


def test_only_so_many_are_kept(settings):
    rows = [_saved(settings, bytes([number])) for number in range(model_cache.MAX_MODELS + 2)]
    for row in rows:
        model_cache.load_cached(settings, row, bytes)
    assert len(model_cache._CACHE) == model_cache.MAX_MODELS
