"""Test e-mail over TLS and STARTTLS with valid and invalid certificates."""

import shutil
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from retention.outreach.adapter import ServerUnavailable
from retention.outreach.smtp import SmtpAdapter
from tests import readonly
from tests.retention.outreach.test_smtp import a_message
from tests.standins.smtp import Inbox, Mailserver, only

pytestmark = [
    pytest.mark.skipif(
        shutil.which("openssl") is None, reason="makes its certificates with openssl"
    ),
    pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS"),
]


def _certificate(folder: Path, name: str, alternatives: str) -> Path:
    """A certificate that signs itself, with its key in the same file."""
    file = folder / f"{name}.pem"
    how = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    names = ["-subj", f"/CN={name}", "-addext", f"subjectAltName={alternatives}"]
    files = ["-keyout", file, "-out", folder / "public.pem"]
    subprocess.run(["openssl", *how.split(), *names, *files], check=True, capture_output=True)
    file.write_text(file.read_text() + (folder / "public.pem").read_text())
    return file


@pytest.fixture(scope="module")
def certificates(tmp_path_factory) -> Iterator[dict[str, Path]]:
    folder = tmp_path_factory.mktemp("tls")
    files = {
        "ours": _certificate(folder, "ours", "IP:127.0.0.1"),
        "another": _certificate(folder, "another", "DNS:mail.another.example"),
    }
    with readonly.protected(folder):
        yield files


@pytest.fixture(params=["smtps", "starttls"])
def served(request, certificates):
    """``served(name)`` starts a server with this certificate that requires TLS and login.

    Yields its inbox and our adapter.
    """
    running = []

    def start(name: str) -> tuple[SmtpAdapter, Inbox]:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificates[name])
        # aiosmtpd does not count TLS from the first byte.
        smtps = {"ssl_context": context, "auth_require_tls": False}
        starttls = {"tls_context": context, "require_starttls": True}
        tls = smtps if request.param == "smtps" else starttls
        inbox = Inbox()
        server = Mailserver(inbox, authenticator=only("shop", "right"), auth_required=True, **tls)
        server.start()
        running.append(server)
        place = replace(server.place, tls=request.param == "smtps", user="shop", password="right")
        return SmtpAdapter(place), inbox

    yield start
    for server in running:
        server.stop()


def _trust(monkeypatch, file: Path) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(file))


def test_valid_certificate_receives_password_and_email(served, certificates, monkeypatch):
    _trust(monkeypatch, certificates["ours"])
    adapter, inbox = served("ours")
    assert adapter.send(a_message()).state == "sent"
    adapter.close()
    assert inbox.addresses == {"ann@example.com": 1}


def test_wrong_password_over_tls_gives_a_readable_error(served, certificates, monkeypatch):
    _trust(monkeypatch, certificates["ours"])
    adapter, inbox = served("ours")
    wrong = SmtpAdapter(replace(adapter._server, password="wrong"))
    with pytest.raises(ServerUnavailable, match="refuses our user or password"):
        wrong.send(a_message())
    assert not inbox.mails


@pytest.mark.parametrize(
    ("trusted", "shown", "why"),
    [
        ("another", "ours", "self-signed certificate"),
        ("another", "another", "certificate is not valid for"),
    ],
    ids=["nobody vouches for it", "it is another server's"],
)
def test_invalid_certificate_stops_sending(
    served, certificates, monkeypatch, trusted, shown, why, campaign
):
    _trust(monkeypatch, certificates[trusted])
    adapter, inbox = served(shown)
    report = campaign.deliver(adapter)
    assert report.stopped.startswith("The mail server 127.0.0.1 cannot be used: ")
    assert why in report.stopped
    assert "right" not in report.stopped
    assert report.counts == {}
    assert campaign.states() == {"queued"}
    assert not inbox.mails
