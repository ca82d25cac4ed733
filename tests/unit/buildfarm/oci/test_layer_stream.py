"""Layers as streams: digests, order, limits, failures, and nothing left behind."""

from __future__ import annotations

import gzip
import io
import os
import sys
import tarfile
import threading
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from buildfarm.errors import NodeError, TooLargeError
from buildfarm.oci.digest import Digest
from buildfarm.oci.layer import LayerStream, NotExhaustedError
from buildfarm.oci.tree import Entry, header_entries, tar_command, tree_names

MIB = 1024 * 1024


def unpack(packed, compression):
    match compression:
        case "gzip":
            return gzip.decompress(packed)
        case "zstd":
            with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(packed), read_across_frames=True) as reader:
                return reader.read()
        case "none":
            return packed


def python(code, *arguments):
    return [sys.executable, "-c", code, *arguments]


def open_descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def children():
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """No stream of any test leaves a child process, a thread or an open pipe."""
    descriptors, others = open_descriptors(), children()
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("layer-")] == []
    assert children() <= others
    assert open_descriptors() <= descriptors


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "app"
    (root / "lib").mkdir(parents=True)
    (root / "main.py").write_bytes(b"print(1)\n")
    (root / "lib" / "data").write_bytes(os.urandom(3 * MIB + 17))
    return root


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_the_digests_are_those_of_the_bytes(tree, compression):
    prefix = header_entries([Entry("etc/x", b"1")])
    names = tree_names(tree)

    with LayerStream(
        tar_command(tree, owner=0, names=True), prefix=prefix, names=names, compression=compression
    ) as stream:
        packed = b"".join(stream)
    raw = unpack(packed, compression)

    assert stream.layer.digest == Digest.of(packed)
    assert stream.layer.size_bytes == len(packed)
    assert stream.layer.diff_id == Digest.of(raw)
    assert stream.layer.uncompressed_bytes == len(raw)
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        assert tar.getnames() == ["etc/x", "app", "app/lib", "app/lib/data", "app/main.py"]


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_a_layer_without_names_is_valid_and_empty(tree, compression):
    with LayerStream(tar_command(tree, owner=0, names=True), names=[], compression=compression) as stream:
        raw = unpack(b"".join(stream), compression)

    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        assert tar.getnames() == []


def test_even_no_bytes_at_all_are_a_gzip_file():
    with LayerStream(["true"]) as stream:
        packed = b"".join(stream)

    assert gzip.decompress(packed) == b""
    assert stream.layer.diff_id == Digest.of(b"")


@settings(max_examples=10, deadline=None)
@given(size=st.integers(0, 3 * MIB), prefix=st.binary(max_size=700))
def test_chunks_come_in_order_whatever_the_size(size, prefix):
    code = "import sys; sys.stdout.buffer.write(bytes(i * 7 % 251 for i in range(int(sys.argv[1]))))"

    with LayerStream(python(code, str(size)), prefix=prefix, threads=3) as stream:
        raw = gzip.decompress(b"".join(stream))

    assert raw == prefix + bytes(i * 7 % 251 for i in range(size))


def test_the_same_tree_gives_the_same_layer(tree):
    def layer():
        with LayerStream(tar_command(tree, owner=0, names=False)) as stream:
            for _ in stream:
                pass
        return stream.layer

    assert layer() == layer()


def test_the_digests_are_not_known_before_the_end(tree):
    with LayerStream(tar_command(tree, owner=0, names=False)) as stream:
        next(iter(stream))

        with pytest.raises(NotExhaustedError):
            _ = stream.layer

    with pytest.raises(NotExhaustedError):
        _ = stream.layer


def test_leaving_early_ends_an_endless_producer():
    with LayerStream(["cat", "/dev/zero"]) as stream:
        assert next(iter(stream))


def test_leaving_early_ends_a_producer_that_waits_for_names(tree):
    def endless():
        while True:
            yield "app/main.py"

    with LayerStream(tar_command(tree, owner=0, names=True), names=endless()) as stream:
        assert next(iter(stream))


def test_a_stream_that_was_never_read_starts_nothing():
    with LayerStream(["no-such-command"]):
        pass


def test_a_consumer_that_stops_reading_stops_the_producer(tmp_path):
    """The bound on memory: what was read from an endless producer stays within the chunks in flight and the pipe."""
    progress = tmp_path / "progress"
    code = (
        "import os, sys\n"
        "log = open(sys.argv[1], 'wb', buffering=0)\n"
        "chunk = bytes(65536)\n"
        "while os.write(1, chunk): log.write(b'.')\n"
    )
    with LayerStream(python(code, os.fspath(progress))) as stream:
        chunks = iter(stream)
        for _ in range(5):
            next(chunks)
        # The consumer stops here. Whatever the producer can still write goes into the pipe, of one MiB.
        read_mib = 8 + 4
        written_bytes = progress.stat().st_size * 65536

        assert written_bytes <= (read_mib + 1) * MIB + 65536


def test_crossing_the_limit_is_the_apps_fault():
    with LayerStream(["cat", "/dev/zero"], limit_bytes=20 * MIB) as stream, pytest.raises(TooLargeError) as caught:
        for _ in stream:
            pass

    assert "larger than 20,971,520 bytes" in caught.value.message


def test_a_stream_of_just_the_limit_passes():
    with LayerStream(["head", "-c", "1000", "/dev/zero"], prefix=bytes(24), limit_bytes=1024) as stream:
        assert gzip.decompress(b"".join(stream)) == bytes(1024)


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (
            ["sh", "-c", "echo first >&2; echo 'tar: app/x: file changed as we read it' >&2; exit 1"],
            "changed as we read",
        ),
        (["sh", "-c", "echo a warning >&2"], "a warning"),
        (["sh", "-c", "exit 3"], "ended with 3"),
        (["sh", "-c", "kill -9 $$"], "ended with -9"),
        (["no-such-command"], "no-such-command cannot be started"),
    ],
)
def test_a_producer_that_fails_or_complains_is_the_nodes_fault(argv, reason):
    with LayerStream(argv) as stream, pytest.raises(NodeError) as caught:
        b"".join(stream)

    assert reason in str(caught.value)
    assert "first" not in str(caught.value)
    with pytest.raises(NotExhaustedError):
        _ = stream.layer


def test_a_name_that_is_not_there_is_the_nodes_fault(tree):
    with (
        LayerStream(tar_command(tree, owner=0, names=True), names=["app/gone"]) as stream,
        pytest.raises(NodeError, match="app/gone"),
    ):
        b"".join(stream)


def test_a_tree_that_cannot_be_listed_is_the_nodes_fault(tree):
    with pytest.raises(NodeError, match="cannot be read"):
        tree_names(tree / "gone")


def test_an_error_of_the_names_reaches_the_consumer(tree):
    def names():
        yield "app/main.py"
        raise KeyError("a bug")

    with (
        LayerStream(tar_command(tree, owner=0, names=True), names=names()) as stream,
        pytest.raises(KeyError, match="a bug"),
    ):
        b"".join(stream)


def test_a_flood_of_warnings_blocks_nothing():
    with (
        LayerStream(["sh", "-c", "yes warning | head -c 1000000 >&2"]) as stream,
        pytest.raises(NodeError, match="warning"),
    ):
        b"".join(stream)


def test_nothing_of_the_hosts_environment_reaches_the_producer():
    with LayerStream(["env"], compression="none") as stream:
        found = dict(line.split("=", 1) for line in b"".join(stream).decode().splitlines())

    assert set(found) <= {"LC_ALL", "PATH", "_", "PWD", "SHLVL"}
