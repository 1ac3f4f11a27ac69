"""Test `retention import`: the suggested map and the missing file."""

import tomllib

from bot.terminal import run


def test_import_prints_only_the_suggested_map(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RETENTION_HOME", str(tmp_path / "home"))
    path = tmp_path / "sales.csv"
    rows = [
        f"{n % 40},{1000 + n // 5},{1 + n % 7},"
        f"2010-01-{4 + n // 20:02} 08:{n % 60:02}:00,{2 + n % 9}.5"
        for n in range(400)
    ]
    path.write_text("\n".join(["user_id,order_id,product_id,created_at,price", *rows]))
    assert run(["import", "events", "--suggest-map", str(path)]) == 0
    assert tomllib.loads(capsys.readouterr().out)["events"]["customer_id"] == "user_id"
    assert run(["import", "events"]) == 2
    assert "Name at least one file" in capsys.readouterr().err
