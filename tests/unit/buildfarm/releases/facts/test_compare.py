"""Which apps may move: the comparison against a plain model, and what the reasons say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from buildfarm.releases.facts.base import BaseFacts
from buildfarm.releases.facts.compare import REASONS_MAX, blockers, lost
from buildfarm.releases.facts.layer import LayerFacts
from buildfarm.releases.facts.words import shown

LIBRARIES = [f"lib:x86_64/lib{letter}.so.1" for letter in "abcdef"]
names = st.frozensets(st.sampled_from(LIBRARIES))


def base_of(brings=(), files=(), links=None):
    where = {f"usr/lib/{one}": (one,) for one in brings}
    return BaseFacts.of([LayerFacts(brings=where, files=(*where, *files), links=links or {})])


def app_of(needs=(), brings=(), files=(), removed=()):
    return LayerFacts(
        needs={one: (f"app/{one}", 1) for one in needs}, brings={f"app/{one}": (one,) for one in brings},
        files=tuple(files), removed=tuple(removed),
    )  # fmt: skip


@given(names, names, names, names)
def test_an_app_is_held_back_exactly_by_what_it_needs_and_loses(needs, brings, before, after):
    found = lost(needs, brings, base_of(before), base_of(after))
    assert found == {one for one in needs - brings if one in before and one not in after}
    assert bool(found) == bool(blockers([app_of(needs, brings)], base_of(before), base_of(after)))


@given(names, names, names, names)
def test_a_base_with_more_never_holds_more_apps_back(needs, before, after, more):
    first = lost(needs, frozenset(), base_of(before), base_of(after))
    assert lost(needs, frozenset(), base_of(before), base_of(after | more)) <= first
    assert not lost(needs, frozenset(), base_of(before), base_of(before | more))


@given(names, names, names, names)
def test_it_does_not_matter_in_which_layers_an_app_has_it(needs, brings, before, after):
    whole = blockers([app_of(needs, brings)], base_of(before), base_of(after))
    parts = [app_of([one]) for one in sorted(needs)] + [app_of(brings=[one]) for one in sorted(brings)]
    assert blockers(parts, base_of(before), base_of(after)) == whole


def test_the_reason_names_the_file_and_the_library():
    app = LayerFacts(needs={"lib:x86_64/libfoo.so.3": ("app/.venv/lib/x.so", 3)})
    before, after = base_of(["lib:x86_64/libfoo.so.3"]), base_of()
    assert blockers([app], before, after) == [
        "/app/.venv/lib/x.so needs libfoo.so.3, which the new base lacks (as 2 other files)"
    ]


def test_a_lost_version_is_named_only_if_the_library_is_there():
    needs = ["lib:x86_64/libz.so.1", "lib:x86_64/libz.so.1(Z_2)"]
    before = base_of(needs)
    [only] = blockers([app_of(needs)], before, base_of(needs[:1]))
    assert "needs libz.so.1 with Z_2" in only
    [only] = blockers([app_of(needs)], before, base_of())
    assert "needs libz.so.1, which" in only


def test_paths_are_followed_through_links():
    merged = base_of(files=["usr/bin/perl"], links={"bin": "usr/bin"})
    assert merged.has("path:/bin/perl")
    assert merged.has("path:/usr/bin/../bin/perl")
    assert merged.has("path:/usr")
    assert not merged.has("path:/bin/ruby")
    assert not base_of(links={"a": "b", "b": "a"}).has("path:/a")
    assert lost(["path:/bin/perl"], frozenset(), merged, base_of()) == {"path:/bin/perl"}


def test_a_language_that_the_app_brings_does_not_bind_it_to_the_base():
    before, after = base_of(["node:115", "python:3.13"]), base_of(["node:127", "python:3.14"])
    needs = ["node:115", "python:3.13"]
    assert lost(needs, frozenset(), before, after) == set(needs)
    assert lost(needs, frozenset(["own:node", "python:3.13"]), before, after) == set()


def test_a_command_is_lost_if_the_app_does_not_bring_it():
    before, after = base_of(files=["usr/bin/python3", "usr/local/bin/tool"]), base_of(files=["usr/bin/perl"])
    needs = ["command:python3", "command:perl", "command:gunicorn"]
    assert lost(needs, frozenset(), before, after) == {"command:python3"}
    assert lost(needs, frozenset(["command:python3"]), before, after) == set()
    assert lost(needs, frozenset(["command:*"]), before, after) == set()
    assert not blockers([app_of(["command:tool"], files=["usr/local/bin/tool"])], before, after)[1:]
    [reason] = blockers([app_of(["command:python3"])], before, after)
    assert "needs the command python3, which the new base lacks" in reason


def test_each_version_of_class_files_counts():
    found = blockers([app_of(["java:61", "java:65"])], base_of(["java:61"]), base_of(["java:55"]))
    assert ["Java 17 or newer" in one for one in found] == [True]


def test_what_binds_to_one_version_moves_only_to_the_same():
    first, second = base_of(["glibc:2.41"]), base_of(["glibc:2.42"])
    assert lost(["same:glibc"], frozenset(), first, second) == {"same:glibc"}
    assert lost(["same:glibc"], frozenset(), first, first) == set()
    assert lost(["same:glibc"], frozenset(["glibc:2.41"]), first, second) == set()
    [reason] = blockers([app_of(["same:glibc"])], first, second)
    assert "needs exactly the C library 2.41, which the new base lacks" in reason


def test_java_runs_older_class_files():
    older, newer = base_of(["java:61"]), base_of(["java:65"])
    assert lost(["java:61"], frozenset(), older, newer) == set()
    assert lost(["java:65"], frozenset(), newer, older) == {"java:65"}
    assert lost(["java:65"], frozenset(["java:66"]), newer, older) == set()
    assert "needs Java 21 or newer" in blockers([app_of(["java:65"])], newer, older)[0]


def test_a_file_over_one_of_the_base_holds_an_app_back():
    base = base_of(files=["etc/passwd", "etc/buildfarm/processes/web"])
    assert blockers([app_of(files=["etc/passwd"])], base, base) == [
        "its layers have /etc/passwd, which hides what the new base has there"
    ]
    assert not blockers([app_of(files=["etc/passwd"], removed=["etc/"])], base, base_of(files=["usr/x"]))
    assert blockers([app_of(removed=["etc/passwd"])], base, base)
    assert blockers([app_of(removed=["etc/"])], base, base)
    assert not blockers([app_of(removed=["app/note", "app/x/", "etc/gone"])], base, base)
    assert not blockers([app_of(files=["etc/motd", "etc/buildfarm/processes/web"])], base, base)


def test_there_are_at_most_so_many_reasons():
    many = [f"lib:x86_64/lib{number}.so.1" for number in range(50)]
    found = blockers([app_of(many)], base_of(many), base_of())
    assert found[REASONS_MAX:] == ["and 40 more reasons"]


@given(st.text(st.characters(), max_size=400))
def test_names_of_tenants_are_shown_without_what_a_terminal_obeys(text):
    found = shown(text)
    assert found.isprintable()
    assert found.isascii()
