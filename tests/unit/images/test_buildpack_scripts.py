"""What the farm's own buildpacks take from the cache and what they do anew, with stubs of the programs they call."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
RESTORED = "Restored from the cache: nothing changed"

PYTHON = """
case "$*" in
  *--version) echo "Python 3.13.5" ;;
  "-m venv"*) mkdir -p "${@: -1}/bin"; cp "$0" "${@: -1}/bin/python" ;;
esac
"""
RUBY = 'case "$*" in *RUBY_VERSION*) echo 3.3.8 ;; esac'


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
        if (stub := self.folder / "programs" / "find-python").exists():
            shutil.copy(stub, bin_folder / "find-python")
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


@pytest.fixture
def python(compile_of):
    made = compile_of("python")
    made.program("python3", PYTHON)
    made.program("find-python", f"echo {made.folder}/programs/python3")
    return made


def test_python_packages_of_an_index_come_from_the_cache_until_something_changes(python):
    python.files(requirements__txt="# of https://example.org/\nflask==3.0 ; python_version > '3'\n")
    assert RESTORED not in python()
    assert RESTORED in python()
    assert RESTORED not in python(PIP_INDEX_URL="https://example.org/simple")
    python.system("Package: libc6\nPackage: libpq5\n")
    assert RESTORED not in python(PIP_INDEX_URL="https://example.org/simple")


@pytest.mark.parametrize(
    "line",
    [
        "libs/mylib",
        "mylib @ file:///app/libs/mylib",
        "mylib[extra]@ ./mylib",
        "git+https://example.org/x@main",
        "mylib-1.0-py3-none-any.whl",
        "-e .",
        "file:mylib",
    ],
)
def test_python_packages_that_are_in_the_app_or_at_an_address_are_installed_each_time(python, line):
    python.files(requirements__txt=f"flask==3.0\n{line}\n")
    assert RESTORED not in python()
    assert RESTORED not in python()


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


def unpacked(log):
    return [line.split()[-1] for line in log.splitlines() if "Unpacking" in line]


@pytest.fixture
def ruby(compile_of):
    made = compile_of("ruby")
    made.program("ruby", RUBY)
    made.files(Gemfile="gem 'rake'\n", Rakefile="")
    return made


def bundle(rake):
    return f"""
case "$*" in
  --version) echo "Bundler version 2.6.7" ;;
  install) mkdir -p "$BUNDLE_PATH"; echo INSTALLED "$(ls "$BUNDLE_PATH")"; touch "$BUNDLE_PATH/gem" ;;
  "exec rake -P") {rake} ;;
  "exec rake assets:precompile") echo PRECOMPILED ;;
esac
"""


@pytest.mark.parametrize(("task", "done"), [("assets:precompile", True), ("other", False)])
def test_assets_are_compiled_however_much_rake_says(ruby, task, done):
    ruby.program("bundle", bundle(f"echo 'rake {task}'; for i in {{1..40}}; do printf '%08192d\\n' 0 || exit 1; done"))
    assert ("PRECOMPILED" in ruby()) is done


def test_a_rakefile_that_cannot_be_loaded_fails_the_build_of_an_app_with_assets(ruby):
    ruby.program("bundle", bundle("echo 'cannot load such file -- rspec' >&2; exit 1"))
    assert "its tasks were not looked at" in ruby()
    ruby.files(Gemfile="gem 'propshaft'\n")
    told = ruby(code=1)
    assert "cannot load such file" in told
    assert "the assets cannot be compiled" in told


def test_gems_of_another_builder_are_not_used(ruby):
    ruby.program("bundle", bundle("true"))
    assert "INSTALLED\n" in ruby().replace(" \n", "\n")
    shutil.rmtree(ruby.app / "vendor")
    assert "INSTALLED gem" in ruby()
    shutil.rmtree(ruby.app / "vendor")
    ruby.system("Package: libc6\nPackage: libpq5\n")
    assert "INSTALLED\n" in ruby().replace(" \n", "\n")
