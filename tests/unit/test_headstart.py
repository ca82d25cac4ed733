"""Layers that are begun early: taken when they are wanted, and ended at once when they are not."""

from __future__ import annotations

import threading

import pytest

from buildfarm.errors import NodeError
from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import LayerDigests
from workers.headstart import HeadStart, NotWanted

DIGEST = Digest("sha256:" + "0" * 64)


def layer(size):
    return LayerDigests(DIGEST, DIGEST, size, size)


def test_what_was_begun_is_there_when_it_is_taken():
    with HeadStart(lambda: ["a", "bb"], lambda folder, check: layer(len(folder))) as begun:
        assert begun.take("bb") == layer(2)
        assert begun.take("a") == layer(1)
        assert begun.take("never") is None


def test_what_is_dropped_ends_at_its_next_check():
    ended, checked = threading.Event(), threading.Event()

    def make(folder, check):
        try:
            while True:
                check()
                checked.set()
        except NotWanted:
            ended.set()
            raise

    with HeadStart(lambda: ["a"], make) as begun:
        assert checked.wait(10)
        begun.drop("a")
        assert ended.wait(10)
        assert begun.take("a") is None


def test_leaving_drops_the_rest():
    waiting = threading.Event()

    def make(folder, check):
        waiting.set()
        while True:
            check()

    with pytest.raises(ZeroDivisionError), HeadStart(lambda: ["a", "b"], make):
        assert waiting.wait(10)
        raise ZeroDivisionError


def test_what_a_layer_met_is_told_to_whoever_takes_it():
    def make(folder, check):
        raise NodeError("The disk is gone.")

    with HeadStart(lambda: ["a"], make) as begun, pytest.raises(NodeError, match="The disk is gone"):
        begun.take("a")
