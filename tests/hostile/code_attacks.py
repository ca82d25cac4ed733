"""Code that attacks the box it runs in, and the limits of the box."""

from __future__ import annotations

import shutil
import time

from buildfarm.model import State
from tests.hostile.arena import Arena
from tests.hostile.attack import Outcome, attack, fails_with, probes_held, succeeds

ESCAPES = r"""
through 'write /usr' touch /usr/x
through 'write /etc' touch /etc/x
through 'write /buildpacks' touch /buildpacks/x
through 'write the unpacker' tee -a /usr/lib/buildfarm/unpack
through 'remount the root' mount -o remount,rw /
through 'mount tmpfs' mount -t tmpfs x /tmp
through 'mount proc' mount -t proc proc /tmp
through 'new user namespace' unshare --user --map-root-user true
through 'new mount namespace' unshare --mount true
through 'enter pid 1' nsenter --target 1 --mount true
through 'chroot' chroot / true
through 'become root' su -c true
through 'device node' mknod /tmp/mem c 1 1
through 'read a disk' head -c 1 /dev/vda
through 'read memory' head -c 1 /dev/mem
through 'read kcore' head -c 1 /proc/kcore
through 'read shadow' cat /etc/shadow
through 'write sysctl' tee /proc/sys/kernel/core_pattern
through 'write sysrq' tee /proc/sysrq-trigger
through 'write cgroup' bash -c 'cd /sys/fs/cgroup; echo 1000000000 | tee memory/memory.limit_in_bytes memory.max'
through 'release agent' tee /sys/fs/cgroup/memory/release_agent
through 'raise open files' bash -c 'ulimit -n 1000000'
through 'raise core size' bash -c 'ulimit -c unlimited'
through 'engine socket' test -e /var/run/docker.sock -o -e /run/docker.sock -o -e /run/containerd
through 'environment of pid 1' cat /proc/1/environ
through 'memory of pid 1' head -c 1 /proc/1/mem
through 'root of pid 1' ls /proc/1/root/
cat >calls.py <<'PYTHON'
import ctypes, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *numbers):
    result = libc.syscall(*numbers)
    print(("THROUGH " if result >= 0 else "held ") + name, flush=True)
call("io_uring", 425, 1, ctypes.create_string_buffer(512))
call("ptrace", 101, 0, 0, 0, 0)
call("bpf", 321, 0, ctypes.create_string_buffer(128), 128)
call("keyctl", 250, 0, -3, 0)
call("add_key", 248, b"user", b"x", b"y", 1, -3)
call("userfaultfd", 323, 0)
call("perf_event_open", 298, ctypes.create_string_buffer(128), 0, -1, -1, 0)
call("unshare", 272, 0x10000000)
call("setns", 308, 0, 0)
call("open_by_handle_at", 304, -100, ctypes.create_string_buffer(64), 0)
call("init_module", 175, 0, 0, b"")
call("kexec_load", 246, 0, 0, 0, 0)
call("clock_settime", 227, 0, ctypes.create_string_buffer(16))
call("sethostname", 170, b"x", 1)
call("swapon", 167, b"/tmp/x", 0)
call("move_mount", 429, -1, b"", -1, b"", 0)
call("fsopen", 430, b"ext4", 0)
for name, family, kind, protocol in (("vsock", 40, 1, 0), ("raw socket", 2, 3, 1), ("packet socket", 17, 3, 3),
                                     ("alg", 38, 5, 0), ("bluetooth", 31, 3, 1), ("tipc", 30, 1, 0), ("can", 29, 3, 1)):
    try:
        socket.socket(family, kind, protocol).close()
        print("THROUGH", name)
    except OSError:
        print("held", name)
PYTHON
python3 calls.py
rm calls.py
"""


@attack("each of 51 ways out of the box or into the kernel is closed", quick=True)
def escape_probe(arena: Arena) -> Outcome:
    return probes_held(arena, arena.script(ESCAPES), 51)


@attack("the box has a bounded number of processes, and dies with the build", quick=True)
def fork_bomb(arena: Arena) -> Outcome:
    return fails_with(
        arena, arena.script("bomb() { bomb | bomb & }; bomb; sleep 2; exit 1"), "app.compile", "app.timeout"
    )


@attack("ended by its own memory limit, and told so")
def memory_hog(arena: Arena) -> Outcome:
    return fails_with(arena, arena.script("python3 -c 'x = bytearray(10 ** 9)'"), "app.out_of_memory")


@attack("files in shared memory count as memory")
def shared_memory_hog(arena: Arena) -> Outcome:
    script = "for n in $(seq 20); do head -c 60000000 /dev/zero >/dev/shm/$n || exit 1; done"
    return fails_with(arena, arena.script(script), "app.out_of_memory", "app.compile")


@attack("it fills its own disk and no other")
def disk_filler(arena: Arena) -> Outcome:
    before = _free(arena)
    told, holds = fails_with(arena, arena.script("cat /dev/zero >/tmp/full"), "app.too_large")
    return f"{told}; the node's free disk changed by {abs(_free(arena) - before) / 1e6:.0f} MB", holds


@attack("it uses up its own inodes and no others")
def inode_filler(arena: Arena) -> Outcome:
    return fails_with(arena, arena.script("mkdir d; cd d; seq 40000 | xargs touch"), "app.too_large")


@attack("it fails where it opens more files than its limit")
def file_descriptor_hog(arena: Arena) -> Outcome:
    script = "python3 -c 'f = [open(\"/dev/null\") for n in range(10 ** 6)]' 2>&1 | tail -1; exit 3"
    told, holds = fails_with(arena, arena.script(script), "app.compile")
    return told, holds


@attack("the log stops at its limit and says so; the build goes on to its end or its deadline")
def a_gigabyte_of_output(arena: Arena) -> Outcome:
    started = time.monotonic()
    ended = arena.ended(arena.script("head -c 1000000000 /dev/zero | tr '\\0' 'y' | fold -w 99; echo; echo THE END"))
    seconds = time.monotonic() - started
    text = arena.text(ended)
    marked = "is over its limit" in text
    return f"{ended.state} in {seconds:.0f} s; {len(text):,} characters kept, marked: {marked}", (
        ended.attempt == 1 and marked and len(text) < 1_200_000
    )


@attack("one endless line is cut, and costs no memory")
def a_line_without_an_end(arena: Arena) -> Outcome:
    ended = arena.ended(arena.script("head -c 5000000 /dev/zero | tr '\\0' 'x'; echo; echo THE END"))
    lines = arena.text(ended).splitlines()
    cut = [line for line in lines if line.endswith(" [cut]")]
    failure = ended.failure.message if ended.failure else ""
    told = f"{ended.state} {failure}, cut to {[len(line) for line in cut]} characters"
    return told, ended.state is State.SUCCEEDED and len(cut) == 1 and max(map(len, lines)) < 4100


@attack("ended after the silence limit, and told so")
def endless_silence(arena: Arena) -> Outcome:
    return fails_with(arena, arena.script("trap '' TERM INT HUP; while true; do sleep 1; done"), "app.timeout")


@attack("ended after the silence limit too")
def output_closed_and_running_on(arena: Arena) -> Outcome:
    script = "cp hang /tmp/buildpacks/nodejs/bin/release"
    hang = "#!/bin/sh\nexec >&- 2>&-\nsleep 600\n"
    return fails_with(arena, arena.script(script, files={"hang": hang}), "app.timeout")


@attack("what is left behind in the background is dead before the export", quick=True)
def detached_daemons(arena: Arena) -> Outcome:
    script = """
linger='trap "" TERM HUP; while true; do date >>/app/alive; sleep 0.1; done'
for n in $(seq 20); do setsid nohup bash -c "$linger" >/dev/null 2>&1 </dev/null & done
sleep 1
"""
    started = time.monotonic()
    built = arena.ended(arena.script(script))
    seconds = time.monotonic() - started
    return f"{built.state} after {seconds:.0f} s, {len(arena.left_behind())} left", built.state is State.SUCCEEDED


@attack("only its own files go")
def deleting_everything(arena: Arena) -> Outcome:
    script = "rm -rf --no-preserve-root / /app /cache /tmp /buildpacks 2>/dev/null; ls /usr/bin | wc -l"
    told, holds = fails_with(arena, arena.script(script), "app.compile")
    return told, holds


@attack("the box outlives it, and the failure is the app's", quick=True)
def killing_pid_1_and_all_others(arena: Arena) -> Outcome:
    return fails_with(
        arena, arena.script("kill -9 1; kill -TERM 1; pkill -9 sleep; kill -9 -1; sleep 1"), "app.compile"
    )


@attack("a crash leaves no memory image behind")
def core_dump_of_a_secret(arena: Arena) -> Outcome:
    seek = "find /app /tmp /cache -maxdepth 2 -name 'core*' -type f -newer package.json | grep . || echo no core"
    built = succeeds(arena, arena.script(f"bash -c 'kill -SEGV $$'; {seek}"))
    return "no core file", "no core" in arena.text(built)


@attack("nothing in a log steers a terminal", quick=True)
def escapes_in_the_log(arena: Arena) -> Outcome:
    script = r"""printf '\e[2J\e]0;owned\a\e]8;;http://evil\e\\link\e]8;;\e\\ \x9b31m\n\u202e txt.exe\n \r over\n'
printf '%b\n' '\eP1$r\e\\' '\x00\x01\x07\x08\x7f' '\xc2\x9b31m' '\e]52;c;aWQ=\a'"""
    built = succeeds(arena, arena.script(script))
    bad = [char for char in arena.text(built) if (ord(char) < 32 and char not in "\t\n") or 0x7F <= ord(char) < 0xA0]
    bidi = [char for char in arena.text(built) if char in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"]
    shown = "<U+202E>" in arena.text(built)
    return (
        f"{len(bad)} control characters, {len(bidi)} bidi overrides, shown as text: {shown}",
        not bad and not bidi and shown,
    )


@attack("read in no time, or refused", quick=True)
def procfile_bombs(arena: Arena) -> Outcome:
    started = time.monotonic()
    bombs = ["web: x" + " " * 60_000 + "y", "\n".join(f"p{n}: x" for n in range(3000)), "web: \x1b]0;x\x07",
             "../../etc/cron.d/x: true", "x" * 70_000]  # fmt: skip
    outcomes = []
    for bomb in bombs:
        ended = arena.ended(
            arena.submit(arena.source({"Procfile": bomb, "index.html": ""}), "attack", buildpacks=("procfile",))
        )
        outcomes.append(ended.failure.code if ended.failure else str(ended.state))
    linked = arena.ended(arena.script("rm Procfile; ln -s /etc/shadow Procfile"))
    outcomes.append(linked.failure.code if linked.failure else str(linked.state))
    return f"{', '.join(outcomes)} in {time.monotonic() - started:.0f} s", outcomes == [
        "succeeded",
        *["app.compile"] * 5,
    ]


@attack("read in no time, or refused")
def yaml_bombs(arena: Arena) -> Outcome:
    merges = "a0: &a0 {x: y}\n" + "".join(
        f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 40)
    )
    deep = "default_process_types: " + "[" * 30_000
    path = "default_process_types:\n  ../../../etc/cron.d/x: true\n"
    code = "!!python/object/apply:os.system ['touch /tmp/owned']\n"
    outcomes = []
    for bomb in (merges, deep, path, code, "x" * 200_000):
        script = "cp bomb.yaml /tmp/; printf '#!/bin/sh\\ncat /tmp/bomb.yaml\\n' >/tmp/buildpacks/nodejs/bin/release"
        ended = arena.ended(arena.script(script, files={"bomb.yaml": bomb}))
        outcomes.append(ended.failure.code if ended.failure else str(ended.state))
    return ", ".join(outcomes), outcomes == ["succeeded", *["app.compile"] * 4]


def _free(arena: Arena) -> int:
    return shutil.disk_usage(arena.workspaces).free


# Each would make some program run /app/evil, load it, or report that it cannot.
STEERING = {
    "PATH": "/app",
    "BASH_ENV": "/app/evil",
    "ENV": "/app/evil",
    "PS4": "$(/app/evil)",
    "SHELLOPTS": "xtrace",
    "PROMPT_COMMAND": "/app/evil",
    "LD_PRELOAD": "/app/evil",
    "LD_AUDIT": "/app/evil",
    "LD_LIBRARY_PATH": "/app",
    "GCONV_PATH": "/app",
    "PYTHONPATH": "/app",
    "PYTHONSTARTUP": "/app/sitecustomize.py",
    "TAR_OPTIONS": "--checkpoint=1 --checkpoint-action=exec=/app/evil",
    "NODE_OPTIONS": "--require /app/evil.js",
    "BUILDFARM_WITH_VARS": "/app/evil",
    "BUILDFARM_PACKAGES": "/app/evil",
    "buildfarm_folder": "/app",
    "IFS": "/",
    "UID": "0",
    "HOME": "/tmp",
    "GIT_SSH_COMMAND": "/app/evil",
    "folder": "/app",
    "name": "evil",
}
EVIL: dict[str, str | bytes] = {
    "evil": "#!/bin/bash\necho STEERED\n",
    "evil.js": "console.log('STEERED')\n",
    "sitecustomize.py": "print('STEERED')\n",
    "index.html": "hello",
    "Procfile": "web: true\n",
}
EVIL |= dict.fromkeys(("bash", "cat", "cp", "jq", "python3", "sha256sum", "tar", "mkdir", "bin/compile"), EVIL["evil"])


@attack("no variable of env steers a program of the farm's own; each is in ENV_DIR as it was given", quick=True)
def hostile_env(arena: Arena) -> Outcome:
    source = arena.source(EVIL)
    for path in source.rglob("*"):
        path.chmod(0o755)
    built = arena.ended(arena.submit(source, "env", env=STEERING))
    text = arena.text(built)
    steered = [line for line in text.splitlines() if "STEERED" in line or "/app/evil" in line or "preload" in line]
    checks = "\n".join(
        f"""[ "$(cat /platform/env/{name})" = '{value}' ] && echo 'held {name}' || echo 'THROUGH {name}'"""
        for name, value in STEERING.items()
    )
    given = {name: value for name, value in STEERING.items() if name != "NODE_OPTIONS"}
    checks = "\n".join(line for line in checks.splitlines() if "NODE_OPTIONS" not in line)
    told, held = probes_held(arena, arena.script(checks, "env-dir", env=given), len(given))
    holds = built.state is State.SUCCEEDED and not steered and held
    return (
        f"{built.state} with {len(STEERING)} hostile variables, steered: {steered[:2] or 'nothing'}; ENV_DIR: {told}",
        holds,
    )
