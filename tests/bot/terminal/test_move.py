"""Test the command that moves the desk to another database."""

import pytest

from tests.postgres import postgres


def test_password_is_refused_where_others_can_read_it(home, cli):
    error = cli.error("move --to postgresql://me:hidden@127.0.0.1:9/desk")
    assert "RETENTION_MOVE_TO_FILE" in error
    assert "hidden" not in error
    assert "RETENTION_MOVE_TO" in cli.error("move")


@pytest.mark.nightly
def test_desk_goes_on_with_the_settings_that_move_prints(home, cli, tmp_path, monkeypatch):
    cli.json("role grant U0LEAD00001 approver")
    lake = tmp_path / "lake"
    with postgres() as url:
        to = url.replace("postgres:@", "postgres:hidden@")  # which this server does not check
        (tmp_path / "url").write_text(to)
        monkeypatch.setenv("RETENTION_MOVE_TO_FILE", str(tmp_path / "url"))
        output, errors = cli.run(f"move --lake {lake}")
        assert "hidden" not in output + errors
        lines = [line.strip() for line in output.splitlines() if "RETENTION_" in line]
        for line in lines:
            name, _, value = line.partition("=")
            monkeypatch.setenv(name, value.replace("***", "hidden"))
        names = [line.partition("=")[0] for line in lines]
        assert names == [
            "RETENTION_DATABASE_URL",
            "RETENTION_LAKE_URL",
            "RETENTION_SECRET_KEY_FILE",
        ]
        (grant,) = cli.json("role list")["roles"]
        assert grant["user"] == "U0LEAD00001"
        verified = cli.json("audit verify")
        assert verified["problems"] == []
