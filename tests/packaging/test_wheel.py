"""The wheel is complete, and runs where nothing but Python is."""

import email
import os
import re
import signal
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import httpx2
import pytest

from tests.packaging.conftest import ROOT, UV

PATIENCE = 240.0  # seconds: the demo imports a year of a real shop's purchases first


@pytest.mark.nightly
def test_wheel_has_complete_metadata_and_absolute_links(wheel):
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith("dist-info/METADATA"))
        metadata = email.message_from_string(archive.read(name).decode())
    assert metadata["Name"] == "retention-desk"
    assert metadata["License-Expression"] == "MIT"
    assert metadata["License-File"] == "LICENSE"
    assert metadata["Author"]
    assert any(value.endswith(":: 3.13") for value in metadata.get_all("Classifier"))
    labels = {value.split(",")[0] for value in metadata.get_all("Project-URL")}
    assert labels == {"Changelog", "Documentation", "Issues", "Source"}
    links = re.findall(r"\]\(([^)\s]+)\)", metadata.get_payload())
    assert links
    assert [link for link in links if not link.startswith(("https://", "#"))] == []


@pytest.mark.nightly
def test_wheel_holds_all_files_that_the_product_reads(wheel):
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if "__pycache__" not in name}
    command = ["git", "ls-files", "bot", "retention", "templates", "workers"]
    tracked = subprocess.check_output(command, cwd=ROOT, text=True).split()
    sources = (".po", ".pot")  # the compiled catalogues are packed
    missing = {name for name in tracked if not name.endswith(sources)} - packed
    assert missing == set()
    assert any(name.endswith("share/retention-desk/slack-manifest.yaml") for name in packed)
    assert not any(name.startswith("tests/") for name in packed)


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_installed_wheel_runs_the_demo_in_a_bare_environment(wheel, tmp_path):
    ours = ("RETENTION_", "SLACK_", "PYTHON", "VIRTUAL_ENV")
    environment = {name: text for name, text in os.environ.items() if not name.startswith(ours)}
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", str(bare)], check=True)
    command = [UV, "pip", "install", "--quiet", "--python", str(bare / "bin" / "python")]
    command += ["--constraint", str(ROOT / "requirements.lock"), f"{wheel}[demo]"]
    installed = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert installed.returncode == 0, installed.stderr
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {"RETENTION_HOME": str(tmp_path / "home"), "RETENTION_PLAYGROUND_PORT": str(port)}
    with (tmp_path / "demo.log").open("wb") as log:
        demo = subprocess.Popen(
            [str(bare / "bin" / "retention"), "demo"],
            cwd=tmp_path,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**environment, **own},
            start_new_session=True,
        )
    try:
        page = f"http://127.0.0.1:{port}"
        _wait_for(page, demo, tmp_path / "demo.log")
        assert httpx2.get(page).status_code == 200
        command = {"user": "analyst", "channel": "crm", "text": "help"}
        assert httpx2.post(f"{page}/playground/commands", data=command).is_success
    finally:
        os.killpg(demo.pid, signal.SIGTERM)
        demo.wait(60)


def _wait_for(page: str, demo: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while page not in log.read_text(errors="replace"):
        assert demo.poll() is None, log.read_text(errors="replace")
        assert time.monotonic() < deadline, log.read_text(errors="replace")
        time.sleep(0.5)
