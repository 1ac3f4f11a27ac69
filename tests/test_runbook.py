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
# Forks one process for each command: importing the libraries for each takes 1 s.
SERVER = """
import json, os, signal, socket, sys
import alembic, deltalake, duckdb, ibis.backends.duckdb, matplotlib.pyplot, pandas, pyarrow.dataset
import bot.terminal, bot.terminal.terminal_runner, bot.commands
import retention.campaigns.measurement.redemption_and_bounce_files
import retention.lake.importing.import_files
import retention.reports.quality, retention.erasure, retention.installation.rotation
bot.commands.tree.root()
signal.signal(signal.SIGCHLD, signal.SIG_DFL)
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen()
print("ready", flush=True)
while True:
    client, _ = server.accept()
    request, streams, _, _ = socket.recv_fds(client, 1 << 20, 2)
    cwd, env, arguments = json.loads(request)
    child = os.fork()
    if not child:
        os.dup2(streams[0], 1)
        os.dup2(streams[1], 2)
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(env)
        sys.argv = ["retention", *arguments]
        status = 0
        try:
            bot.terminal.main()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(bool(end.code))
        except BaseException as error:
            print(error, file=sys.stderr)
            status = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    for stream in streams:
        os.close(stream)
    _, status = os.waitpid(child, 0)
    client.sendall(str(os.waitstatus_to_exitcode(status)).encode())
    client.close()
"""
CLIENT = """#!{python} -IS
import json, os, socket, sys
client = socket.socket(socket.AF_UNIX)
client.connect({path!r})
request = json.dumps([os.getcwd(), dict(os.environ), sys.argv[1:]]).encode()
socket.send_fds(client, [request], [1, 2])
sys.exit(int(client.recv(16) or 1))
"""


@pytest.fixture
def commands(tmp_path):
    """Folder with the command ``retention``."""
    path = str(tmp_path / "socket")
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, path],
        env=os.environ | {"PYTHONPATH": ":".join(sys.path)},
        stdout=subprocess.PIPE,
    )
    assert server.stdout.readline() == b"ready\n"
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "retention").write_text(CLIENT.format(python=sys.executable, path=path))
    (folder / "retention").chmod(0o755)
    yield folder
    server.kill()
    server.wait()


@pytest.mark.nightly
def test_runbook_commands_work_in_order_in_a_fresh_home(tmp_path, commands):
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
        env=kept | {"PATH": f"{commands}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}"
    assert (folder / "restored" / "state.db").exists()
    assert f"== block {len(blocks)}" in run.stdout
