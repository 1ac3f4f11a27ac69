"""The operator's runbook works as written."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "operator" / "runbook.md"
BLOCK = re.compile(r"^```\{ \.bash \.run \}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS = Path(sys.executable).parent  # `retention` is there


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_runbook_commands_work_in_order_in_a_fresh_home(tmp_path):
    blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    assert len(blocks) >= 8
    folder = tmp_path / "operator"
    folder.mkdir()
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RETENTION_", "SLACK_")) or name == "RETENTION_LANGUAGE"
    }
    marked = [f"echo '== block {n}'\n{block}" for n, block in enumerate(blocks, start=1)]
    run = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(marked)],
        cwd=folder,
        env=kept | {"PATH": f"{COMMANDS}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}"
    assert (folder / "restored" / "state.db").exists()
    assert f"== block {len(blocks)}" in run.stdout
