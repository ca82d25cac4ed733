"""What the warning of an app without a process type says of its Dockerfile."""

from __future__ import annotations

import pytest

from workers.buildpacks.build import Built
from workers.buildpacks.procfile import dockerfile_hint

SAID = " The Dockerfile, which is not used here, starts `{0}`."


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ('FROM x\nCMD ["node", "server.js"]\n', "node server.js"),
        ("FROM x\ncmd exec node \\\n  server.js\n", "exec node server.js"),
        ("FROM x\nCMD one\nFROM y\nENTRYPOINT two\n", "two"),
        ("FROM x\nCMD [1]\n", "[1]"),
        ("FROM x\nRUN echo CMD\n", ""),
        ("FROM x\nCMD \x1b[2J\n", ""),
        (None, ""),
    ],
)
def test_the_last_start_of_a_dockerfile_is_named(text, command):
    assert dockerfile_hint(text) == (SAID.format(command) if command else "")


def test_only_an_app_without_a_process_type_gets_the_hint():
    hint = dockerfile_hint("CMD web\n")
    assert Built(used=(), hint=hint).warning.endswith(SAID.format("web"))
    assert Built(used=(), process_types={"web": "x"}, hint=hint).warning == ""
