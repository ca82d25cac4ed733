"""What the Python buildpack takes from the cache and what it does anew, with stubs of the programs that it calls."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FARM = ROOT / "images/builder/root/usr/lib/buildfarm"
RESTORED = "Restored from the cache: nothing changed"
# The plan is made by a real Python; venv and pip are stubs, and pip does what the app's file `pip` says.
PYTHON = """#!/bin/bash
case "$*" in
  -EsSB*) exec {python} "$@" ;;
  "-m venv"*) mkdir -p "${{@: -1}}"/{{bin,lib/python3/site-packages}}; cp "$0" "${{@: -1}}/bin/python" ;;
  *"-m pip"*) if [ -f pip ]; then bash ./pip "$@"; fi ;;
esac
"""

pytestmark = pytest.mark.usefixtures("jq")


class Compile:
    """The buildpack's ``bin/compile`` on one app, whose cache stays from run to run."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.app = folder, folder / "app"
        for name in ("app", "cache", "tmp", "programs"):
            (folder / name).mkdir()
        self.system("Package: libc6\n")
        (folder / "programs/python3").write_text(PYTHON.format(python=sys.executable))
        (folder / "programs/python3").chmod(0o755)

    def files(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            (self.app / name).parent.mkdir(parents=True, exist_ok=True)
            (self.app / name).write_text(text)

    def system(self, packages: str) -> None:
        (self.folder / "status").write_text(packages)

    def __call__(self, code: int = 0, **config: str) -> str:
        buildpack = self._copy()
        shutil.rmtree(self.folder / "env", ignore_errors=True)
        (self.folder / "env").mkdir()
        for name, value in config.items():
            (self.folder / "env" / name).write_text(value)
        command = ["bash", f"{buildpack}/bin/compile", str(self.app), f"{self.folder}/cache", f"{self.folder}/env"]
        path = f"{self.folder}/programs:{os.environ['PATH']}"
        variables = {"PATH": path, "HOME": str(self.app), "BUILDFARM_PACKAGES": f"{self.folder}/status"}
        done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def _copy(self) -> Path:
        buildpack = self.folder / "buildpack"
        shutil.rmtree(buildpack, ignore_errors=True)
        shutil.copytree(ROOT / "images/buildpacks/python", buildpack)
        for path in (buildpack / "bin/compile", *buildpack.glob("lib/*.sh")):
            text = path.read_text().replace("/tmp/python", f"{self.folder}/tmp/python")
            text = text.replace("/usr/lib/buildfarm/", f"{FARM}/")
            path.write_text(text.replace("/usr/bin/python3", f"{self.folder}/programs/python3"))
        return buildpack


@pytest.fixture
def python(tmp_path):
    return Compile(tmp_path)


def test_packages_come_from_the_cache_until_something_changes(python):
    python.files({"requirements.txt": "flask==3.0\n-r more.txt\n", "more.txt": "itsdangerous"})
    assert RESTORED not in python()
    assert RESTORED in python()
    assert RESTORED not in python(CFLAGS="-O3")
    python.system("Package: libc6\nPackage: libpq5\n")
    assert RESTORED not in python(CFLAGS="-O3")
    assert RESTORED in python(CFLAGS="-O3")
    python.files({"more.txt": "itsdangerous<2"})
    assert RESTORED not in python(CFLAGS="-O3")


def test_what_was_compiled_with_other_libraries_is_forgotten(python):
    python.files(
        {
            "requirements.txt": "flask",
            "pip": 'echo "compiled: $(ls ../cache/pip/wheels)"; mkdir -p ../cache/pip/wheels/w',
        }
    )
    assert "compiled: w" not in python()
    python.files({"requirements.txt": "flask\n"})
    assert "compiled: w" in python()
    python.system("Package: libc7\n")
    assert "compiled: w" not in python()


def test_what_a_path_holds_is_installed_each_time(python):
    python.files({"requirements.txt": "flask==3.0\n./libs/mine\n"})
    assert RESTORED not in python()
    assert RESTORED not in python()


HASH = "sha256:" + "4d7a" * 16
COMMIT = "0123456789abcdef0123456789abcdef01234567"
REQUIREMENTS = {
    "hashes on lines of their own": (f"itsdangerous==2.2.0 \\\n    --hash={HASH}\n", True),
    "hashes on the same line": (f"itsdangerous==2.2.0 --hash={HASH} --hash={HASH}\n", True),
    "a commit": (f"x @ git+https://example.org/x.git@{COMMIT}\n", True),
    "an archive with its hash": (f"x @ https://example.org/x.tar.gz#{HASH.replace(':', '=')}\n", True),
    "a branch": ("git+https://example.org/x.git@main#egg=x\n", False),
    "a file: URL of a folder": ("x @ file:///app/libs/x\n", False),
    "a relative file: URL": ("file:./libs/x\n", False),
    "an editable folder": ("-e ./libs/x\n", False),
}


@pytest.mark.kind("folders and caches")
@pytest.mark.parametrize("name", REQUIREMENTS)
def test_only_what_cannot_change_comes_from_the_cache(python, record_property, name):
    text, cached = REQUIREMENTS[name]
    python.files({"requirements.txt": text, "libs/x/setup.py": ""})
    assert RESTORED not in python()
    assert (RESTORED in python()) == cached
    record_property("seen", "restored from the cache" if cached else "installed again")


def test_folders_of_the_app_that_builds_write_to_are_left_as_they_were(python):
    mess = "mkdir -p build/lib other.egg-info libs/x/build\necho new | tee build/index.html app.egg-info/note\n"
    python.files(
        {
            "requirements.txt": "./libs/x",
            "pip": mess,
            "build/index.html": "mine",
            "app.egg-info/note": "mine",
            "libs/x/setup.py": "",
        }
    )
    python()
    assert (python.app / "build/index.html").read_text() == "mine"
    assert (python.app / "app.egg-info/note").read_text() == "mine"
    for name in ("build/lib", "other.egg-info", "libs/x/build"):
        assert not (python.app / name).exists()


def test_hooks_run_before_and_after_with_the_config_vars(python):
    python.files(
        {
            "requirements.txt": "flask",
            "pip": "cat before",
            "bin/pre_compile": "#!/bin/bash\necho made in $SHOP >before\n",
            "bin/post_compile": "#!/bin/bash\necho after: $(cat before) $VIRTUAL_ENV $build $python\n",
        }
    )
    log = python(SHOP="Ulm", UID="1000", build="prod", cache="redis", python="none", key="x")
    assert "       made in Ulm" in log
    assert f"       after: made in Ulm {python.app}/.venv prod none" in log


def test_a_failing_hook_fails_the_build_with_its_own_words(python):
    python.files({"requirements.txt": "", "bin/post_compile": "#!/bin/bash\necho no such shop >&2\nexit 3\n"})
    log = python(code=1)
    assert (
        "       no such shop\n !     bin/post_compile failed: the words above are its own. Try it on your machine.\n"
        in log
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE", "A package is not the one whose hash"),
        ("ERROR: No matching distribution found for x==9", "The index does not have a package"),
        ("ERROR: HTTP error 403 while getting https://example.org/x", "The index refuses to give a package."),
        ("x.c:1:10: fatal error: ldap.h: No such file or directory", "A package compiles C code that needs ldap.h."),
        ("Error: pg_config executable not found.", "A package compiles C code that needs a library"),
        ("ERROR: ResolutionImpossible: for help visit", "No set of versions meets all that is asked for."),
        ("ERROR: Package 'x' requires a different Python: 3.13.5 not in '<3.9'", "does not run on this Python."),
        ("who knows", "'pip install -r requirements.txt' failed: the words above are its own."),
    ],
)
def test_the_words_of_the_tool_are_followed_by_what_to_do(python, words, sentence):
    python.files({"requirements.txt": "x", "pip": f'echo "{words}" >&2\nexit 1\n'})
    log = python(code=1)
    assert f"       {words}" in log
    assert sentence in log.splitlines()[-1]


def test_problems_are_told_before_anything_runs(python):
    python.files({"requirements.txt": "", ".python-version": "newest", "bin/pre_compile": "#!/bin/bash\ntouch ran\n"})
    assert python(
        code=1
    ) == " !     .python-version asks for Python 'newest', which is not a version. Write it like 3.13.\n".replace(
        "3.13", f"3.{sys.version_info[1]}"
    )
    assert not (python.app / "ran").exists()
    python.files({"pyproject.toml": "[project"})
    (python.app / "requirements.txt").unlink()
    assert "pyproject.toml is not valid TOML" in python(code=1)


def test_static_files_without_a_place_to_go_do_not_fail_the_build(python):
    python.files(
        {
            "requirements.txt": "django",
            "manage.py": "",
            "site1/settings.py": "'django.contrib.staticfiles'",
            "site1/__init__.py": "",
        }
    )
    program = python.folder / "programs/python3"
    said = "You're using the staticfiles app without having set the STATIC_ROOT setting to a filesystem path."
    program.write_text(program.read_text().replace("esac", f'  manage.py*) echo "{said}"; exit 1 ;;\nesac'))
    assert "Static files are not collected: the settings name no STATIC_ROOT." in python()
    program.write_text(program.read_text().replace(said, "No module named 'secrets'"))
    python.files({"requirements.txt": "django\n"})
    assert "or DISABLE_COLLECTSTATIC=1 to leave it out." in python(code=1)


def test_release_says_what_the_plan_says(python):
    python.files({"requirements.txt": "flask\ngunicorn", "app.py": "app = Flask(__name__)\n"})
    python()
    done = subprocess.run(
        ["bash", f"{python.folder}/buildpack/bin/release", python.app], capture_output=True, text=True, check=True
    )
    assert done.stdout == 'default_process_types:\n  web: "gunicorn --bind 0.0.0.0:$PORT app:app"\n'
