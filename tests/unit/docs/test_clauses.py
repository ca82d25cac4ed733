"""docs/buildpacks.md lists each clause of both contracts with its test, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("file", "heading"),
    [("test_classic.py", "## The classic contract"), ("test_cnb.py", "## The Cloud Native contract")],
)
def test_every_clause_of_the_document_has_its_test(file, heading):
    section = (ROOT / "docs/buildpacks.md").read_text().split(heading)[1].split("\n## ")[0]
    listed = re.findall(r"^\| [^|]+ \| `(test_\w+)` \|$", section, re.MULTILINE)
    tests = re.findall(r"^def (test_\w+)", (ROOT / "tests/integration/buildpacks" / file).read_text(), re.MULTILINE)
    assert listed == tests
