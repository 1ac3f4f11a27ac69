"""Test that recorded calls become texts of their customers."""

import pytest

from retention.errors import BadInput
from retention.texts import calls, speech
from workers.data.imports import import_table
from workers.job_requests import ImportFiles

WORDS = "the parcel came late, and nobody answered"


@pytest.fixture
def heard(monkeypatch):
    """Hear the content of the file."""

    def recognise(path, most):
        if not (words := path.read_text()):
            raise BadInput("silent")
        assert most == speech.MAX_CALL_SECONDS
        return words

    monkeypatch.setattr(calls.speech, "recognise", recognise)


def import_calls(shop, *files, **options):
    request = ImportFiles(table="texts", files=tuple(map(str, files)), **options)
    return import_table(shop.lake, shop.database, request, "operator")


def test_recorded_calls_become_texts_once(shop_copy, heard, tmp_path):
    path, silent = tmp_path / "c0001_2025-03-04_14-30.wav", tmp_path / "c0002_2025-03-04.mp3"
    path.write_text(WORDS)
    silent.write_text("")
    report = import_calls(shop_copy, path, silent)
    assert (report.rows_accepted, report.rows_quarantined) == (1, 1)
    (row,) = shop_copy.lake.table("texts").execute().itertuples()
    assert (row.customer_id, row.kind, row.text) == ("c0001", "ticket", WORDS)
    again = import_calls(shop_copy, path)
    assert (again.rows_accepted, again.rows_duplicate) == (0, 1)


def test_recorded_calls_are_imported_without_other_files(shop_copy, heard, tmp_path):
    path = tmp_path / "c0001_2025-03-04.wav"
    path.write_text(WORDS)
    with pytest.raises(BadInput, match="alone"):
        import_calls(shop_copy, path, tmp_path / "reviews.csv")
    with pytest.raises(BadInput, match="customer and local time"):
        import_calls(shop_copy, tmp_path / "call.wav")
    with pytest.raises(BadInput, match="no such file"):
        import_calls(shop_copy, tmp_path / "c0002_2025-03-04.wav")
