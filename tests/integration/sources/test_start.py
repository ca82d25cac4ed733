"""How a built app starts and stops: profile scripts that go wrong, signals, exit codes, no zombies."""

from __future__ import annotations

import io
import subprocess
import tarfile
import time
import uuid
from dataclasses import dataclass

import pytest

from testkit.builds import wait_for

GRACE_SECONDS = 30  # then the engine kills; on a busy machine it takes its time for what is not killed too
# Ends two seconds after SIGTERM, and says how often it was told.
_SERVER = """
let told = 0
process.%s('SIGTERM', () => { told++; setTimeout(() => { console.log('BYE', told); process.exit(0) }, 2000) })
setInterval(() => {}, 1000)
console.log('READY')
"""
EVERY_SIGNAL, ONE_SIGNAL = _SERVER % "on", _SERVER % "once"  # a second signal ends the latter at once
PACKAGE = '{"name": "app", "scripts": {"prestart": "echo before", "start": "%s"}}'


@dataclass(frozen=True)
class Ended:
    """A container that has ended."""

    code: int
    stdout: str
    stderr: str
    stop_seconds: float


def _docker(*arguments: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(["docker", *arguments], capture_output=True, check=False, **options)


def _archive(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.uid, member.gid, member.mode = len(content), 1000, 1000, 0o755
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def _await(name: str, word: str) -> None:
    wait_for(lambda: word in _docker("logs", name).stdout.decode(), 30, lambda: f"no {word}: {_docker('logs', name)}")


@pytest.fixture(scope="module")
def image(services):
    return f"{services.registry_url.partition('://')[2]}/{services.builder}"


@pytest.fixture
def start(image):
    """``start(command, files)`` runs a process of an app with these files; ``stop`` as soon as it prints READY."""

    def start(command: str, files: dict[str, str | bytes], *, stop: bool = False, words=(), options=()) -> Ended:
        name = f"start-{uuid.uuid4().hex[:8]}"
        contents = {f"app/{path}": text if isinstance(text, bytes) else text.encode() for path, text in files.items()}
        contents["etc/buildfarm/processes/web"] = command.encode()
        made = _docker("create", "--name", name, "--network", "none", *options, image, *(words or ("web",)))
        assert made.returncode == 0, made.stderr
        try:
            assert _docker("cp", "-", f"{name}:/", input=_archive(contents)).returncode == 0
            assert _docker("start", name).returncode == 0
            started = time.monotonic()
            if stop:
                _await(name, "READY")
                started = time.monotonic()
                _docker("stop", "--time", str(GRACE_SECONDS), name)
            code = int(_docker("wait", name, timeout=60).stdout)
            seconds = time.monotonic() - started
            logs = _docker("logs", name)
            return Ended(code, logs.stdout.decode(), logs.stderr.decode(), seconds)
        finally:
            _docker("rm", "--force", "--volumes", name)

    return start


SCRIPTS = {
    "a last test that is false": "export A=1\n[ -n \"$NEVER\" ] && export B=1\n",
    "a last command that fails": "export A=1\ngrep -q x /none\n",
    "CR LF": "export A=1\r\nif [ -n \"$NEVER\" ]; then\r\n  export B=1\r\nfi\r\n",
    "UTF-8 with a mark": b"\xef\xbb\xbfexport A=1\n",
    "UTF-16": "export A=1\r\n".encode("utf-16"),
    "set -u and an unset variable": "export A=1\nset -u\nexport B=$NEVER\n",
    "set -e and a command that fails": "set -e\nexport A=1\nfalse\nexport B=1\n",
    "exit 3": "export A=1\nexit 3\n",
    "exit": "export A=1\nexit\n",
    "return 4": "export A=1\nreturn 4\n",
    "a syntax error": "export A=1\nif then (\n",
    "an exec of what is not there": "export A=1\nexec /none\n",
    "a trap that exits": "export A=1\ntrap 'exit 9' ERR\nfalse\n",
    "set -a and exit": "set -a\nA=1\nexit 1\n",
}  # fmt: skip


@pytest.mark.kind("start")
@pytest.mark.parametrize("case", SCRIPTS)
@pytest.mark.parametrize("path", [".profile.d/mode.sh", ".profile"])
def test_a_profile_script_that_goes_wrong_is_named_and_the_process_starts(start, record_property, case, path):
    files = {path: SCRIPTS[case], ".profile.d/other.sh": "export OTHER=1\n"}
    ended = start('echo "A=$A B=$B OTHER=$OTHER"; env | grep ^buildfarm_; true', files)
    record_property("seen", f"started; {ended.stderr.strip().splitlines()[-1]}")
    assert (ended.code, ended.stdout) == (0, "A=1 B= OTHER=1\n"), ended.stderr
    assert f"start: /app/{path} " in ended.stderr


@pytest.mark.kind("start")
@pytest.mark.parametrize(
    "script",
    [
        "set -eu\nexport A=1\n",
        "IFS=/ A=1\nexport A\nset -f -- a b\nset -o posix\n",
        "trap 'echo no' EXIT\nexport A=1\n",
    ],
    ids=["set -eu", "IFS and arguments", "a trap of its own"],
)
def test_what_a_profile_script_sets_of_the_shell_reaches_nothing_else(start, record_property, script):
    other = 'echo $NEVER\nfalse\nexport OTHER="$1"\n'
    ended = start(
        "echo $A $OTHER", {".profile.d/a.sh": script, ".profile.d/b.sh": other + "true\n"}, words=("web", "x y")
    )
    record_property("seen", ended.stdout.strip())
    assert (ended.code, ended.stdout, ended.stderr) == (0, "\n1 a x y\n" if "--" in script else "\n1 x y x y\n", "")


@pytest.mark.kind("start")
def test_limits_and_folder_of_a_script_that_exits_stay(start, record_property):
    ended = start("pwd; ulimit -n", {".profile": "mkdir -p /tmp/here; cd /tmp/here; ulimit -n 77; exit 1\n"})
    record_property("seen", ended.stdout)
    assert (ended.code, ended.stdout) == (0, "/tmp/here\n77\n")


STOPPED = {
    "a simple command": ("node s.js", "", EVERY_SIGNAL),
    "npm start": ("npm start", "node s.js", EVERY_SIGNAL),
    "npm start, one signal": ("npm start", "node s.js", ONE_SIGNAL),
    "npm start of cd and a command": ("npm start", "cd . && node s.js", ONE_SIGNAL),
    "npm start of a list": ("npm start", "node s.js; echo after", ONE_SIGNAL),
    "npm run in npm start": ("npm start", "npm run --silent serve", ONE_SIGNAL),
    "sh -c": ("sh -c 'node s.js'", "", ONE_SIGNAL),
    "sh -c of a list": ("sh -c 'node s.js; echo after'", "", ONE_SIGNAL),
    "cd and a command": ("mkdir -p /tmp/srv && cd /app && node s.js", "", ONE_SIGNAL),
    "a variable and a command": ("export A=1; node s.js", "", ONE_SIGNAL),
    "a script": ("sh run.sh", "", ONE_SIGNAL),
    "a pipe": ("node s.js 2>&1 | cat", "", ONE_SIGNAL),
    "a group": ("(cd / && node /app/s.js)", "", ONE_SIGNAL),
    "a trap and a command": ("trap 'echo caught' TERM; node s.js; true", "", ONE_SIGNAL),
    "a trap that hands it on": (
        "node s.js & pid=$!; trap 'kill $pid; wait $pid; exit $?' TERM; wait $pid", "", ONE_SIGNAL,
    ),
    "beside a process of the background": ("(sleep 1000 &); node s.js", "", ONE_SIGNAL),
}  # fmt: skip


@pytest.mark.kind("start")
@pytest.mark.parametrize("case", STOPPED)
def test_sigterm_reaches_the_app_behind(start, record_property, case):
    command, script, server = STOPPED[case]
    package = PACKAGE % script if script else "{}"
    package = package.replace('"start"', '"serve": "node s.js", "start"')
    files = {"s.js": server, "package.json": package, "run.sh": "echo before\nnode s.js\necho after\n"}
    ended = start(command, files, stop=True, options=("--env", "npm_config_cache=/tmp/npm"))
    record_property("seen", f"BYE, exit {ended.code} after {ended.stop_seconds:.1f} s")
    assert ("BYE 1\n" in ended.stdout, ended.code) == (True, 0), ended
    assert ended.stop_seconds < GRACE_SECONDS


@pytest.mark.kind("start")
@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("exit 7", 7),
        ("kill -9 $$", 137),
        ("sh -c 'kill -SEGV $$'", 139),
        ("none-such", 127),
        ("/app", 126),
        ("true", 0),
    ],
)
def test_exit_codes_are_passed_through(start, record_property, command, code):
    ended = start(command, {})
    record_property("seen", f"{command}: {ended.code}")
    assert ended.code == code


@pytest.mark.kind("start")
@pytest.mark.parametrize("name", ["HUP", "USR1", "INT", "QUIT", "WINCH"])
def test_other_signals_reach_the_app_too(start, record_property, name):
    program = f"import signal, sys, time\nsignal.signal(signal.SIG{name}, lambda *_: sys.exit(5))\n"
    program += "print('READY', flush=True)\nwhile True: time.sleep(0.02)\n"  # no pause(), which would miss a signal
    ended = start("python3 s.py", {"s.py": program}, stop=True, options=("--stop-signal", name))
    record_property("seen", f"exit {ended.code} of its own")
    assert ended.code == 5


@pytest.mark.kind("start")
def test_a_process_that_handles_no_signal_ends_at_once(start, record_property):
    program = "import time; print('READY', flush=True); time.sleep(100)"
    ended = start("python3 s.py", {"s.py": program}, stop=True)
    record_property("seen", f"exit {ended.code} after {ended.stop_seconds:.1f} s")
    assert ended.code == 143 and ended.stop_seconds < GRACE_SECONDS


@pytest.mark.kind("start")
def test_a_process_that_loses_its_parent_leaves_no_zombie(start, record_property):
    program = """
import glob, subprocess, time
for n in range(20):
    subprocess.run(["sh", "-c", "(sleep 0.1; exit 3) & exit 0"])
time.sleep(0.1)
def ended(): return [path for path in glob.glob("/proc/[0-9]*/stat") if ") Z " in open(path).read()]
until = time.monotonic() + 20
while (len(glob.glob("/proc/[0-9]*")) > 2 or ended()) and time.monotonic() < until: time.sleep(0.05)
print(len(ended()), "zombies,", len(glob.glob("/proc/[0-9]*")), "processes")
"""
    ended = start("exec python3 s.py", {"s.py": program})
    record_property("seen", ended.stdout.strip())
    assert ended.stdout == "0 zombies, 2 processes\n"


@pytest.mark.kind("start")
def test_config_vars_with_the_names_of_start_itself_reach_the_process(start, record_property):
    names = ("type", "processes", "command", "profile", "IFS_", "status", "shift")
    options = [option for name in names for option in ("--env", f"{name}=mine {name}")]
    ended = start("for n in " + " ".join(names) + '; do echo "${!n}"; done', {".profile": "false\n"}, options=options)
    record_property("seen", ended.stdout.splitlines())
    assert ended.stdout.splitlines() == [f"mine {name}" for name in names]
