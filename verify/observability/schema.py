"""schemathesis: the API tried by its own description, with an operator's token."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from testkit.serving import Api

_CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
    "response_headers_conformance"
)


@dataclass(frozen=True)
class Tried:
    """What came of it."""

    code: int
    cases: str
    output: str


def try_schema(api: Api, examples: int, folder: Path) -> Tried:
    """Every route with generated input, valid and not; live streams are left out, for they do not end."""
    command = [
        str(Path(sys.executable).with_name("schemathesis")), "run", f"{api.url}/openapi.json",
        "--header", f"Authorization: Bearer {api.token(None, 'read', 'submit', 'admin')}",
        "--checks", _CHECKS, "--exclude-path-regex", "/live$", "--max-examples", str(examples),
        "--phases", "examples,coverage,fuzzing", "--seed", "1", "--no-color", "--request-timeout", "20",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=500)
    found = re.search(r"(\d+) generated", done.stdout)
    return Tried(done.returncode, found[1] if found else "?", done.stdout + done.stderr)
