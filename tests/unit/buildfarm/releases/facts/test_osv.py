"""Records of known vulnerabilities match exactly the versions that they name."""

from __future__ import annotations

import json
import zipfile

import pytest

from buildfarm.cli.details.vulns import records_in
from buildfarm.releases.facts.components.models import ComponentView
from buildfarm.releases.facts.components.osv import Records, affects


def view(kind, name, version, source=""):
    return ComponentView(
        kind=kind, name=name, version=version, purl=f"pkg:{kind}/{name}@{version}", source=source, in_base=False,
        places=(),
    )  # fmt: skip


def record(ecosystem, name, *events, **more):
    ranges = [{"type": "ECOSYSTEM", "events": list(events)}] if events else []
    affected = {"package": {"ecosystem": ecosystem, "name": name}, "ranges": ranges, **more}
    return {"id": "X-1", "summary": "It is bad.", "affected": [affected]}


FROM_0 = ({"introduced": "0"}, {"fixed": "4.17.21"})
TWICE = ({"introduced": "1.0.0"}, {"fixed": "1.5.0"}, {"introduced": "2.0.0"}, {"fixed": "2.3.0"})
LAST = ({"introduced": "1.0.0"}, {"last_affected": "1.4.0"})


@pytest.mark.parametrize(
    ("events", "version", "found"),
    [
        (FROM_0, "4.17.20", (True, "4.17.21")), (FROM_0, "4.17.21", (False, "")),
        (FROM_0, "4.17.21-rc.1", (True, "4.17.21")),
        (TWICE, "0.9.0", (False, "")), (TWICE, "1.0.0", (True, "1.5.0")), (TWICE, "1.5.0", (False, "")),
        (TWICE, "1.9.0", (False, "")), (TWICE, "2.0.0", (True, "2.3.0")), (TWICE, "2.3.0", (False, "")),
        (TWICE[::-1], "2.1.0", (True, "2.3.0")), (LAST, "1.4.0", (True, "")), (LAST, "1.4.1", (False, "")),
        (({"introduced": "0"},), "9.0.0", (True, "")), ((), "1.0.0", (False, "")), (LAST, "not a version", (False, "")),
    ],
)  # fmt: skip
def test_a_version_is_in_a_range_as_the_schema_evaluates_it(events, version, found):
    assert affects("npm", version, record("npm", "x", *events)["affected"][0]) == found


@pytest.mark.parametrize(
    ("told", "component", "count"),
    [
        (record("npm", "lodash", *FROM_0), view("npm", "lodash", "4.17.20"), 1),
        (record("npm", "lodash", *FROM_0), view("pypi", "lodash", "4.17.20"), 0),
        (record("npm", "x", versions=["1.0.0"]), view("npm", "x", "1.0.0"), 1),
        (record("PyPI", "Flask_Login", *FROM_0), view("pypi", "flask-login", "0.6"), 1),
        (record("Maven", "org.x:y", *FROM_0), view("maven", "org.x/y", "1.0"), 1),
        (record("Go", "stdlib", *FROM_0), view("golang", "stdlib", "1.25.5"), 1),
        (record("Debian:13", "openssl", {"introduced": "0"}, {"fixed": "3.5.1-1+deb13u1"}),
         view("deb", "libssl3t64", "3.5.1-1+b1", "openssl@3.5.1-1"), 1),
        (record("Debian:12", "openssl", {"introduced": "0"}),
         view("deb", "libssl3t64", "3.5.1-1", "openssl@3.5.1-1"), 0),
        (record("npm", "lodash", *FROM_0) | {"withdrawn": "2026-01-01T00:00:00Z"}, view("npm", "lodash", "4.17.20"), 0),
        (record("Other", "lodash", *FROM_0), view("npm", "lodash", "4.17.20"), 0),
    ],
)  # fmt: skip
def test_a_record_matches_the_package_that_it_names(told, component, count):
    assert len(list(Records([told], "debian-13").matches([component]))) == count


@pytest.mark.parametrize("told", [[], "x", {}, {"id": 1}, {"id": "X", "affected": [{}]}, {"id": "X", "affected": [1]}])
def test_a_damaged_record_is_counted_and_the_rest_is_read(told):
    found = Records([told, record("npm", "x", *FROM_0)], "")
    assert len(list(found.matches([view("npm", "x", "1.0.0")]))) == 1
    assert (found.count, found.unreadable) in ((2, 1), (2, 0))


def test_records_come_from_files_folders_and_archives(tmp_path):
    one = record("npm", "x", *FROM_0)
    (tmp_path / "a.json").write_text(json.dumps([one, one]))
    (tmp_path / "b.json").write_text(json.dumps({"vulns": [one]}))
    (tmp_path / "c.json").write_text(json.dumps(one))
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(tmp_path / "c.json", "npm/c.json")
    assert list(records_in(tmp_path)) == [one] * 4
    assert list(records_in(tmp_path / "all.zip")) == [one]
    (tmp_path / "d.json").write_text("{")
    with pytest.raises(ValueError, match="Expecting"):
        list(records_in(tmp_path))
