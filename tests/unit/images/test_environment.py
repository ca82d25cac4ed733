"""The config vars as a buildpack's shell sees them, by the builder's own `environment`."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parents[3]
LIB = ROOT / "images/builder/root/usr/lib/buildfarm"
# What `environment` leaves out, written down a second time: docs/buildpacks.md explains it.
WITHHELD = re.compile(
    r"PATH|HOME|STACK|CACHE_DIR|BUILD_DIR|ENV_DIR|BUILDFARM_.*|buildfarm_.*"
    r"|IFS|CDPATH|GLOBIGNORE|POSIXLY_CORRECT|PS4|BASH|BASH_.*|BASHOPTS|BASHPID|SHELLOPTS|SHLVL|PWD|OLDPWD|_"
    r"|UID|EUID|PPID|GROUPS|DIRSTACK|FUNCNAME|FUNCNEST|HISTCMD|LINENO|OPTIND|OPTERR|OPTARG|REPLY"
    r"|RANDOM|SRANDOM|SECONDS|EPOCHSECONDS|EPOCHREALTIME|MAPFILE|COMP_WORDBREAKS|PIPESTATUS|TMOUT"
    r"|LD_.*|GCONV_PATH|LOCPATH|GLIBC_TUNABLES|MALLOC_.*"
    r"|GIT_DIR|TAR_OPTIONS|PYTHONPATH|PYTHONHOME|PYTHONSTARTUP|PYTHONINSPECT|PYTHONPLATLIBDIR|PYTHONEXECUTABLE"
)
# Names that a shell, a loader or an interpreter gives a meaning, and those that the farm's own programs use.
SPECIAL = (
    "ENV", "UID", "EUID", "PPID", "PATH", "HOME", "IFS", "PS4", "CDPATH", "SHELLOPTS", "BASHOPTS", "BASH_ENV",
    "BASH_VERSINFO", "BASH_ARGV0", "BASH_COMMAND", "_", "SHLVL", "PWD", "OLDPWD", "LINENO", "OPTIND", "OPTERR",
    "RANDOM", "SECONDS", "EPOCHSECONDS", "GROUPS", "DIRSTACK", "FUNCNAME", "HISTCMD", "REPLY", "TMOUT", "LD_PRELOAD",
    "LD_LIBRARY_PATH", "GCONV_PATH", "PYTHONPATH", "PYTHONHOME", "PYTHONINSPECT", "NODE_OPTIONS", "RUBYOPT",
    "PERL5OPT", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "DOCKER_IMAGE_TAG", "GIT_DIR", "TAR_OPTIONS", "POSIXLY_CORRECT",
    "COLUMNS", "HOSTNAME", "MACHTYPE", "build", "cache", "config", "here", "name", "file", "folder", "plan", "log",
    "key", "steps", "step", "start", "own", "problems", "http_proxy", "npm_config_registry", "buildfarm_file",
    "buildfarm_value",
)  # fmt: skip
NAMES = st.one_of(st.sampled_from(SPECIAL), st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,40}", fullmatch=True))
VALUES = st.binary(max_size=60).map(lambda value: value.replace(b"\0", b"\n"))


def exported(variables: dict[str, bytes], folder: Path) -> dict[str, bytes]:
    """What a program sees that a buildpack's shell starts after it sourced ``environment``."""
    for name, value in variables.items():
        (folder / name).write_bytes(value)
    script = f'set -euo pipefail; source {LIB}/environment "$1"; exec /usr/bin/env -0'
    done = subprocess.run(
        ["/bin/bash", "-c", script, "bash", str(folder)],
        env={"PATH": "/usr/bin:/bin", "HOME": "/app"},
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"/environment: line" not in done.stderr
    pairs = (item.split(b"=", 1) for item in done.stdout.split(b"\0") if item)
    return {name.decode(): value for name, value in pairs}


@given(st.dictionaries(NAMES, VALUES, max_size=30))
@settings(deadline=None, max_examples=60)
def test_a_buildpacks_shell_gets_every_value_byte_for_byte_and_none_that_steers_it(variables):
    with tempfile.TemporaryDirectory() as folder:
        seen = exported(variables, Path(folder))
    wanted = {name: value for name, value in variables.items() if not WITHHELD.fullmatch(name)}
    assert {name: seen.get(name) for name in wanted} == wanted
    for name in set(variables) - set(wanted):
        assert seen.get(name) != variables[name] or variables[name] in (b"/app", b"")
    assert (seen["PATH"], seen["HOME"]) == (b"/usr/bin:/bin", b"/app")


@pytest.mark.parametrize("name", SPECIAL)
def test_no_name_ends_the_shell_that_sources_it(name, tmp_path):
    seen = exported({name: b"value\n", "OTHER": b"kept"}, tmp_path)
    assert seen["OTHER"] == b"kept"
    assert seen.get(name) == b"value\n" or WITHHELD.fullmatch(name)


PEM = b"-----BEGIN KEY-----\nMIIB\r\n\tAB==\n-----END KEY-----\n"


@pytest.mark.kind("config vars")
@pytest.mark.parametrize(
    ("name", "value"),
    [("KEY", PEM), ("QUOTES", b"a'b\"c`d$(e)\\"), ("LINES", b"\n\n x \n"), ("EMPTY", b""), ("LATIN", b"caf\xe9")],
    ids=["a PEM with its last newline", "quotes", "newlines alone", "an empty value", "bytes that are not UTF-8"],
)
def test_a_value_is_exported_byte_for_byte(name, value, tmp_path, record_property):
    assert exported({name: value}, tmp_path)[name] == value
    record_property("seen", f"{len(value)} bytes in, the same {len(value)} bytes exported")


def scripts() -> list[Path]:
    """The shell scripts of the bundled buildpacks, and what they share."""
    found = [path for path in (ROOT / "images/buildpacks").rglob("*") if path.is_file()]
    found += [LIB / name for name in ("planned", "front-end", "keep")]
    return [path for path in found if path.suffix == ".sh" or path.read_bytes()[:16].split(b"\n")[0].endswith(b"sh")]


@pytest.mark.kind("config vars")
@pytest.mark.parametrize("name", ["build", "cache", "here", "name", "config", "key", "installed"])
def test_a_bundled_buildpack_assigns_its_variables_before_it_reads_them(name, record_property):
    """A config var of the same name is in its environment; ``set -u`` finds every other read of one that is not set."""
    reads = re.compile(rf"\$\{{{name}:?[-+=?]|(?<![\w-]){name}\+=")
    found = [str(path) for path in scripts() if reads.search(path.read_text())]
    assert found == []
    record_property("seen", f"{len(scripts())} scripts, none reads ${name} before it is assigned")


def test_a_bundled_buildpack_reads_no_variable_in_lower_case_that_only_a_config_var_could_set():
    names = set()
    for path in scripts():
        text = path.read_text()
        for name in re.findall(r"\$\{([a-z][a-z_]*):?[-+=]|\b([a-z][a-z_]*)\+=", text):
            names.add(name[0] or name[1])
    everything = "\n".join(path.read_text() for path in scripts())
    for name in names:
        reads = re.search(rf"\$\{{{name}:?[-+=]|\b{name}\+=", everything)
        assert not reads or re.search(rf"(?<![\w-]){name}=(?!=)", everything), name
