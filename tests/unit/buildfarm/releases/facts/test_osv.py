"""Records of known vulnerabilities match exactly the versions that they name."""

from __future__ import annotations

import json
import zipfile
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from buildfarm.cli.details.vulns import records_in, vulns
from buildfarm.releases.facts.components.models import ComponentView, Contents
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
    verdict = affects("npm", version, record("npm", "x", *events)["affected"][0])
    assert verdict[:2] == found
    assert verdict.is_unclear is (version == "not a version")


@pytest.mark.parametrize(
    ("kind", "version", "affected", "is_affected"),
    [
        ("pypi", "2.0.0+cpu", record("PyPI", "x", {"last_affected": "2.0.0"}, {"introduced": "0"})["affected"][0],
         True),
        ("pypi", "2.0", {"versions": ["2.0.0"]}, True),
        ("golang", "v2.0.0", {"versions": ["2.0.0"]}, True),
        ("pypi", "2.0", {"versions": ["2.1", "what?"]}, False),
    ],
)  # fmt: skip
def test_versions_are_the_same_as_their_ecosystem_has_it(kind, version, affected, is_affected):
    assert affects(kind, version, affected).is_affected is is_affected


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
        (record("Maven", "org.springframework:spring-core", *FROM_0), view("maven", "spring-core", "4.0"), 1),
        (record("Maven", "org.springframework:spring-core", *FROM_0), view("maven", "org.other/spring-core", "4.0"), 0),
        (record("Ubuntu", "openssl", *FROM_0), view("deb", "openssl", "3", "openssl@3"), 0),
    ],
)  # fmt: skip
def test_a_record_matches_the_package_that_it_names(told, component, count):
    assert len(Records([told], [component], "debian-13").matches()) == count


@pytest.mark.parametrize(
    ("release", "count"), [("Ubuntu:24.04:LTS", 1), ("Ubuntu:Pro:24.04:LTS", 1), ("Ubuntu:22.04:LTS", 0), ("Ubuntu", 1),
                           ("Debian:24.04", 0), ("Debian", 0)],
)  # fmt: skip
def test_a_record_is_of_the_release_that_the_image_has(release, count):
    component = view("deb", "openssl", "3", "openssl@3")
    assert len(Records([record(release, "openssl", *FROM_0)], [component], "ubuntu-24.04").matches()) == count


def test_what_may_be_missing_is_named():
    commits = {"ranges": [{"type": "GIT", "repo": "x", "events": [{"introduced": "0"}]}]}
    records = [
        record("Maven", "a:b", *FROM_0), record("npm", "x", *FROM_0), record("npm", "y", **commits),
        record("npm", "z", *FROM_0), record("Debian:13", "openssl", *FROM_0), record("npm", "z", versions=5),
    ]  # fmt: skip
    components = [
        view("maven", "b", "1"), view("npm", "x", "dev"), view("npm", "y", "1.0.0"), view("npm", "z", "1.0.0"),
        view("deb", "openssl", "3", "openssl@3"), view("generic", "node", "20.1.0"),
    ]  # fmt: skip
    found = Records(records, components, "")
    assert [(one.component.name, one.by_artifact) for one in found.matches()] == [("b", True), ("z", False)]
    assert found.gaps() == [
        "There is no record of these kinds of components: generic.",
        "Records that could not be read: 1.",
        "Versions could not be compared with all records: x@dev, y@1.0.0.",
        "Jars that do not name their group were compared by their name alone: b.",
        "Records of a distribution's release, left out since the image names none: 1.",
    ]  # fmt: skip


def test_records_that_name_no_component_are_not_kept():
    found = Records([record("npm", f"x{number}", *FROM_0) for number in range(50)], [view("npm", "x1", "1.0.0")])
    assert (found.count, len(found._affected)) == (50, 1)


def test_what_records_say_cannot_control_the_terminal(tmp_path, monkeypatch):
    one = record("npm", "x", *FROM_0) | {"id": "X-1\x1b[2J", "summary": "a\x07b\nc\ud800"}
    (tmp_path / "a.json").write_text(json.dumps(one))
    contents = Contents(image="apps/a/b@x", base="", components=(view("npm", "x", "1.0.0"),), unread=())
    farm = SimpleNamespace(contents=lambda image, with_base: contents)
    monkeypatch.setattr("buildfarm.cli.details.vulns.connected_farm", lambda: nullcontext(farm))
    done = CliRunner().invoke(vulns, ["a/b", "--osv", str(tmp_path / "a.json")])
    assert done.exit_code == 0, done.output
    assert done.stdout == "X-1\\x1b[2J  pkg:npm/x@1.0.0  app  fixed in 4.17.21  a\\x07b\\nc\\ud800\n"


@pytest.mark.parametrize("told", [[], "x", {}, {"id": 1}, {"id": "X", "affected": [{}]}, {"id": "X", "affected": [1]}])
def test_a_damaged_record_is_counted_and_the_rest_is_read(told):
    found = Records([told, record("npm", "x", *FROM_0)], [view("npm", "x", "1.0.0")])
    assert len(found.matches()) == 1
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
