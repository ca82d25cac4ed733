"""The engine's framed output, taken apart; and a sandbox whose image was removed."""

from __future__ import annotations

import socket
import struct
from types import SimpleNamespace

import pytest
from docker.errors import APIError, ImageNotFound
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.errors import NodeError
from workers.sandbox.container import Sandbox, Sandboxes
from workers.sandbox.output import CAPTURE_BYTES_MAX, Output
from workers.sandbox.started import StartedStep

FRAMES = st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(min_size=1, max_size=50)), max_size=20)


def encode(frames):
    return b"".join(struct.pack(">BxxxL", kind, len(payload)) + payload for kind, payload in frames)


@given(FRAMES, st.integers(1, 40), st.booleans())
def test_frames_survive_any_cut(frames, step, capture):
    logged = bytearray()
    output = Output(logged.extend, capture)
    stream = encode(frames)
    for at in range(0, len(stream), step):
        output.feed(stream[at : at + step])
    assert bytes(output.captured) == b"".join(payload for kind, payload in frames if capture and kind == 1)
    assert bytes(logged) == b"".join(payload for kind, payload in frames if not capture or kind == 2)


def test_what_is_captured_has_a_bound():
    output = Output(lambda piece: None, True)
    for _ in range(10):
        output.feed(encode([(1, b"x" * 20_000)]))
    assert len(output.captured) == CAPTURE_BYTES_MAX
    assert output.cut


def test_output_that_just_fits_is_not_cut():
    output = Output(lambda piece: None, True)
    for _ in range(4):
        output.feed(encode([(1, b"x" * (CAPTURE_BYTES_MAX // 4))]))
    assert len(output.captured) == CAPTURE_BYTES_MAX
    assert not output.cut
    output.feed(encode([(2, b"x"), (1, b"x")]))
    assert output.cut


def test_output_is_read_to_its_end_though_the_step_takes_no_more_input():
    ours, theirs = socket.socketpair()
    theirs.sendall(encode([(1, b"the last words")]))
    theirs.close()  # what is still to be sent cannot be
    api = SimpleNamespace(exec_inspect=lambda _: {"Running": False, "ExitCode": 0})
    steps = SimpleNamespace(
        start=lambda *_: StartedStep("s1", ours, ours), client=SimpleNamespace(api=api), container_id="c1"
    )
    logged = bytearray()
    assert Sandbox(steps, 10_000, 60, "builds", log=logged.extend).run(["true"], stdin=[b"x" * 10]).code == 0
    assert logged == b"the last words"


class Engine:
    """An engine that has no image until it is pulled; ``removed`` are the containers that were removed."""

    def __init__(self):
        self.images, self.running, self.removed = set(), [], []
        self.containers = SimpleNamespace(create=self.create)
        self.api = SimpleNamespace(start=self.running.append, remove_container=self.remove)

    def create(self, image, **options):
        if image not in self.images:
            raise ImageNotFound("no such image")
        return SimpleNamespace(id="c1")

    def remove(self, container, **options):
        self.removed.append(container)


SPEC = SimpleNamespace(options=lambda *_: {}, network="builds")
WORKSPACE = SimpleNamespace(owner=10_000)


def test_an_image_that_was_removed_is_brought_back_once():
    engine = Engine()
    with Sandboxes(engine, SPEC, 60, engine.images.add).make("builder", "b", WORKSPACE, {}) as sandbox:
        assert (sandbox.container_id, engine.running) == ("c1", ["c1"])
    assert engine.removed == ["c1"]


def test_an_image_that_does_not_come_back_is_a_failure_of_the_node():
    restored = []
    with (
        pytest.raises(NodeError, match="no such image"),
        Sandboxes(Engine(), SPEC, 60, restored.append).make("builder", "b", WORKSPACE, {}),
    ):
        pass
    assert restored == ["builder"]


def test_a_box_that_something_else_removes_may_still_use_the_network_that_it_got():
    engine = Engine()
    engine.images.add("builder")
    boxes = Sandboxes(engine, SPEC, 60)

    def remove(container, **options):
        raise APIError("removal is in progress", SimpleNamespace(status_code=409))

    engine.api.remove_container = remove
    with boxes.make("builder", "b", WORKSPACE, {}):
        pass
    with (
        pytest.raises(NodeError, match="else is removing"),
        boxes.make("builder", "b", WORKSPACE, {}, network="container:p"),
    ):
        pass
