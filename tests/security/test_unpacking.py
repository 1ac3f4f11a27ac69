"""Test that no packed file fills the memory or the disk: each limit refuses a small bomb."""

import bz2
import gzip
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retention.connect import web
from retention.connect.contract import ConnectorError
from retention.connect.platforms import sendgrid
from retention.connect.sources import public_web
from retention.connect.sources.source_records import SourceProblem
from retention.errors import BadInput
from retention.lake import Lake
from retention.lake.importing.import_files import import_files
from retention.privacy import leftovers, unpacking
from retention.privacy.redaction import CustomerNames
from retention.recommend import past_offers
from retention.uplift import experiment
from tests.workbooks import zipped

HEAD = b"customer_id,occurred_at\n"
LIMIT = 100_000


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(unpacking, "SMALL_BYTES", LIMIT)
    monkeypatch.setattr(unpacking, "SMALL_ROWS", LIMIT)


def claiming(members: dict[str, bytes], size: int) -> bytes:
    """Return an archive that claims another size of its first member."""
    content = zipped(members)
    at = content.index(b"PK\x01\x02") + 24
    return content[:at] + size.to_bytes(4, "little") + content[at + 4 :]


def parquet(rows: int) -> bytes:
    content = io.BytesIO()
    values = pa.array(["1"]).dictionary_encode()
    equal = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int8()), values.dictionary)
    pq.write_table(pa.table({"customer_id": equal}), content, compression="zstd")
    return content.getvalue()


def long_footer(size: int) -> bytes:
    return b"PAR1" + b"\0" * 100 + size.to_bytes(4, "little") + b"PAR1"


TEXT = HEAD + b"1,2025-01-01\n" * 200_000  # 2.6 MB; gzip makes 8 kB of it
NESTED = zipped({"a.csv": HEAD})
for _ in range(3):
    NESTED = zipped({"a.csv.zip": NESTED})
BOMBS = {
    "text.csv.gz": (gzip.compress(TEXT), "bytes"),
    "lines.jsonl.gz": (gzip.compress(b'{"a":1}\n' * 500_000), "bytes"),
    "two.csv.gz": (gzip.compress(TEXT[: 1 << 18]) * 40, "bytes"),
    "table.parquet.gz": (gzip.compress(b"PAR1" + b"\0" * 3_000_000), "bytes"),
    "table.zip": (zipped({"a.csv": TEXT}), "bytes"),
    "packed.zip": (zipped({"a.csv.gz": gzip.compress(gzip.compress(TEXT))}), None),
    "inner.zip": (zipped({"a.csv.gz": gzip.compress(TEXT)}), "bytes"),
    "claims.zip": (claiming({"a.csv": HEAD}, 4_000_000_000), "bytes"),
    "nested.zip": (NESTED, None),
    "book.xlsx": (zipped({"xl/workbook.xml": TEXT}), "bytes"),
    "rows.parquet": (parquet(1_000_000), "rows"),
    "footer.parquet": (long_footer(4_000_000_000), "footer"),
    "members.zip": (zipped({f"{number}.csv": b"" for number in range(200)}), "members"),
    "directory.zip": (zipped({f"{number}{'x' * 900}": b"" for number in range(99)}), "directory"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_import_refuses_a_bomb_and_names_its_file(settings, tmp_path, monkeypatch, name):
    content, limit = BOMBS[name]
    monkeypatch.setattr(unpacking, "MAX_MEMBERS", 100)
    monkeypatch.setattr(unpacking, "MAX_DIRECTORY_BYTES", 50_000)
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadInput) as refusal:
        import_files(Lake.open(settings), None, settings, "customers", [str(path)])
    assert getattr(refusal.value, "limit", None) == limit, refusal.value
    assert str(refusal.value).startswith((name, "a.csv.gz"))


def test_limit_follows_the_size_of_the_file():
    most = unpacking.MAX_RATIO * 10_000_000
    unpacking.check_size("a", 10_000_000, most)
    for packed, unpacked in ((10_000_000, most + 1), (1 << 40, unpacking.MAX_BYTES + 1)):
        with pytest.raises(unpacking.TooLargeUnpacked):
            unpacking.check_size("a", packed, unpacked)


@pytest.mark.parametrize("read", [experiment.read_table, past_offers.read_table])
def test_tables_of_the_terminal_are_limited(tmp_path, read):
    others = {"table.csv.bz2": (bz2.compress(TEXT), "bytes")}
    for name in ("text.csv.gz", "rows.parquet", "footer.parquet", "table.csv.bz2"):
        path = tmp_path / name
        path.write_bytes((BOMBS | others)[name][0])
        with pytest.raises(unpacking.TooLargeUnpacked):
            read(path)


def test_erasure_counts_a_bomb_as_a_file_that_cannot_be_searched(tmp_path):
    for name in ("text.csv.gz", "table.zip", "rows.parquet"):
        path = tmp_path / name
        path.write_bytes(BOMBS[name][0])
        assert leftovers._names(path, CustomerNames("nobody-is-called-so"))


def test_list_of_a_web_source_is_limited(tmp_path, settings, monkeypatch):
    monkeypatch.setattr(unpacking, "MAX_DIRECTORY_BYTES", 50_000)
    path = tmp_path / "directory.zip"
    path.write_bytes(BOMBS[path.name][0])
    with pytest.raises(SourceProblem):
        public_web._check_unpacked(path, lambda size: None)


def test_answers_and_exports_of_platforms_are_limited():
    pieces = (b"x" * 1_000_000 for _ in range(10))
    with pytest.raises(ConnectorError):
        b"".join(web._limited(pieces, 2_000_000))
    assert len([*pieces]) == 7
    with pytest.raises(unpacking.TooLargeUnpacked):
        [*sendgrid._contacts(io.BytesIO(BOMBS["text.csv.gz"][0]))]
