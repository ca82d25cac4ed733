"""Names that no image can hold."""

from __future__ import annotations

import pytest

from buildfarm.errors import CompileError
from buildfarm.oci.tree import Found
from workers.export.path_rules import refuse_unfit


def found(name):
    return Found(name, False, 0, "", "")


@pytest.mark.parametrize(
    "name", ["app/.wh.x", "app/a/.wh..wh..opq", "app/.wh...", "app/" + "a/" * 2100, "app/.wh.\x1b[2J"]
)
def test_a_name_that_no_image_can_hold_is_refused(name):
    with pytest.raises(CompileError) as told:
        refuse_unfit([found("app"), found(name)])
    assert "\x1b" not in told.value.message and len(told.value.message) < 250


@pytest.mark.parametrize("name", ["app/.whx", "app/a.wh.x", "app/.wh.d/x", "app/\udcff", "app/" + "a/" * 1000])
def test_every_other_name_is_taken(name):
    refuse_unfit([found("app"), found(name)])
