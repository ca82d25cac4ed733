"""Settings: read from the environment, and all of them in the documents."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from buildfarm.errors import RequestError
from buildfarm.settings import Settings, read_settings

DOCUMENT = Path(__file__).parents[2] / "docs/settings.md"


def test_a_variable_sets_its_field(monkeypatch):
    monkeypatch.setenv("BUILDFARM_SLOTS", "7")
    assert read_settings().slots == 7


def test_a_wrong_value_is_named_with_its_variable(monkeypatch):
    monkeypatch.setenv("BUILDFARM_SLOTS", "many")
    with pytest.raises(RequestError, match="BUILDFARM_SLOTS"):
        read_settings()


def test_the_password_of_redis_is_not_shown(monkeypatch):
    monkeypatch.setenv("BUILDFARM_REDIS_URL", "redis://:secret@h/0")
    assert "secret" not in repr(read_settings())


def test_the_document_names_every_setting_and_no_other():
    named = set(re.findall(r"^\| `(BUILDFARM_[A-Z_]+)`", DOCUMENT.read_text(), re.MULTILINE))
    assert named == {f"BUILDFARM_{name.upper()}" for name in Settings.model_fields}
