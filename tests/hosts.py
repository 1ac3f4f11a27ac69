"""Start processes as if on a host of their own: process ids, host name, temporary folder."""

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def start(home: Path, environment: dict[str, str], *words: str, **how: Any) -> subprocess.Popen:
    """Run Python with these words; the host is named as the home's folder."""
    folder = home.with_name(f"{home.name}-tmp")
    folder.mkdir(exist_ok=True)
    own = {"RETENTION_HOME": str(home), "TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}
    command = [*_isolated(home.name), sys.executable, *words]
    return subprocess.Popen(command, cwd=folder, env=os.environ | environment | own, **how)


def _isolated(name: str) -> list[str]:
    """Return the words that give a command its own process ids; none where it is not allowed."""
    if not (words := _unshare()):
        return []
    return [*words, "sh", "-c", f'hostname {name}; exec "$@"', "sh"]


@cache
def _unshare() -> tuple[str, ...]:
    command = ("unshare", "--pid", "--uts", "--mount-proc", "--fork", "--kill-child")
    if shutil.which("unshare"):
        for words in (command, (*command, "--user", "--map-root-user")):
            if subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0:
                return words
    return ()
