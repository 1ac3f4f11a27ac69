"""Test which settings of an object store are refused, and the defaults beside it."""

import pytest

from retention.errors import BadInput
from retention.lake import Lake
from retention.lake.importing import quarantine
from retention.settings import Settings

POSTGRES = "postgresql://me:hush@127.0.0.1:9/desk"


@pytest.mark.parametrize(
    ("lake_url", "database_url", "sentence"),
    [
        ("duckdb+s3://desk/lake", "", "PostgreSQL"),
        ("duckdb+ftp://desk/lake", POSTGRES, "s3, gs or abfs"),
        ("duckdb+s3://KEY:hush@desk/lake", POSTGRES, "without keys"),
        ("duckdb+s3:///lake", POSTGRES, "bucket/prefix"),
        ("spark+s3://desk/lake", POSTGRES, "duckdb"),
    ],
)
def test_settings_that_cannot_work_get_one_sentence(tmp_path, lake_url, database_url, sentence):
    settings = Settings(home=tmp_path, lake_url=lake_url, database_url=database_url, _env_file=None)
    with pytest.raises(BadInput, match=sentence) as refusal:
        Lake.open(settings)
    assert "hush" not in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_models_are_beside_the_lake(tmp_path):
    stored = Settings(home=tmp_path, lake_url="duckdb+s3://desk/lake", _env_file=None)
    assert stored.models_url == "s3://desk/lake/models"
    assert Settings(home=tmp_path, _env_file=None).models_url == f"{tmp_path}/models"


def test_a_shared_map_counts_where_the_host_has_none_or_the_desk_wrote_it(tmp_path):
    settings = Settings(home=tmp_path, lake_url="duckdb+s3://desk/lake", _env_file=None)
    operators, desks = tmp_path / "orders.toml", tmp_path / "sources" / "shop" / "map.toml"
    shared = {path: quarantine._shared_map(settings, str(path)) for path in (operators, desks)}
    for path in (operators, desks):
        assert quarantine.map_file(settings, str(path)) == path  # and its absence is reported
        shared[path].parent.mkdir(parents=True, exist_ok=True)
        shared[path].touch()
        assert quarantine.map_file(settings, str(path)) == shared[path]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert quarantine.map_file(settings, str(operators)) == operators
    assert quarantine.map_file(settings, str(desks)) == shared[desks]
