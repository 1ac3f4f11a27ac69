"""``make audit``: look up known vulnerabilities of the locked versions.

It says *skipped*, with the reason, where the package index names no vulnerabilities; an audit that
did not happen is never reported as clean.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LOCK = Path(__file__).parents[1] / "requirements.lock"


def main() -> int:
    """Run pip-audit and return the exit status: 1 for a vulnerability."""
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes"]
    options = ["--requirement", str(LOCK), "--format", "json", "--progress-spinner", "off"]
    run = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    try:
        found = json.loads(run.stdout)["dependencies"]
    except (json.JSONDecodeError, KeyError):
        reason = (run.stderr.strip().splitlines() or ["no output"])[-1]
        print(f"skipped: pip-audit could not ask the package index: {reason}")
        return 0
    text, status = verdict(found)
    print(text)
    return status


def verdict(dependencies: list[dict[str, Any]]) -> tuple[str, int]:
    """Return the report and the exit status.

    Parameters
    ----------
    dependencies : list of dict
        pip-audit's entries: ``name`` and ``version`` with ``vulns``, or with ``skip_reason``.
    """
    audited = [entry for entry in dependencies if "skip_reason" not in entry]
    skipped = len(dependencies) - len(audited)
    if not audited:
        return (
            f"skipped: the package index names no vulnerabilities ({skipped} packages not audited)",
            0,
        )
    lines = [
        f"{entry['name']} {entry['version']}: {vulnerability['id']}, fixed in "
        f"{', '.join(vulnerability.get('fix_versions') or ['no version yet'])}"
        for entry in audited
        for vulnerability in entry.get("vulns", [])
    ]
    summary = f"{len(audited)} packages audited, {skipped} skipped, {len(lines)} vulnerabilities"
    return "\n".join([*lines, summary]), int(bool(lines))


if __name__ == "__main__":
    raise SystemExit(main())
