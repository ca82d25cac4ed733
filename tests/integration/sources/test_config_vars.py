"""Config vars with any name and any value reach a buildpack and the running container byte for byte."""

from __future__ import annotations

import io
import subprocess
import tarfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testkit.buildpacks import SHEBANG, run_image, succeeded
from testkit.builds import write_files

# Names to which a shell, the loader or an interpreter gives a meaning, and those of the farm's own scripts
SPECIAL = (
    "ENV", "UID", "EUID", "PATH", "BASH_ENV", "PS4", "CDPATH", "LD_PRELOAD", "LD_LIBRARY_PATH", "PYTHONPATH",
    "PYTHONHOME", "NODE_OPTIONS", "RUBYOPT", "PERL5OPT", "_X", "_JAVA_OPTIONS", "DOCKER_IMAGE_TAG", "GIT_DIR",
    "TAR_OPTIONS", "STACK", "build", "cache", "here", "name", "config", "file", "type", "command", "profile",
    "processes",
)  # fmt: skip
# What bash itself sets in whatever it starts, and what /start promises
OF_THE_SHELL = frozenset((
    "IFS", "SHELLOPTS", "BASHOPTS", "BASH", "BASHPID", "BASH_VERSINFO", "BASH_ARGV0", "BASH_COMMAND", "BASH_SUBSHELL",
    "OPTIND", "OPTERR", "SHLVL", "PWD", "OLDPWD", "PPID", "_", "RANDOM", "SRANDOM", "SECONDS", "EPOCHSECONDS",
    "EPOCHREALTIME", "LINENO", "HISTCMD", "HOME", "PORT",
))  # fmt: skip
NAMES = st.one_of(st.sampled_from(SPECIAL), st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,30}", fullmatch=True))
VALUES = st.one_of(
    st.sampled_from(
        ["", "\n", "a\n\n", "'\"`$(x)\\", "-----BEGIN KEY-----\nAB==\n-----END KEY-----\n", "\r\n", "café 💥"]
    ),
    st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=80),
)
VARIABLES = st.dictionaries(NAMES, VALUES, min_size=60, max_size=150)

KEEPS_ENV_DIR = 'mkdir "$1/seen" && cp "$3"/* "$1/seen/"'


@pytest.fixture(scope="module")
def keeper(built, tmp_path_factory):
    """The reference of a buildpack that leaves its ENV_DIR in the image."""
    folder = tmp_path_factory.mktemp("buildpack") / "keeper"
    programs = {"bin/detect": "echo Keeper", "bin/compile": KEEPS_ENV_DIR, "bin/release": "true"}
    write_files(folder, {name: SHEBANG + body + "\n" for name, body in programs.items()})
    return str(built.farm.pack_buildpack(folder))


def seen(built, build, variables):
    """What ENV_DIR held during the build, and the environment of a process that is started with these variables."""
    image = built.farm.image(build)
    subprocess.run(["docker", "pull", "--quiet", image], check=True, capture_output=True)
    given = [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]
    files = [
        "docker",
        "run",
        "--rm",
        "--network=none",
        "--entrypoint",
        "/usr/bin/tar",
        image,
        "-C",
        "/app/seen",
        "-c",
        ".",
    ]
    archive = subprocess.run(files, check=True, capture_output=True).stdout
    command = ["docker", "run", "--rm", "--network=none", *given, image, "/usr/bin/env", "-0"]
    process = subprocess.run(command, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        env_dir = {item.name[2:]: tar.extractfile(item).read() for item in tar if item.isfile()}
    return env_dir, dict(item.split(b"=", 1) for item in process.split(b"\0") if item)


@pytest.mark.kind("config vars")
@given(variables=VARIABLES)
@settings(
    max_examples=3, deadline=None, database=None, suppress_health_check=list(HealthCheck), report_multiple_bugs=False
)
def test_generated_config_vars_arrive_byte_for_byte(built, keeper, tmp_path_factory, record_property, variables):
    app = write_files(tmp_path_factory.mktemp("app"), {"file.txt": "x"})
    build = built(app, "generated", buildpacks=[keeper], env=variables, cached_result=False)
    succeeded(built, build)
    env_dir, process = seen(built, build, variables)
    assert env_dir == {name: value.encode() for name, value in variables.items()}
    checked = {name: value.encode() for name, value in variables.items() if name not in OF_THE_SHELL}
    assert {name: process.get(name.encode()) for name in checked} == checked
    record_property("seen", f"{len(variables)} in ENV_DIR and {len(checked)} in the container, equal")


@pytest.mark.kind("config vars")
@pytest.mark.parametrize(
    "variables",
    [
        {"UID": "1000"},
        {"build": "prod", "cache": "redis", "here": "x"},
        {"name": "shop", "zone": "x"},
        {"ENV": "production"},
    ],
    ids=["UID", "build, cache and here", "name and zone", "ENV"],
)
def test_a_build_shows_the_apps_own_program_the_variables_as_they_are(built, tmp_path, record_property, variables):
    """By the buildpack `inline`, which is one of the farm's own."""
    shown = [name for name in variables if name != "UID"]
    lines = "\n".join(f'echo "SEEN {name}=${name}"' for name in shown)
    files = {"bin/detect": "echo App", "bin/compile": lines + "\necho done", "Procfile": None}
    write_files(tmp_path, {name: SHEBANG + body + "\n" for name, body in files.items() if body})
    write_files(tmp_path, {"Procfile": "web: echo started\n"})
    build = built(tmp_path, "inline-" + "-".join(variables).lower()[:20].strip("-"), env=variables)
    succeeded(built, build)
    log = built.log(build)
    for name in shown:
        assert f"SEEN {name}={variables[name]}" in log
    assert run_image(built, build) == "started"
    record_property("seen", f"built; the app's program saw {', '.join(shown) or 'no readonly variable'}")


# As many of them as the scripts of bundled buildpacks have for their own variables
EVERY_NAME = dict.fromkeys((
    "build", "cache", "config", "here", "plan", "log", "keep", "key", "own", "start", "steps", "step", "name",
    "names", "folder", "version", "python", "venv", "work", "ready", "manager", "problems", "warnings", "installed",
    "known", "parts", "file", "line", "code", "command",
), "x")  # fmt: skip


@pytest.mark.kind("config vars")
@pytest.mark.parametrize(
    ("app", "files"),
    [
        ("static", {"index.html": "hello"}),
        ("python", {"requirements.txt": "", "app.py": "print('hello')\n", "Procfile": "web: python app.py\n"}),
        ("procfile", {"Procfile": "web: echo hello\n"}),
        ("shell", {"start.sh": "#!/bin/bash\necho hello\n"}),
        (
            "nodejs",
            {"package.json": '{"name": "x", "scripts": {"build": "node -e 1", "start": "node s.js"}}', "s.js": "1\n"},
        ),
        ("php", {"index.php": "<?php echo 'hello';\n"}),
        ("java", {"Main.java": "class Main { public static void main(String[] words) {} }\n"}),
        ("perl", {"app.psgi": "sub { [200, [], ['hello']] };\n", "cpanfile": ""}),
        (
            "ruby",
            {"Gemfile": "source 'https://rubygems.org'\n", "app.rb": "puts 1\n", "Procfile": "web: ruby app.rb\n"},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bundled_buildpack_makes_the_same_image_whatever_names_the_config_vars_have(
    built, tmp_path, record_property, app, files
):
    write_files(tmp_path, files)
    plain = succeeded(built, built(tmp_path, app, cached_result=False))
    other = succeeded(built, built(tmp_path, app, env=EVERY_NAME, cached_result=False))
    assert [layer.digest for layer in other.layers] == [layer.digest for layer in plain.layers]
    assert other.process_types == plain.process_types
    record_property("seen", f"the same layers with {len(EVERY_NAME)} config vars named as its own variables")
