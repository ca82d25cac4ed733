"""Steps that wait for their command: what they become, and which of them still can."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import threading
from contextlib import suppress
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workers.sandbox.output import EndMark
from workers.sandbox.started import CONFUSED, StepStarter, head_of, waiting_command

MARK = "0123456789abcdef"
# What hands on the input of a part is a child of the shell. Not every machine has pkill.
KILL_HEAD = """
for process in /proc/[0-9]*; do
  read -r name 2>/dev/null <$process/comm || continue
  if [ "$name" = head ] && grep -q "^PPid:.$1$" $process/status; then kill -9 ${process#/proc/}; fi
done
cat
"""
WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
SHOW = ["sh", "-c", 'printf "%s\\0" "$PWD" "$VALUE" "$@"; cat', "show"]


def become(folder, command, environment, rest=b""):
    waiting = [word.replace("/app", str(folder)) for word in waiting_command()]
    done = subprocess.run(
        waiting,
        input=head_of(command, environment) + b"\0" + rest,
        capture_output=True,
        check=False,
        cwd="/",
        env={"PATH": "/usr/bin:/bin"},
        timeout=60,
    )
    assert done.stdout[:1] == b".", "it says that it has its command"
    done.stdout = done.stdout[1:]
    return done


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=15
)
@given(arguments=st.lists(WORDS, max_size=4), value=WORDS, rest=st.binary(max_size=50))
def test_it_becomes_any_command_and_leaves_its_input_whole(tmp_path, arguments, value, rest):
    done = become(tmp_path, [*SHOW, *arguments], {"VALUE": value}, rest)
    words = [str(tmp_path), value, *arguments]
    assert done.stdout == "".join(f"{word}\0" for word in words).encode() + rest
    assert (done.returncode, done.stderr) == (0, b"")


def test_its_environment_is_what_was_given_beside_the_containers(tmp_path):
    found = become(tmp_path, ["env", "-0"], {"VALUE": "1\n2"}).stdout.decode().split("\0")[:-1]
    # A shell that finds this level counts from there as if it had found none.
    own = [line for line in found if line == "SHLVL=0" or line.startswith("_=")]
    assert sorted(set(found) - set(own)) == ["PATH=/usr/bin:/bin", "VALUE=1\n2"]


def test_its_end_is_the_commands_end(tmp_path):
    assert become(tmp_path, ["sh", "-c", "exit 7"], {}).returncode == 7
    assert become(tmp_path, ["sh", "-c", "kill -9 $$"], {}).returncode == -9
    assert become(tmp_path, ["no-such-program"], {}).returncode == 127


def test_without_a_command_it_just_ends():
    assert subprocess.run(waiting_command(), input=b"", check=False, timeout=60).returncode == 0


def test_it_runs_nothing_before_it_is_told_to_go_on(tmp_path):
    waiting = [word.replace("/app", str(tmp_path)) for word in waiting_command()]
    made = tmp_path / "made"
    done = subprocess.run(
        waiting, input=head_of(["touch", str(made)], {}), capture_output=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, b".")
    assert not made.exists()


@pytest.fixture
def shell(tmp_path):
    """A process that waits for commands."""
    command = [word.replace("/app", str(tmp_path)) for word in waiting_command()]
    piped = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    options = {"bufsize": 0, "env": {"PATH": "/usr/bin:/bin"}, "start_new_session": True}
    with subprocess.Popen(command, **piped, **options) as process:
        too_late = threading.Timer(60, os.killpg, (process.pid, signal.SIGKILL))  # a test that waits for it then fails
        too_late.start()
        yield process
        too_late.cancel()


def part(shell, command, stdin=b"", environment=None):
    """Runs a command as a part; what it writes, and its exit code."""
    shell.stdin.write(head_of(command, environment or {}, MARK, len(stdin)))
    assert shell.stdout.read(1) == b","
    shell.stdin.write(b"\0")
    feeding = threading.Thread(target=feed, args=(shell.stdin, stdin))
    feeding.start()
    found = []
    for stream in (shell.stdout, shell.stderr):
        output, end = b"", EndMark(MARK)
        while end.code is None and (byte := stream.read(1)):
            output += end.feed(byte)
        found.append(output + end.rest())
    feeding.join()
    return *found, end.code


def feed(pipe, content):
    with suppress(BrokenPipeError):
        pipe.write(content)


def test_programs_run_one_after_another_before_it_becomes_a_command(shell, tmp_path):
    assert part(shell, ["cat"], b"a\0b\n" * 9999) == (b"a\0b\n" * 9999, b"", 0)
    assert part(shell, ["sh", "-c", "printf x; printf y >&2; exit 7"]) == (b"x", b"y", 7)
    assert part(shell, ["cat"]) == (b"", b"", 0), "without an input of its own, it has none"
    assert part(shell, ["pwd"]) == (f"{tmp_path}\n".encode(), b"", 0)
    shell.stdin.write(head_of(["sh", "-c", "cat; exit 3"], {}))
    assert shell.stdout.read(1) == b"."
    assert shell.communicate(b"\0rest")[0] == b"rest"
    assert shell.returncode == 3


@pytest.mark.parametrize("command", [["true"], ["head", "-c", "5"]])
def test_what_a_program_does_not_read_is_not_the_next_command(shell, command):
    part(shell, command, head_of(["touch", "made"], {}) * 5000)
    assert part(shell, ["ls"]) == (b"", b"", 0)


@pytest.mark.parametrize(
    ("command", "code"), [(["false"], 1), (["no-such-program"], 127), (["sh", "-c", "kill -9 $$"], 137)]
)
def test_after_a_program_that_failed_with_input_left_nothing_runs(shell, tmp_path, command, code):
    *_, ended = part(shell, command, head_of(["touch", str(tmp_path / "made")], {}) * 5000)
    assert ended == code
    assert shell.wait(60) == CONFUSED
    assert not (tmp_path / "made").exists()


def test_a_program_that_got_only_some_of_its_input_has_no_success(shell):
    _, _, ended = part(shell, ["sh", "-c", KILL_HEAD, "kill", str(shell.pid)], b"x" * 5_000_000)
    assert ended is None
    assert shell.wait(60) == CONFUSED


@pytest.mark.parametrize("stray", [b"x", b"x\0", b"1\0" * 20])
def test_after_a_stray_byte_no_command_succeeds(shell, stray):
    part(shell, ["true"])
    shell.stdin.write(stray + head_of(["true"], {}))
    shell.stdin.close()
    assert shell.stdout.read(1) != b".", "it does not say that it has a command"
    assert shell.wait(60) != 0


def test_a_command_has_no_other_descriptors_than_a_step_has(tmp_path):
    found = become(tmp_path, ["sh", "-c", "ls /proc/self/fd | wc -w"], {})
    usual = subprocess.run(["sh", "-c", "ls /proc/self/fd | wc -w"], capture_output=True, check=True)
    assert found.stdout == usual.stdout


def test_a_program_that_is_killed_is_told_from_one_that_ends(shell):
    assert part(shell, ["sh", "-c", "kill -9 $$"]) == (b"", b"", 137)
    assert part(shell, ["no-such-program"])[2] == 127


def test_the_environment_of_a_part_is_not_that_of_the_next(shell):
    given = {"VALUE": "1", "word": "2", "PWD": "3"}
    first = part(shell, ["env"], environment=given)[0].decode().splitlines()
    assert {f"{name}={value}" for name, value in given.items()} <= set(first)
    second = part(shell, ["env"])[0].decode().splitlines()
    assert {line.partition("=")[0] for line in second} <= {"PATH", "SHLVL", "_"}


class Api:
    """An engine that starts steps; ``ends`` are the other ends of their connections."""

    def __init__(self):
        self.started = []
        self.ends = []
        self.connected = threading.Event()

    def exec_create(self, _, command, **options):
        self.started.append((command, options["environment"]))
        return {"Id": f"step-{len(self.started)}"}

    def exec_start(self, _, *, socket):
        assert socket
        return self.connect()

    def connect(self):
        ours, theirs = socket.socketpair()
        self.ends.append(theirs)
        self.connected.set()
        return ours


def taking(end, head, answer=b"."):
    """A process that takes its command, as the engine shows it."""
    assert end.recv(len(head), socket.MSG_WAITALL) == head
    end.sendall(b"\x01\0\0\0\0\0\0\x01" + answer)
    assert end.recv(1) == b"\0"


@pytest.fixture
def engine():
    api = Api()
    yield api
    for end in api.ends:
        end.close()


@pytest.fixture
def starter(engine):
    client = type("Client", (), {"api": engine})()
    starter = StepStarter(client, "container", "10000:10000")
    yield starter
    starter.close()


def test_a_step_that_waits_is_used_before_one_is_started(starter, engine):
    starter.start_ahead(1)
    took = threading.Thread(target=taking, args=(engine.ends[0], head_of(["true"], {"A": "1"})))
    took.start()
    first, second = (starter.start(["true"], {"A": "1"}) for _ in range(2))
    took.join()
    assert (first.id, second.id) == ("step-1", "step-2")
    assert engine.started[1] == (["true"], {"A": "1"})
    for step in (first, second):
        step.close()


@pytest.mark.parametrize("happened", ["its engine is gone", "it was just killed", "it says something", "more"])
def test_a_step_that_no_longer_waits_is_not_used(starter, engine, happened):
    starter.start_ahead(2)
    if happened == "it says something":
        engine.ends[0].sendall(b"bash: ")
    elif happened == "more":  # than the answer, in one frame with it
        more = threading.Thread(
            target=lambda: (engine.ends[0].recv(1), engine.ends[0].sendall(b"\x01\0\0\0\0\0\0\x02.x"))
        )
        more.start()
    elif happened == "it was just killed":
        killed = threading.Thread(target=lambda: (engine.ends[0].recv(1), engine.ends[0].close()))
        killed.start()
    else:
        engine.ends[0].close()
    took = threading.Thread(target=taking, args=(engine.ends[1], head_of(["true"], {})))
    took.start()
    step = starter.start(["true"], {})
    took.join()
    assert step.id == "step-2"
    step.close()


def test_a_part_leaves_its_process_to_the_next_command(starter, engine):
    head = head_of(["unpack"], {}, MARK, 7)
    took = threading.Thread(target=lambda: (engine.connected.wait(10), taking(engine.ends[0], head, b",")))
    took.start()
    step = starter.start_part(["unpack"], {}, MARK, 7)
    took.join()
    starter.wait_again(step)
    took = threading.Thread(target=taking, args=(engine.ends[0], head_of(["true"], {})))
    took.start()
    assert starter.start(["true"], {}).id == step.id == "step-1"
    took.join()
    assert [command for command, _ in engine.started] == [waiting_command()]
    step.close()


def test_a_part_that_no_process_takes_is_not_started(starter, engine):
    starter.start_ahead(1)
    engine.ends[0].close()
    assert starter.start_part(["unpack"], {}, MARK, 7) is None


def test_what_takes_a_command_as_a_part_is_not_used(starter, engine):
    starter.start_ahead(1)
    took = threading.Thread(target=answering, args=(engine.ends[0], head_of(["true"], {}), b","))
    took.start()
    step = starter.start(["true"], {})
    took.join()
    assert step.id == "step-2", "another one"
    assert engine.ends[0].recv(1) == b"", "it is told nothing more"
    step.close()


def test_what_takes_a_part_as_a_command_is_not_used(starter, engine):
    starter.start_ahead(1)
    took = threading.Thread(target=answering, args=(engine.ends[0], head_of(["true"], {}, MARK), b"."))
    took.start()
    assert starter.start_part(["true"], {}, MARK, 0) is None
    took.join()
    assert engine.ends[0].recv(1) == b"", "it is told nothing more"


def answering(end, head, answer):
    end.recv(len(head), socket.MSG_WAITALL)
    end.sendall(b"\x01\0\0\0\0\0\0\x01" + answer)


def test_those_that_are_left_lose_their_input(starter, engine):
    starter.start_ahead(2)
    starter.close()
    assert [end.recv(1) for end in engine.ends] == [b"", b""]


@pytest.mark.parametrize("output", [b"\x01\0\0\0\0\0\0\x06first\n", b""])
def test_output_that_comes_with_the_head_of_the_engines_answer_is_not_lost(output):
    """As on a busy machine: the client reads the head when the step has begun to write."""
    engine, ours = socket.socketpair()
    with engine, ours:
        engine.sendall(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\n\r\n" + output)
        response = http.client.HTTPResponse(ours)
        response.begin()
        attached = response.fp.raw
        attached._response = SimpleNamespace(raw=SimpleNamespace(_fp=response))
        api = SimpleNamespace(exec_create=lambda *_, **__: {"Id": "step"}, exec_start=lambda *_, **__: attached)
        step = StepStarter(SimpleNamespace(api=api), "container", "10000:10000").start(["true"], {})
        assert step.early == output
        assert step.waits() == (not output)
        engine.sendall(b"more")
        assert step.stream.recv(100) == b"more"
        response.close()
        step.close()
