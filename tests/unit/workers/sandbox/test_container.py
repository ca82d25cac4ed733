"""The engine's framed output, taken apart; and a sandbox whose image was removed."""

from __future__ import annotations

import socket
import struct
import threading
from itertools import repeat
from types import SimpleNamespace

import pytest
from docker.errors import APIError, ImageNotFound
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.errors import NodeError, OutOfMemoryError
from workers.sandbox.container import Sandbox, Sandboxes, WrongLengthError
from workers.sandbox.output import CAPTURE_BYTES_MAX, EndMark, Output
from workers.sandbox.started import CONFUSED, StartedStep

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


MARK = "0123456789abcdef"


@given(st.lists(st.binary(min_size=1, max_size=30) | st.just(b"\0" + b"012345"), max_size=8), st.integers(1, 20))
def test_the_end_of_a_part_is_found_wherever_its_output_is_cut(pieces, step):
    stream = b"".join(pieces)
    end, output = EndMark(MARK), b""
    whole = stream + b"\0" + MARK.encode() + b"042"
    for at in range(0, len(whole), step):
        assert end.code is None
        output += end.feed(whole[at : at + step])
    assert (output, end.code) == (stream, 42)


@given(st.binary(max_size=60), st.integers(1, 20))
def test_output_without_a_mark_is_whole_once_nothing_more_comes(stream, step):
    logged = bytearray()
    output = Output(logged.extend, False, MARK)
    for at in range(0, len(stream), step):
        output.feed(encode([(1, stream[at : at + step])]))
    output.end()
    assert (bytes(logged), output.code) == (stream, None)


class Process:
    """A process in a sandbox that takes one part, reads ``reads`` bytes of its input, or all, and answers.

    With an ``exit_code`` it then ends, as the engine says.
    """

    def __init__(self, answer, *, exit_code=None, reads=None, mark=""):
        self.ours, self.theirs = socket.socketpair()
        self.answer, self.exit_code, self.reads, self.mark = answer, exit_code, reads, mark
        self.again, self.sent, self.logged = [], b"", bytearray()
        self.client, self.container_id = SimpleNamespace(api=self), "c1"
        self.wait_again = self.again.append
        self.counters = b""
        self.thread = threading.Thread(target=self.run)

    def exec_inspect(self, name):
        return {"Running": self.exit_code is None, "ExitCode": None if self.exit_code == "lost" else self.exit_code}

    def inspect_container(self, name):
        return {"State": {"Running": True}}

    def exec_create(self, *_, **options):
        return {"Id": "counters"}

    def exec_start(self, name):
        return self.counters

    def start_part(self, command, environment, mark, stdin_bytes):
        self.mark = self.mark or mark
        self.reads = stdin_bytes if self.reads is None else self.reads
        self.thread.start()
        return StartedStep("s1", self.ours, self.ours)

    def run(self):
        self.sent = self.theirs.recv(self.reads, socket.MSG_WAITALL) if self.reads else b""
        for frame in self.answer(b"\0" + self.mark.encode()):
            self.theirs.sendall(encode([frame]))
        if self.exit_code is not None:
            self.theirs.close()

    def part(self, log=None, **options):
        sandbox = Sandbox(self, 10_000, 60, "builds", log=log or self.logged.extend)
        try:
            return sandbox.run_part(["unpack"], **options)
        finally:
            self.thread.join()


@pytest.fixture
def process():
    """Makes one."""
    made = []
    yield lambda *arguments, **options: made.append(Process(*arguments, **options)) or made[-1]
    for each in made:
        each.ours.close()
        each.theirs.close()


def ends(code):
    return lambda mark: [(2, mark + code), (1, mark + code)]


def test_a_part_ends_with_its_mark_on_both_streams(process):
    found = process(lambda mark: [(2, b"warned" + mark + b"100"), (1, b"told"), (1, mark), (1, b"100")])
    ended = found.part(capture=True)
    assert (ended.code, ended.stdout, bytes(found.logged)) == (100, b"told", b"warned")
    assert len(found.again) == 1
    assert found.ours.fileno() >= 0, "it stays open for the next command"


def test_the_input_of_a_part_does_not_end_behind_it(process):
    found = process(ends(b"000"))
    ended = found.part(stdin=[b"12", b"345"], stdin_bytes=5)
    assert (ended.code, found.sent, len(found.again)) == (0, b"12345", 1)
    found.theirs.setblocking(False)
    with pytest.raises(BlockingIOError):
        found.theirs.recv(1)


@pytest.mark.parametrize(("digits", "code"), [(b"073", 73), (b"0x0", 255)])
def test_a_part_that_fails_with_input_left_has_no_next_command(process, digits, code):
    found = process(ends(digits))
    assert found.part(stdin=[b"12345"], stdin_bytes=5).code == code
    assert found.again == []
    assert found.ours.fileno() < 0


def test_a_part_that_says_it_succeeded_before_all_its_input_came_has_not(process):
    found = process(ends(b"000"), reads=2)
    with pytest.raises(NodeError, match="lost a part"):
        found.part(stdin=repeat(b"x" * 100_000), stdin_bytes=1 << 40)


def test_a_part_that_is_killed_for_its_memory_says_so(process):
    found = process(ends(b"137"))
    found.counters = b"oom_kill 1\n"
    with pytest.raises(OutOfMemoryError):
        found.part()


def test_a_part_whose_log_fails_leaves_no_connection(process):
    def fail(piece):
        raise NodeError("no log")

    found = process(lambda mark: [(2, mark + b"000"), (1, b"x" + mark + b"000")])
    with pytest.raises(NodeError, match="no log"):
        found.part(log=fail)
    assert found.ours.fileno() < 0


@pytest.mark.parametrize(
    ("exit_code", "wrong"), [(0, "lost a part"), (CONFUSED, "lost a part"), ("lost", "lost a step")]
)
def test_a_part_without_its_mark_is_no_success(process, exit_code, wrong):
    found = process(lambda mark: [(1, mark + b"000")], exit_code=exit_code)
    with pytest.raises(NodeError, match=wrong):
        found.part()
    assert found.again == []
    assert found.ours.fileno() < 0


def test_a_part_that_is_killed_with_its_process_fails_as_a_step_does(process):
    found = process(lambda mark: [(1, b"out\0" + b"0123")], exit_code=137, mark=MARK)
    assert found.part().code == 137
    assert found.logged == b"out\0" + b"0123"


@pytest.mark.parametrize("pieces", [[b"1234"], [b"123", b"456"]])
def test_input_of_another_length_is_an_error_and_no_command(process, pieces):
    found = process(lambda mark: [], reads=3)
    with pytest.raises(WrongLengthError, match="does not have the 5 bytes"):
        found.part(stdin=pieces, stdin_bytes=5)
    assert found.ours.fileno() < 0


def test_a_part_that_no_process_takes_is_a_step():
    ran = []
    process = SimpleNamespace(start_part=lambda *_: None)
    sandbox = Sandbox(process, 10_000, 60, "builds")
    object.__setattr__(sandbox, "run", lambda command, **options: ran.append((command, options)))
    sandbox.run_part(["unpack"], stdin=[b"1"], stdin_bytes=1)
    assert ran == [(["unpack"], {"stdin": [b"1"], "capture": False})]


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
