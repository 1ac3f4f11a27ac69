"""Test downloads of pictures: by HTTPS, from public addresses, within a limit."""

from contextlib import contextmanager

import httpx2
import pytest

from retention.connect.sources import picture_download, public_web
from retention.pictures import decoding
from retention.pictures.decoding import PictureProblem
from tests.retention.pictures.fakes import encoded

URL = "https://shop.example/a.png"


def problem(settings, address=URL) -> str:
    with pytest.raises(PictureProblem) as refused:
        picture_download.fetch(settings, address)
    return refused.value.code


@pytest.fixture
def answers(monkeypatch):
    """Answer with this, instead of the internet."""

    def prepare(content=b"", status=200, url=URL):
        @contextmanager
        def answer(settings, address, options):
            request = httpx2.Request("GET", url)
            yield httpx2.Response(status, content=content, request=request)

        monkeypatch.setattr(public_web, "answer", answer)

    return prepare


def test_picture_is_downloaded(settings, answers):
    answers(encoded())
    assert picture_download.fetch(settings, URL) == encoded()


def test_download_ends_at_the_limit(settings, answers, monkeypatch):
    monkeypatch.setattr(decoding, "MAX_BYTES", 1000)
    monkeypatch.setattr(picture_download, "MAX_BYTES", 1000)
    answers(bytes(5000))
    assert problem(settings) == "too_large"


def test_missing_picture_is_named(settings, answers):
    answers(status=404)
    assert problem(settings) == "missing"


def test_redirect_to_plain_http_is_refused(settings, answers):
    answers(encoded(), url="http://shop.example/a.png")
    assert problem(settings) == "not_https"


@pytest.mark.parametrize("address", ["http://shop.example/a.png", "file:///etc/passwd", "a.png"])
def test_only_https_is_opened(settings, address):
    assert problem(settings, address) == "not_https"


@pytest.mark.parametrize("host", ["127.0.0.1", "169.254.169.254", "[::1]", "10.0.0.7"])
def test_private_addresses_are_not_opened(settings, host):
    assert problem(settings, f"https://{host}/a.png") == "unreachable"
