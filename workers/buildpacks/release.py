"""What bin/release and bin/report print, read with distrust (Heroku, "Buildpack API"). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import yaml

from buildfarm.config_vars import ENV_NAME, ENV_NAMES_MAX
from buildfarm.errors import CompileError
from buildfarm.model import ReportValue
from workers.buildpacks.procfile import CONTROL, PROCESS_TYPE, TYPES_MAX
from workers.sandbox.nested import parse_json

REPORT_KEYS_MAX = 50
REPORT_CHARS_MAX = 200  # values carry what users wrote


@dataclass(frozen=True)
class Release:
    """A buildpack's defaults for the image."""

    process_types: Mapping[str, str] = field(default_factory=dict)  # type to shell command
    config_vars: Mapping[str, str] = field(default_factory=dict)  # become the image's environment


def parse_release(content: bytes, name: str) -> Release:
    """The YAML of bin/release. Raises CompileError if it is not what the contract says."""
    where = f"bin/release of the buildpack {name}"
    try:
        # Text, lists and mappings, and no merge keys: those of the safe loader swell 64 KiB to any size.
        found = yaml.load(content.decode(), Loader=yaml.BaseLoader) or {}
    except RecursionError as error:
        raise CompileError(f"{where} prints YAML that is nested too deep.") from error
    except (yaml.YAMLError, ValueError) as error:
        raise CompileError(f"{where} does not print YAML: {' '.join(str(error).split())[:300]}.") from error
    if not isinstance(found, dict):
        raise CompileError(f"{where} does not print a YAML mapping.")
    sections: list[dict[str, str]] = []
    for section in ("default_process_types", "config_vars"):
        values = found.get(section) or {}
        if not isinstance(values, dict) or any(isinstance(value, dict | list) for value in values.values()):
            raise CompileError(f"{where}: {section} must map names to text.")
        sections.append({str(key): str(value) for key, value in values.items()})
    types, variables = sections
    types = {name: command for name, command in types.items() if command}
    for key, value in types.items():
        if not PROCESS_TYPE.fullmatch(key) or CONTROL.search(value):
            raise CompileError(
                f"{where}: {key[:80]!r} is not a valid process type, or its command has control characters."
            )
    if len(types) > TYPES_MAX or len(variables) > ENV_NAMES_MAX:
        raise CompileError(f"{where} names more than {TYPES_MAX} process types or {ENV_NAMES_MAX} variables.")
    for key in variables:
        if not ENV_NAME.fullmatch(key) or "\0" in variables[key]:
            raise CompileError(f"{where}: {key[:80]!r} is not a valid name of a variable.")
    return Release(types, variables)


def parse_report(content: bytes) -> dict[str, ReportValue]:
    """The flat JSON object of bin/report; whatever is not text, a number or a truth value is left out."""
    try:
        found = parse_json(content or b"{}")
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    kept: dict[str, ReportValue] = {}
    for key, value in found.items():
        if len(kept) == REPORT_KEYS_MAX:
            break
        if isinstance(value, bool | str):
            kept[key[:REPORT_CHARS_MAX]] = value[:REPORT_CHARS_MAX] if isinstance(value, str) else value
        elif isinstance(value, int | float) and abs(value) < 1e300:
            kept[key[:REPORT_CHARS_MAX]] = float(value)
    return kept
