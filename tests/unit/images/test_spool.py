"""The spool between a step and its log: whatever reads it slowly, what writes neither waits nor fails."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from testkit.builds import wait_for

SOURCE = Path(__file__).parents[3] / "images/builder/programs/spool.c"
KEPT_BYTES = 4 << 20
LINE_COST_BYTES = 4
PIPES_BYTES = (1 << 20) + (128 << 10)  # before the spool and behind it, whatever it has not come to yet
NON_BLOCKING = """
import fcntl, os, sys, time
fcntl.fcntl(1, fcntl.F_SETFL, fcntl.fcntl(1, fcntl.F_GETFL) | os.O_NONBLOCK)
"""


@pytest.fixture(scope="module")
def spool(compile_program):
    """With less room than in the builder, so that a flood is soon larger."""
    return compile_program("spool", f"-DKEPT_BYTES={KEPT_BYTES}")


def run(*command, **options):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options)


def read_late(spool, *command, until):
    """The log of a command that nobody reads until the condition holds."""
    reader, writer = os.pipe()
    with subprocess.Popen([spool, *command], stdout=writer, stderr=writer) as process:
        os.close(writer)
        with os.fdopen(reader) as pipe:
            wait_for(until, 120)
            return pipe.read(), process.wait()


@pytest.mark.kind("log")
@pytest.mark.parametrize(
    "printed",
    ["seq 1 300000", "seq 1 1000000", "yes 2>/dev/null | head -c 20000000", "head -c 20000000 /dev/zero; echo"],
)
def test_a_step_that_prints_more_than_is_read_ends_well(spool, tmp_path, printed, record_property):
    done = tmp_path / "done"
    script = f"{sys.executable} -c '{NON_BLOCKING}' && set -e && {printed} && echo the end && touch {done}"
    text, code = read_late(spool, "bash", "-c", script, until=done.exists)
    lines = text.splitlines()
    record_property("seen", f"exit {code}, {len(lines)} lines, the last: {lines[-1]}")
    assert (code, lines[-1], done.exists()) == (0, "the end", True)
    assert len(text) < KEPT_BYTES + PIPES_BYTES + 65536
    assert len(lines) < KEPT_BYTES // (LINE_COST_BYTES + 2) + PIPES_BYTES // 2 + 65536


@pytest.mark.kind("log")
def test_a_process_of_the_background_that_makes_the_pipe_non_blocking_harms_nobody(spool, tmp_path, record_property):
    done, ready = tmp_path / "done", tmp_path / "ready"
    (tmp_path / "n.py").write_text(
        f"{NON_BLOCKING}\nopen('{ready}', 'w').close()\nprint(1, flush=True)\ntime.sleep(20)"
    )
    waits = f"while [ ! -e {ready} ]; do sleep 0.01; done; set -e"
    script = f"{sys.executable} {tmp_path}/n.py & pid=$!; {waits}; seq 1 300000; echo end; kill $pid; touch {done}"
    text, code = read_late(spool, "bash", "-c", script, until=done.exists)
    record_property("seen", f"exit {code}, ends with {text.splitlines()[-1]}")
    assert (code, text.splitlines()[-1]) == (0, "end")


def test_what_is_read_in_time_is_whole_and_in_order(spool):
    script = "for n in 1 2 3; do echo out $n; echo err $n >&2; done"
    assert run(spool, "bash", "-c", script).stdout == "".join(f"out {n}\nerr {n}\n" for n in (1, 2, 3))


def test_a_gap_says_how_many_lines_are_missing(spool, tmp_path):
    done = tmp_path / "done"
    text, _ = read_late(spool, "bash", "-c", f"seq 1 1000000; touch {done}", until=done.exists)
    assert "lines are missing here" in text
    expected = 1
    for line in text.splitlines():
        if "lines are missing here" in line:
            expected += int(line[1:].split()[0])
        else:
            assert int(line) == expected
            expected += 1
    assert expected == 1_000_001


def test_a_log_within_the_farms_bound_is_whole_however_late_it_is_read(compile_program, tmp_path):
    done = tmp_path / "done"
    script = f"seq -f '%099.0f' 1 400000; touch {done}"
    text, code = read_late(compile_program("spool"), "bash", "-c", script, until=done.exists)
    assert code == 0
    assert text == "".join(f"{number:099}\n" for number in range(1, 400_001))


def test_only_the_log_is_spooled_where_standard_output_is_something_else(spool):
    done = subprocess.run([spool, "sh", "-c", "echo result; echo log >&2"], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("result\n", "log\n")


@pytest.mark.parametrize(
    ("command", "code"),
    [(["sh", "-c", "exit 7"], 7), (["sh", "-c", "kill -9 $$"], 137), (["/none"], 127), (["/etc"], 126), (["true"], 0)],
)
def test_exit_codes_are_the_commands(spool, command, code):
    assert run(spool, *command).returncode == code


def test_a_script_without_an_interpreter_is_run_as_bash_would(spool, tmp_path):
    script = tmp_path / "script"
    script.write_text('[[ $1 == a* ]] && echo "$BASH_VERSION"')
    script.chmod(0o755)
    assert run(spool, str(script), "abc").stdout[:1] in tuple("3456789")


def test_what_a_filter_behind_the_step_still_writes_is_kept(spool):
    done = run(spool, "bash", "-c", "exec > >(sleep 0.1; sed s/^/x/); echo 1; echo 2")
    assert done.stdout == "x1\nx2\n"


def test_a_process_of_the_background_does_not_hold_the_step_and_goes_on(spool, tmp_path):
    ended, wrote = tmp_path / "ended", tmp_path / "wrote"
    script = f"(while [ ! -e {ended} ]; do sleep 0.05; done; echo late; touch {wrote}) & echo now"
    assert run(spool, "bash", "-c", script, timeout=60).stdout == "now\n"
    ended.touch()
    wait_for(wrote.exists, 60)


def test_who_stops_reading_ends_nothing(spool):
    with subprocess.Popen([spool, "sh", "-c", "seq 1 200000; exit 3"], stderr=subprocess.PIPE) as process:
        process.stderr.close()
        assert process.wait() == 3


def test_the_log_blocks_again_afterwards(spool):
    reader, writer = os.pipe()
    subprocess.run([spool, "echo", "x"], stdout=writer, stderr=writer, check=True)
    assert not fcntl.fcntl(writer, fcntl.F_GETFL) & os.O_NONBLOCK
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("end", ["", "; echo; echo next"])
def test_a_line_longer_than_all_that_is_kept_is_dropped_to_its_end(spool, tmp_path, end):
    done = tmp_path / "done"
    script = (
        f"echo first; for n in 1 2 3; do head -c 4000000 /dev/zero | tr '\\0' x; done; printf secret{end}; touch {done}"
    )
    text, code = read_late(spool, "bash", "-c", script, until=done.exists)
    *lines, last = text.splitlines()
    assert (code, lines[0]) == (0, "first")
    assert last == ("next" if end else "[1 lines are missing here: they came faster than they could be stored]")
    assert "secret" not in text and "1 lines are missing here" in text


@pytest.mark.kind("log")
@pytest.mark.parametrize("call", ["fcntl.fcntl(1, fcntl.F_SETFL, os.O_NONBLOCK)", "os.set_blocking(1, False)"])
def test_standard_output_stays_blocking_and_other_files_do_as_they_are_asked(spool, call, record_property):
    program = f"""
import fcntl, os
{call}
reader, writer = os.pipe()
os.set_blocking(writer, False)
fcntl.fcntl(reader, fcntl.F_SETFL, os.O_NONBLOCK)
print(os.get_blocking(1), os.get_blocking(writer), os.get_blocking(reader))
"""
    seen = run(spool, sys.executable, "-c", program).stdout
    record_property("seen", seen)
    assert seen == "True False False\n"


def test_it_ends_where_its_starter_ignores_what_ends(spool):
    done = run("bash", "-c", f"trap '' CHLD; exec {spool} bash -c 'exit 3'", timeout=20)
    assert done.returncode == 3


def processor_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_command_that_is_stopped_costs_nothing(spool, tmp_path):
    script = f"echo $$ >{tmp_path / 'new'} && mv {tmp_path / 'new'} {tmp_path / 'pid'}; kill -STOP $$; exit 3"
    with subprocess.Popen([spool, "bash", "-c", script]) as process:
        try:
            wait_for(lambda: is_stopped(tmp_path / "pid"), 60)
            before, stopped = processor_seconds(process.pid), time.monotonic()
            while time.monotonic() < stopped + 0.5:
                time.sleep(0.05)
            assert processor_seconds(process.pid) - before < 0.2
        finally:
            os.kill(int((tmp_path / "pid").read_text()), signal.SIGCONT)
        assert process.wait() == 3


def is_stopped(file):
    if not file.exists():
        return False
    return Path(f"/proc/{int(file.read_text())}/stat").read_text().rpartition(")")[2].split()[0] == "T"
