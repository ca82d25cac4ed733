"""Facts as they are kept, and how the layers of a base lie over one another."""

from __future__ import annotations

import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.releases.facts.base import BaseFacts
from buildfarm.releases.facts.layer import PACKED_BYTES_MAX, VERSION, LayerFacts, decode

paths = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join)
texts = st.text(st.characters(), min_size=1, max_size=20)
layers = st.builds(
    LayerFacts,
    needs=st.dictionaries(texts, st.tuples(texts, st.integers(1, 99))),
    brings=st.dictionaries(texts, st.lists(texts, max_size=2).map(tuple)),
    files=st.lists(texts).map(tuple),
    links=st.dictionaries(texts, texts),
    removed=st.lists(texts).map(tuple),
    unknown=texts,
)


@given(layers)
def test_facts_come_back_as_they_were(facts):
    assert decode(facts.encode(), of_base=False) == facts


@given(layers)
def test_equal_facts_have_equal_bytes(facts):
    turned = LayerFacts(
        dict(reversed(facts.needs.items())), dict(reversed(facts.brings.items())), facts.files,
        dict(reversed(facts.links.items())), facts.removed, facts.unknown,
    )  # fmt: skip
    assert turned.encode() == facts.encode()


def packed(**fields):
    document = {"version": VERSION, "needs": {}, "brings": {}, "files": [], "links": {}, "removed": [], "unknown": ""}
    return zlib.compress(json.dumps({**document, **fields}).encode(), 9)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no zlib",
        zlib.compress(b"[" * 100_000),
        zlib.compress(b"[]"),
        packed()[:-3],
        packed(version=VERSION + 1),
        packed(needs={"a": 1}),
        packed(needs={"a": ["b", "c"]}),
        packed(needs={"a" * 600: ["b", 1]}),
        packed(files=[3]),
        packed(files=["a" * 5000]),
        packed(links={"a": None}),
        packed(unknown=None),
        packed(files=["a" * 4000] * 1000),  # small when it is packed
        b"\0" * (PACKED_BYTES_MAX + 1),
    ],
)
def test_anything_else_is_refused(content):
    with pytest.raises(ValueError, match=r"facts"):
        decode(content, of_base=False)


class Tree:
    """A file system that layers are unpacked over, as an engine does it."""

    def __init__(self):
        self.files = {}

    def unpack(self, files, removed, opaque):
        for name in removed:
            self._remove(name)
        for folder in opaque:
            self.files = {name: what for name, what in self.files.items() if not name.startswith(f"{folder}/")}
        for name, what in files.items():
            self._remove(name)
            self.files = {old: kept for old, kept in self.files.items() if not name.startswith(f"{old}/")}
            self.files[name] = what

    def _remove(self, gone):
        self.files = {
            name: what for name, what in self.files.items() if name != gone and not name.startswith(f"{gone}/")
        }


def is_tree(files):
    return not any(other.startswith(f"{name}/") for name in files for other in files)


steps = st.lists(
    st.tuples(
        st.dictionaries(paths, st.sampled_from(["x:1", "x:2", "x:3"]), max_size=4).filter(is_tree),
        st.sets(paths, max_size=2), st.sets(paths, max_size=1),
    ),
    max_size=4,
)  # fmt: skip


@given(steps)
def test_an_upper_layer_hides_what_it_replaces_and_removes(found):
    tree, facts = Tree(), []
    for files, removed, opaque in found:
        tree.unpack(files, removed, opaque)
        gone = (*sorted(removed), *(f"{folder}/" for folder in sorted(opaque)))
        facts.append(
            LayerFacts(brings={name: (what,) for name, what in files.items()}, files=tuple(files), removed=gone)
        )
    base = BaseFacts.of(facts)
    assert base.files == frozenset(tree.files)
    assert base.brings == frozenset(tree.files.values())
    assert all(base.has_path(f"/{name}") for name in tree.files)


def test_a_folder_in_the_place_of_a_link_of_a_lower_layer_hides_it():
    base = BaseFacts.of([LayerFacts(files=("lib",), links={"lib": "usr/lib"}), LayerFacts(files=("lib/b",))])
    assert base.has_path("/lib/b")
