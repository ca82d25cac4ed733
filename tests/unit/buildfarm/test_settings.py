"""Settings: read from the environment, and all of them in the documents."""

from __future__ import annotations

import re
from ipaddress import ip_network
from pathlib import Path

import pytest

from buildfarm.errors import SettingsError
from buildfarm.settings import Settings, read_settings

DOCUMENT = Path(__file__).parents[3] / "docs/settings.md"


def test_a_variable_sets_its_field(monkeypatch):
    monkeypatch.setenv("BUILDFARM_SLOTS", "7")
    assert read_settings().slots == 7


@pytest.fixture
def env_file(monkeypatch, tmp_path):
    """What `buildfarm up` writes, of this test alone."""
    monkeypatch.setattr("buildfarm.settings.ENV_FILE", tmp_path / "farm.env")
    return tmp_path / "farm.env"


def test_what_is_given_wins_over_the_environment_and_that_over_the_file(monkeypatch, env_file):
    env_file.write_text("# by up\nBUILDFARM_SLOTS=3\n\nBUILDFARM_NAMESPACE=a=b:\nBUILDFARM_REDIS_PORT=1\nnonsense\n")
    assert (Settings().slots, Settings().namespace) == (3, "a=b:")
    monkeypatch.setenv("buildfarm_slots", "4")
    assert (Settings().slots, Settings(slots=5).slots) == (4, 5)
    env_file.unlink()
    assert Settings().namespace == "buildfarm:"


@pytest.mark.parametrize("state", ["a folder", "not UTF-8"])
def test_a_file_that_cannot_be_read_is_named(env_file, state):
    if state == "a folder":
        env_file.mkdir()
    else:
        env_file.write_bytes(b"BUILDFARM_NAMESPACE=\xe9\n")
    with pytest.raises(SettingsError, match=r"farm\.env cannot be read"):
        read_settings()


def test_a_wrong_value_is_named_with_its_variable(monkeypatch):
    monkeypatch.setenv("BUILDFARM_SLOTS", "many")
    with pytest.raises(SettingsError, match="BUILDFARM_SLOTS"):
        read_settings()


def test_the_password_of_redis_is_not_shown(monkeypatch):
    monkeypatch.setenv("BUILDFARM_REDIS_URL", "redis://:secret@h/0")
    assert "secret" not in repr(read_settings())


def test_the_document_names_every_setting_and_no_other():
    named = set(re.findall(r"^\| `(BUILDFARM_[A-Z_]+)`", DOCUMENT.read_text(), re.MULTILINE))
    assert named == {f"BUILDFARM_{name.upper()}" for name in Settings.model_fields}


@pytest.mark.parametrize("value", ["", "interactive", "a=0", "a=1,a=2", "a=1;b=2", "A=1", "a=1,", "a=1000", "../x=1"])
def test_classes_that_cannot_be_meant(monkeypatch, value):
    monkeypatch.setenv("BUILDFARM_CLASSES", value)
    with pytest.raises(SettingsError, match="BUILDFARM_CLASSES cannot be read: name classes"):
        read_settings()


@pytest.mark.parametrize("value", ["", "10.1.2.3", "10.0.0.0/8, fd00::/8", "127.0.0.1/32"])
def test_proxies_are_networks(monkeypatch, value):
    monkeypatch.setenv("BUILDFARM_API_TRUSTED_PROXIES", value)
    expected = [str(ip_network(part.strip())) for part in value.split(",") if part]
    assert read_settings().api_trusted_proxies == ",".join(expected)


@pytest.mark.parametrize(
    "value", ["*", "0.0.0.0/0", "10.0.0.0/8,::/0", "10.0.0.1/8", "proxy.example.org", "10.0.0.0/33"]
)
def test_proxies_that_cannot_be_meant(monkeypatch, value):
    monkeypatch.setenv("BUILDFARM_API_TRUSTED_PROXIES", value)
    with pytest.raises(SettingsError, match="BUILDFARM_API_TRUSTED_PROXIES cannot be read"):
        read_settings()


@pytest.mark.parametrize("value", ["default", "include", "A", "a-b", "a" * 17])
def test_names_of_cells_that_a_proxy_cannot_have(monkeypatch, value):
    monkeypatch.setenv("BUILDFARM_CELL", value)
    with pytest.raises(SettingsError, match="BUILDFARM_CELL"):
        read_settings()


def test_a_node_serves_all_classes_or_those_that_are_named(monkeypatch):
    assert read_settings().served_classes == {"interactive": 4, "bulk": 1}
    monkeypatch.setenv("BUILDFARM_CLASSES", "fast=9,slow=3,night=1")
    monkeypatch.setenv("BUILDFARM_NODE_CLASSES", "night,slow")
    assert read_settings().served_classes == {"slow": 3, "night": 1}
    monkeypatch.setenv("BUILDFARM_NODE_CLASSES", "bulk")
    with pytest.raises(SettingsError, match="bulk, which is not in classes"):
        read_settings()
