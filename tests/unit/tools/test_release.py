"""tools/release gives a version to every place that has one, and archives that depend on their content alone."""

from __future__ import annotations

import datetime
import io
import re
import shutil
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DAY = datetime.date(2027, 1, 2)


@pytest.fixture(scope="module")
def release(load_program):
    return load_program(ROOT / "tools/release")


@pytest.fixture
def checkout(tmp_path):
    for name in ("setup.cfg", "helm/buildfarm/Chart.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "CHANGELOG.md").write_text(
        "# Changelog\n\n## Unreleased\n\n### Added\n\n- a\n\n## 0.0.1 (2026-01-01)\n\n- b\n"
    )
    return tmp_path


def version_lines(root):
    texts = [(root / name).read_text() for name in ("setup.cfg", "helm/buildfarm/Chart.yaml")]
    return [found for text in texts for found in re.findall(r"^(?:version(?: =|:)|appVersion:) (\S+)$", text, re.M)]


def test_the_package_and_the_chart_have_one_version():
    assert len(version_lines(ROOT)) == 3
    assert len(set(version_lines(ROOT))) == 1


def test_a_cut_gives_the_version_to_all_three_places_and_the_entries_to_it(release, checkout):
    release.cut(checkout, "0.9.0", DAY)
    assert version_lines(checkout) == ["0.9.0"] * 3
    sections = (checkout / "CHANGELOG.md").read_text().split("\n## ")[1:]
    assert [section.split("\n")[0] for section in sections] == [
        "Unreleased",
        "0.9.0 (2027-01-02)",
        "0.0.1 (2026-01-01)",
    ]
    assert "- a" in sections[1]
    assert "- a" not in sections[0]


@pytest.mark.parametrize("version", ["1", "v1.0.0", "0.9", "0.0.1"])
def test_a_wrong_or_known_version_is_refused(release, checkout, version):
    with pytest.raises(SystemExit, match="No release"):
        release.cut(checkout, version, DAY)
    assert version_lines(checkout) == version_lines(ROOT)


def test_nothing_unreleased_is_not_cut(release, checkout):
    release.cut(checkout, "0.9.0", DAY)
    with pytest.raises(SystemExit, match="nothing under Unreleased"):
        release.cut(checkout, "0.9.1", DAY)


def entry(name, mtime, user):
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.uname, member.uid = 1, mtime, user, mtime
    return member, b"x"


def test_an_archive_does_not_depend_on_time_user_or_order(release, tmp_path):
    release.write_tar(tmp_path / "1", [entry("a", 5, "me"), entry("b", 6, "me")], 1000)
    release.write_tar(tmp_path / "2", [entry("b", 7, "you"), entry("a", 8, "you")], 1000)
    release.write_tar(tmp_path / "3", [entry("b", 7, "you"), entry("a", 8, "you")], 1001)
    one, two, three = ((tmp_path / name).read_bytes() for name in "123")
    assert one == two != three
    with tarfile.open(fileobj=io.BytesIO(one)) as tree:
        assert [(member.name, member.mtime, member.mode) for member in tree] == [("a", 1000, 0o644), ("b", 1000, 0o644)]


def test_the_chart_is_packed_without_what_helm_ignores(release, tmp_path):
    release.chart(ROOT / "helm/buildfarm", tmp_path, 1000)
    [made] = tmp_path.iterdir()
    assert made.name == f"buildfarm-{version_lines(ROOT)[0]}.tgz"
    with tarfile.open(made) as tree:
        names = tree.getnames()
    assert {"buildfarm/Chart.yaml", "buildfarm/values.schema.json", "buildfarm/templates/_helpers.tpl"} <= set(names)
    assert not [name for name in names if "/ci/" in name]


def test_the_parts_of_the_test_target_are_all_of_it():
    makefile = (ROOT / "Makefile").read_text()
    parts = re.findall(r"^(unit|integration|observability|hostile-short|faults-short): .*\n(?:\t.*\n)+", makefile, re.M)
    assert len(parts) == 5
    run = set(re.findall(r"^\t.*pytest --durations=20 .*?\btests/(\w+)\)?$", makefile, re.M))
    lists = [re.search(rf"^{name} := (.*)$", makefile, re.M)[1] for name in ("BESIDE", "ALONE")]
    assert sorted(re.findall(r"tests/(\w+)", " ".join(lists))) == sorted(run), "each once"
    samples = {"apps"}  # read by verify.apps
    assert {path.relative_to(ROOT / "tests").parts[0] for path in ROOT.glob("tests/*/**/test_*.py")} - samples == run
