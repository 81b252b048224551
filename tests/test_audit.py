"""The audit passes only where every pinned package was looked up and is clean."""

import json

import audit
import pytest

NAMES = {"a-b", "c"}


def answer(**changes):
    """As pip-audit 2 writes it."""
    rows = [{"name": "A_b", "version": "1", "vulns": []}, {"name": "c", "version": "2"} | changes]
    return json.dumps({"dependencies": rows, "fixes": []})


def test_pins_are_read():
    assert audit.pinned("# pins\nA_b==1.0\nc.d==2  # why\n\n") == {"a-b", "c-d"}
    assert len(audit.pinned(audit.PINS.read_text())) > 100


def test_clean_packages_pass():
    assert audit.verdict(NAMES, answer(vulns=[]), "No known vulnerabilities found") == ""


@pytest.mark.parametrize(
    ("given", "said", "words"),
    [
        ("", "ERROR: c: Dependency not found", "nothing was audited: ERROR: c: Dependency not"),
        ("", "", "nothing was audited: no answer"),
        ("[]", "", "nothing was audited"),
        (answer(skip_reason="not found"), "No known", "1 of 2 packages were not audited, e.g. c;"),
        (json.dumps({"dependencies": []}), "No known", "2 of 2 packages were not audited"),
        (answer(vulns=[{"id": "PYSEC-1"}]), "", "1 advisories: c 2 PYSEC-1"),
    ],
)
def test_all_else_fails_in_a_line(given, said, words):
    fault = audit.verdict(NAMES, given, said)
    assert words in fault and "\n" not in fault
