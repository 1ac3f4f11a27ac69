"""The audit never calls a package clean that it did not audit."""

from tests import audit


def _entry(name, **more):
    return {"name": name, "version": "1.0", **more}


def test_audit_without_any_answer_is_skipped_not_clean():
    text, status = audit.verdict([_entry("a", skip_reason="not found")])
    assert (text.startswith("skipped:"), status) == (True, 0)


def test_audit_lists_vulnerabilities_and_fails():
    vulnerability = {"id": "PYSEC-1", "fix_versions": ["1.1"]}
    text, status = audit.verdict(
        [_entry("a", vulns=[vulnerability]), _entry("b", vulns=[]), _entry("c", skip_reason="x")]
    )
    assert text.splitlines() == [
        "a 1.0: PYSEC-1, fixed in 1.1",
        "2 packages audited, 1 skipped, 1 vulnerabilities",
    ]
    assert status == 1


def test_audit_of_clean_packages_passes():
    assert audit.verdict([_entry("a", vulns=[])])[1] == 0
