"""The documents' commands, run one after another as a reader would, each page in an empty farm."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documents import blocks

RUN = [block for block in blocks() if not block.not_run]


@pytest.mark.parametrize("page", sorted({block.page for block in RUN}))
def test_the_commands_of_a_page_succeed(farm, page):
    environment = {**os.environ, "BUILDFARM_NAMESPACE": farm.settings.namespace}
    ended = {}
    for command in [command for block in RUN if block.page == page for command in block.commands]:
        program, *rest = shlex.split(command)
        done = subprocess.run(
            [sys.executable, "-m", program, *rest], cwd=Path(__file__).parents[2], env=environment, check=False,
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        ended[command] = (done.returncode, done.stderr)
    assert ended
    assert {command: end for command, end in ended.items() if end[0]} == {}
