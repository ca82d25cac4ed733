"""The rows of `make verify-fleet` that are tests name tests that exist."""

from __future__ import annotations

import pytest

from verify.fleet.rules import ROOT, RULES


@pytest.mark.parametrize(("path", "name"), sorted({test for tests in RULES.values() for test in tests}))
def test_a_row_names_a_test(path, name):
    text = (ROOT / path).read_text()
    assert f"def {name}(" in text or f"{name} = " in text
