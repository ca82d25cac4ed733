"""Buildpacks that a node keeps: what a killed process left is removed, what is being written stays."""

from __future__ import annotations

import threading

from workers.buildpacks.buildpack_cache import BuildpackCache


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    kept = BuildpackCache(tmp_path, 1000)
    (tmp_path / "half-left").write_bytes(b"x")
    digest = kept.keep("t", "https://example.org/x.git#1", lambda take: take(b"whole"))
    kept.remove_partial()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{digest.hex}.tar", "sources"]


def test_what_another_node_is_writing_stays(tmp_path):
    kept, begun, go_on, digests = BuildpackCache(tmp_path, 1000), threading.Event(), threading.Event(), []

    def write(take):
        take(b"first")
        begun.set()
        assert go_on.wait(10)
        take(b"last")

    writer = threading.Thread(target=lambda: digests.append(kept.keep("t", "https://example.org/x.git#1", write)))
    writer.start()
    assert begun.wait(10)
    BuildpackCache(tmp_path, 1000).remove_partial()
    go_on.set()
    writer.join(10)
    assert b"".join(kept.read(digests[0])) == b"firstlast"
