"""The chart's values, their schema and the farm's settings say the same."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import yaml

from buildfarm.settings import Settings

ROOT = Path(__file__).parents[3]
CHART = ROOT / "helm/buildfarm"
TOOL = runpy.run_path(str(ROOT / "tools/chart-settings"))
FIELDS = TOOL["fields"]()


def test_the_chart_has_every_setting_with_its_default():
    values = yaml.safe_load((CHART / "values.yaml").read_text())["settings"]
    assert values == {name: field["default"] for name, field in FIELDS.items()}, "run tools/chart-settings"


def test_the_schema_describes_every_setting():
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert schema["properties"]["settings"]["properties"] == FIELDS, "run tools/chart-settings"


def test_a_pool_has_those_of_a_node_without_defaults():
    schema = json.loads((CHART / "values.schema.json").read_text())
    pool = schema["properties"]["worker"]["properties"]["pools"]["items"]["properties"]["settings"]["properties"]
    assert pool == TOOL["pool_fields"](), "run tools/chart-settings"
    assert set(pool) == TOOL["OF_A_POOL"]
    assert not any("default" in field for field in pool.values())


def test_the_defaults_are_read_as_the_defaults(monkeypatch):
    monkeypatch.setattr("buildfarm.settings.ENV_FILE", Path("/nonexistent"))
    ours = Settings()
    for name, field in FIELDS.items():
        monkeypatch.setenv(f"BUILDFARM_{name.upper()}", str(field["default"]))
    read = Settings()
    assert {name: getattr(read, name) for name in FIELDS} == {name: getattr(ours, name) for name in FIELDS}


def test_every_value_has_a_description_and_no_other_is_taken():
    def walk(schema, place):
        assert place == "" or schema.get("description"), place
        if "properties" in schema:
            assert schema.get("additionalProperties") is False, place
            for name, inner in schema["properties"].items():
                walk(inner, f"{place}.{name}")
        if "properties" in schema.get("items", {}):
            walk(schema["items"], f"{place}[]")

    walk(json.loads((CHART / "values.schema.json").read_text()), "")


def test_the_schema_knows_every_value():
    def walk(values, schema, place):
        for name, value in values.items():
            assert name in schema["properties"], f"{place}.{name}"
            if isinstance(value, dict) and "properties" in schema["properties"][name]:
                walk(value, schema["properties"][name], f"{place}.{name}")

    schema = json.loads((CHART / "values.schema.json").read_text())
    walk(yaml.safe_load((CHART / "values.yaml").read_text()), schema, "")
