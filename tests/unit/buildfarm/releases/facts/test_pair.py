"""What a base lacks of another one is listed by kind, within a bound."""

from __future__ import annotations

import json

from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import Descriptor, Manifest
from buildfarm.releases.base import Base
from buildfarm.releases.facts.base import BaseFacts
from buildfarm.releases.facts.layer import LayerFacts
from buildfarm.releases.facts.pair import differences

DIGEST = Digest("sha256:" + "1" * 64)


def base_of(*variables):
    content = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Env": variables},
            "rootfs": {"type": "layers", "diff_ids": [str(DIGEST)]},
        }
    )
    manifest = Manifest("manifest", Descriptor("config", DIGEST, 1), (Descriptor("layer", DIGEST, 1),))
    return Base("builder", DIGEST, manifest, content.encode())


def facts_of(*files, unknown=""):
    return BaseFacts.of([LayerFacts(files=files, unknown=unknown)])


def test_removed_packages_commands_and_variables_are_listed():
    old = facts_of("var/lib/dpkg/info/libfoo3:amd64.list", "var/lib/dpkg/info/perl.list", "usr/bin/perl", "usr/bin/a")
    new = facts_of("var/lib/dpkg/info/libfoo3:arm64.list", "bin/a", "usr/bin/new")
    before, after = base_of("PATH=/opt/x:/usr/bin", "LANG=C"), base_of("PATH=/usr/bin", "MORE=1")
    assert differences(before, after, old, new) == (
        "1 variables: LANG", "1 folders of the PATH: /opt/x", "1 packages: perl", "1 commands: perl",
    )  # fmt: skip
    assert differences(before, before, old, old) == ()


def test_bases_that_were_not_read_are_named():
    base = base_of("A=1")
    for old, new in ((None, facts_of("a")), (facts_of("a"), facts_of(unknown="damaged"))):
        assert differences(base, base, old, new) == (
            "packages and commands were not compared: a base has not been read",
        )


def test_a_list_has_an_end():
    [found] = differences(
        base_of(), base_of(), facts_of(*(f"usr/bin/c{number:03}" for number in range(50))), facts_of("a")
    )
    assert found.startswith("50 commands: c000, ")
    assert found.endswith(" and 30 more")


def test_names_of_a_base_are_shown_without_what_a_terminal_obeys():
    [found] = differences(base_of(), base_of(), facts_of("usr/bin/\x1b[31mx", "usr/bin/\udcff"), facts_of("a"))
    assert found == r"2 commands: \x1b[31mx, \udcff"
