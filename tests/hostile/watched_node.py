"""A build node, as `python -m workers` is one, under watch."""

from __future__ import annotations

import os
import runpy
from pathlib import Path

from tests.hostile.watch import REPORT, Watch

if __name__ == "__main__":
    Watch(os.environ["BUILDFARM_WORKSPACE_DIRECTORY"], Path(os.environ[REPORT])).begin()
    runpy.run_module("workers", run_name="__main__", alter_sys=True)
