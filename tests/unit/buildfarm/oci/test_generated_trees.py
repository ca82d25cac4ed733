"""Any tree becomes a layer that GNU tar turns back into the same tree, whichever way it is told what to pack."""

from __future__ import annotations

import os
import subprocess

from hypothesis import HealthCheck, given, settings

from buildfarm.oci.layer import LayerStream
from buildfarm.oci.tree import scan, tar_command
from testkit.generated_trees import TREES, describe, plant


def unpacked(stream, into):
    """The layer's tree as GNU tar unpacks it."""
    into.mkdir()
    with stream as chunks:
        content = b"".join(chunks)
    command = ["tar", "--extract", "--gzip", "--file=-", "--preserve-permissions", f"--directory={into}"]
    subprocess.run(command, input=content, check=True)
    return describe(into / "app")


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=60
)
@given(tree=TREES)
def test_a_layer_gives_back_the_tree_it_was_made_of(tmp_path_factory, tree):
    home = tmp_path_factory.mktemp("tree")
    plant(tree, home / "app")
    listing = scan(home / "app")

    by_name = LayerStream(
        tar_command(home / "app", owner=os.geteuid(), names=True), names=[item.name for item in listing.found]
    )
    assert unpacked(by_name, home / "one") == describe(home / "app")

    # What no image can hold must go by name; without it tar's own walk gives the very same bytes.
    if not listing.left_out:
        walked = LayerStream(tar_command(home / "app", owner=os.geteuid()))
        assert unpacked(walked, home / "two") == describe(home / "app")
        assert walked.layer == by_name.layer
