"""The first process of an app's container: signals reach everybody once, and its exit code is the app's."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[3] / "images/builder/programs/init.c"
# Says that it is ready, and when it is asked to stop takes its leave with 9. It does not call pause(), which a signal
# just before it does not end.
SERVER = """
import signal, sys, time
def leave(*_):
    print("leaves", flush=True)
    sys.exit(9)
signal.signal(signal.SIGTERM, leave)
print("ready", flush=True)
while True:
    time.sleep(0.02)
"""


@pytest.fixture(scope="module")
def init(compile_program):
    return compile_program("init")


def stopped(*command):
    """What a server prints that gets SIGTERM once it is ready, and the exit code."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        try:
            return process.communicate(timeout=60)[0], process.returncode
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("script", "code"), [("exit 7", 7), ("kill -KILL $$", 137), ("(sleep 0.1; exit 3) & wait $!", 3)]
)
def test_its_exit_code_is_the_commands(init, script, code):
    assert subprocess.run([init, "bash", "-c", script], check=False, timeout=20).returncode == code


@pytest.mark.parametrize(
    ("form", "codes"),
    [("{server}", {9}), ("{server}; echo never", {9}), ("{server} | cat; echo never", {0, 9})],  # the last one's to end
)
def test_a_server_is_asked_to_stop_once_whatever_shell_is_above_it(init, tmp_path, form, codes):
    (tmp_path / "server.py").write_text(SERVER)
    server = f"{sys.executable} {tmp_path / 'server.py'}"
    text, code = stopped(init, "bash", "-c", form.format(server=server))
    assert text == "leaves\n"
    assert code in codes


def test_it_ends_where_its_starter_ignores_what_ends(init):
    done = subprocess.run(["bash", "-c", f"trap '' CHLD; exec {init} bash -c 'exit 3'"], check=False, timeout=20)
    assert done.returncode == 3
