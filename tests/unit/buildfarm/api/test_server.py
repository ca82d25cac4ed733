"""The API's socket: an answer in two parts comes at once."""

from __future__ import annotations

import socket

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
