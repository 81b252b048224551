"""Are there advisories against the pinned packages? `make audit`; no answer is no pass.

An index that has no advisories lets pip-audit skip every package and end well: here each package of
constraints.txt must have been looked up.
"""

import json
import subprocess
import sys
from pathlib import Path

PINS = Path(__file__).parent.parent / "constraints.txt"
COMMAND = ["-m", "pip_audit", "--strict", "--no-deps", "--disable-pip", "--progress-spinner=off"]


def pinned(text: str) -> set[str]:
    """The names of packages in a file of constraints, as advisories are listed by."""
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    return {plain(line.partition("==")[0]) for line in lines if line}


def plain(name: str) -> str:
    """A package's name in the one spelling of indices."""
    return name.strip().lower().replace("_", "-").replace(".", "-")


def verdict(names: set[str], answer: str, said: str) -> str:
    """Why the audit does not pass, in one line; "" where each package was looked up and is clean.

    answer: pip-audit's JSON, which is empty where it gave up. said: what it wrote beside.
    """
    try:
        rows = json.loads(answer)["dependencies"]
    except (ValueError, KeyError, TypeError):
        reason = [*said.strip().splitlines()[-1:], "no answer"][0]
        return f"nothing was audited: {reason}; run it where an index with advisories is reached"
    audited = {plain(row["name"]) for row in rows if "skip_reason" not in row}
    missing = sorted(names - audited)
    if missing:
        count = f"{len(missing)} of {len(names)} packages were not audited, e.g. {missing[0]}"
        return f"{count}; run it where an index with advisories is reached"
    found = []
    for row in rows:
        found += [f"{row['name']} {row['version']} {one['id']}" for one in row.get("vulns", ())]
    return f"{len(found)} advisories: {', '.join(found)}" if found else ""


def main() -> None:
    """Audit, and say the verdict; exits with 1 unless all is well."""
    command = [sys.executable, *COMMAND, "--format=json", f"--requirement={PINS}"]
    done = subprocess.run(command, capture_output=True, text=True)
    names = pinned(PINS.read_text(encoding="utf-8"))
    fault = verdict(names, done.stdout, done.stderr)
    if not fault and done.returncode:
        fault = f"pip-audit ended with {done.returncode}"
    if fault:
        sys.exit(f"audit: {fault}")
    print(f"audit: no advisory against {len(names)} packages")


if __name__ == "__main__":
    main()
