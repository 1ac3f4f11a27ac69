"""Test that every start command refuses bad settings in the same way."""

import os
import subprocess
import sys

import pytest


@pytest.mark.nightly_after(2)
@pytest.mark.parametrize(
    "command",
    [
        ("-m", "bot.terminal", "status"),
        ("-m", "bot.terminal", "run"),
        ("-m", "bot.http.server"),
        ("-m", "workers.service_process", "tick"),
        ("-m", "workers.health", "tick"),
        ("-m", "celery", "-A", "workers.worker", "worker"),
    ],
)
def test_start_command_prints_one_sentence_per_bad_variable(command, tmp_path, monkeypatch):
    for name in ("RETENTION_NOW", "RETENTION_SECRET_KEY", "RETENTION_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    environment = os.environ | {
        "RETENTION_PORT": "abc",
        "RETENTION_SEND_RATE": "0",
        "RETENTION_HOME": "h",
    }
    ended = subprocess.run(
        [sys.executable, *command],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [
        "RETENTION_PORT is 'abc'; write a whole number from 1 to 65535, such as 8000.",
        "RETENTION_SEND_RATE is '0'; write a number above 0, at most 1000, such as 10.",
    ]
