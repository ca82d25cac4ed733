"""What the farm's own buildpacks take from the cache and what they do anew, with stubs of the programs they call."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def write_files(directory: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return directory


@dataclass
class Compile:
    """A buildpack's ``bin/compile`` on one app, whose cache stays from run to run."""

    folder: Path
    name: str

    @property
    def app(self) -> Path:
        return self.folder / "app"

    def files(self, **files: str) -> None:
        write_files(self.app, {name.replace("__", "."): content for name, content in files.items()})

    def program(self, name: str, body: str) -> None:
        path = write_files(self.folder, {f"programs/{name}": f"#!/bin/bash\n{body}\n"}) / "programs" / name
        path.chmod(0o755)

    def system(self, packages: str) -> None:
        (self.folder / "status").write_text(packages)

    def __call__(self, code: int = 0, **config_vars: str) -> str:
        bin_folder = self.folder / "buildpack" / "bin"
        shutil.copytree(ROOT / "images" / "buildpacks" / self.name / "bin", bin_folder, dirs_exist_ok=True)
        text = (bin_folder / "compile").read_text()
        for path, own in (
            ("/tmp/", f"{self.folder}/tmp/"),
            ("/usr/lib/buildfarm/", f"{ROOT}/images/builder/root/usr/lib/buildfarm/"),
            ("/var/lib/dpkg/status", str(self.folder / "status")),
        ):
            text = text.replace(path, own)
        (bin_folder / "compile").write_text(text)
        env = self.folder / "env"
        shutil.rmtree(env, ignore_errors=True)
        write_files(env, config_vars) if config_vars else env.mkdir()
        command = ["bash", str(bin_folder / "compile"), str(self.app), str(self.folder / "cache"), str(env)]
        variables = {"PATH": f"{self.folder / 'programs'}:{os.environ['PATH']}", "TMPDIR": str(self.folder / "tmp")}
        done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def compile_of(tmp_path):
    def make(name: str) -> Compile:
        for folder in ("app", "cache", "tmp", "programs"):
            (tmp_path / folder).mkdir()
        made = Compile(tmp_path, name)
        made.system("Package: libc6\n")
        return made

    return make


def test_a_package_of_a_url_goes_with_its_line(compile_of):
    apt = compile_of("apt")
    apt.program("curl", 'touch "$8"; [ "$7" = --output ]')
    apt.program("dpkg", "true")
    apt.program("dpkg-architecture", "echo x86_64-linux-gnu")
    (apt.folder / "cache/apt/archives").mkdir(parents=True)
    (apt.folder / "cache/apt/archives/left_by_an_earlier_version.deb").touch()
    apt.files(Aptfile="https://example.org/foo_1.9.deb\nhttps://example.org/bar_1.deb\n")
    assert unpacked(apt()) == ["foo_1.9.deb", "bar_1.deb"]
    apt.files(Aptfile="https://example.org/foo_1.10.deb\n")
    assert unpacked(apt()) == ["foo_1.10.deb"]
    assert list((apt.folder / "cache").rglob("*.deb")) == []


APTFILES = {
    "F34a: two on a line": (["sl cowsay\n"], [["cowsay", "sl"]]),
    "F34b: one fewer, then none": (["sl\ncowsay\n", "sl\n", "# sl\n"], [["cowsay", "sl"], ["sl"], []]),
    "F34c: another URL": (["https://x.org/a.deb\n", "https://x.org/b.deb\n"], [["a.deb"], ["b.deb"]]),
    "names, a URL, tabs, CRLF and a comment": (
        ["sl\tcowsay=3.03 # both\r\n\r\nhttps://x.org/a.deb  libc6:amd64\r\n", "sl"],
        [["cowsay=3.03", "libc6:amd64", "sl", "a.deb"], ["sl"]],
    ),
    "the same again": (["sl cowsay\n", "sl\ncowsay\n"], [["cowsay", "sl"], ["cowsay", "sl"]]),
}


@pytest.mark.kind("folders and caches")
@pytest.mark.parametrize("name", APTFILES)
def test_exactly_what_the_aptfile_names_is_unpacked(compile_of, record_property, name):
    apt = compile_of("apt")
    apt.program("apt-get", APT_GET)
    apt.program("curl", 'touch "$8"')
    apt.program("dpkg", "true")
    apt.program("dpkg-architecture", "echo x86_64-linux-gnu")
    for content, expected in zip(*APTFILES[name], strict=True):
        apt.files(Aptfile=content)
        found = unpacked(apt())
        assert [name if name.startswith(("a.", "b.")) else name.removesuffix(".deb") for name in found] == expected
    record_property("seen", f"{len(APTFILES[name][0])} builds, the last with {len(expected)} packages")


# Downloads what it is asked for: an empty file for each name.
APT_GET = """
for word; do case $word in dir::cache::archives=*) archives=${word#*::archives=} ;; esac; done
if [[ " $* " == *" install "* ]]; then
  shift "$(($# - $(printf '%s\\n' "$@" | sed '1,/^install$/d' | wc -l)))"
  for name; do touch "$archives/$name.deb"; done
fi
"""


@pytest.mark.parametrize("line", ["sl Cowsay", "--option", "a;b", "../x", ":repo:x"])
def test_a_line_with_anything_else_is_refused_by_its_number(compile_of, line):
    apt = compile_of("apt")
    apt.files(Aptfile=f"# first\n{line}\n")
    assert "Aptfile, line 2: '" in apt(1)


def unpacked(log):
    return [line.split()[-1] for line in log.splitlines() if "Unpacking" in line]


@pytest.fixture
def detect(tmp_path):
    """``detect(NAME…)`` with buildpacks of the builder, "yes" and "no", and a fetched one."""
    library = ROOT / "images" / "builder" / "root" / "usr" / "lib" / "buildfarm"
    places = {"/tmp/": f"{tmp_path}/tmp/", " /buildpacks/": f" {tmp_path}/own/", '"/buildpacks/': f'"{tmp_path}/own/'}
    places |= {"=/buildpacks/": f"={tmp_path}/own/", "/usr/lib/buildfarm/": f"{tmp_path}/lib/"}
    places |= {"/usr/libexec/buildfarm/spool ": ""}
    for name in ("detect", "give"):
        text = (library / name).read_text()
        for path, own in places.items():
            text = text.replace(path, own)
        write_files(tmp_path, {f"lib/{name}": text})
        (tmp_path / "lib" / name).chmod(0o755)
    for name, script in (("own/no", "exit 1"), ("own/yes", "echo Yes"), ("tmp/buildpacks/fetched", "echo Fetched")):
        write_files(tmp_path, {f"{name}/bin/detect": f"#!/bin/sh\n{script}\n", f"{name}/bin/compile": ""})
        (tmp_path / name / "bin/detect").chmod(0o755)
    write_files(tmp_path, {"own/order.txt": "# first match\nno\nyes\n"})

    def run(*names: str) -> tuple[int, list[str]]:
        command = [str(tmp_path / "lib/detect"), *names]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, [line.split("\t")[0] for line in done.stdout.splitlines()]

    return run


def test_only_a_buildpack_that_takes_the_app_is_copied_for_the_build(detect, tmp_path):
    assert detect() == (0, ["yes"])
    assert sorted(path.name for path in (tmp_path / "tmp/buildpacks").iterdir()) == ["fetched", "yes"]
    assert detect("--all", "fetched", "yes") == (0, ["fetched", "yes"])
    assert detect("--all", "yes", "no") == (101, ["yes", "!"])
    assert detect("--all", "absent")[0] == 102
