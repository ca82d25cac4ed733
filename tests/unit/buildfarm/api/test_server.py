"""The API's process: what it has imported before its first request, and its socket."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from buildfarm.api.server import _listen
from buildfarm.errors import SetupError
from buildfarm.settings import Settings
from testkit.serving import free_port


@pytest.fixture
def settings():
    return Settings(api_host="127.0.0.1", api_port=free_port())


def test_parts_of_an_answer_do_not_wait_for_the_client(settings):
    with (
        _listen(settings) as listener,
        socket.create_connection((settings.api_host, settings.api_port)),
        listener.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_port_that_is_taken_is_named(settings):
    with _listen(settings), pytest.raises(SetupError, match=str(settings.api_port)):
        _listen(settings)


# Names of modules that stand for others, outside of the command line, where these others are not imported yet.
LATE = """
import sys
from buildfarm import LazyModule
from buildfarm.api.server import import_late

import_late()
names = [name for name in sys.modules if name.partition(".")[0] == "buildfarm" and "buildfarm.cli" not in name]
modules = [sys.modules[name] for name in names]
late = {found.__name__ for module in modules for found in vars(module).values() if isinstance(found, LazyModule)}
print(len(late), sorted(late - set(sys.modules)))
"""


def test_what_the_farm_imports_at_its_first_calls_is_there_before_the_first_request():
    done = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, check=True)
    count, _, missing = done.stdout.strip().partition(" ")
    assert int(count) > 20
    assert missing == "[]"


def test_what_only_commands_need_is_not_imported_to_serve():
    code = "import sys\nfrom buildfarm.api.server import import_late\nimport buildfarm.cli.api\nimport_late()\n"
    code += "print('buildfarm.gc.rollback' in sys.modules, 'buildfarm.client' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True False\n"
