"""What setup.cfg declares is what is imported: by the client and the command line, and by each extra."""

from __future__ import annotations

import ast
import configparser
import re
import sys
from pathlib import Path

import pytest

from buildfarm.cli.extras import EXTRAS

ROOT = Path(__file__).parents[3]
OWN = {"buildfarm", "workers", "localfarm", "signer"}
# The names of imports that differ from their package's.
DISTRIBUTIONS = {
    "elftools": "pyelftools",
    "packageurl": "packageurl-python",
    "yaml": "pyyaml",
    "opentelemetry": "opentelemetry-sdk",
    "prometheus_client": "prometheus-client",
    "pydantic_core": "pydantic-core",
}
# Modules of the library that need their own extra.
API_ONLY = ("buildfarm/api/",)
WITH_METRICS = ("buildfarm/telemetry/metrics.py", "buildfarm/telemetry/serving.py", "buildfarm/queue/")
FARM = (
    "buildfarm/store/",
    "buildfarm/access/",
    "buildfarm/seal.py",
    "buildfarm/farm.py",
    "buildfarm/gc/",
    "buildfarm/sources/credentials/rules.py",
    "buildfarm/releases/facts/components/",
    "buildfarm/oci/signatures/",
)  # fmt: skip
TRACES = ("buildfarm/telemetry/traces.py",)


def declared():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lists = {"": config["options"]["install_requires"], **config["options.extras_require"]}
    return {name: re.findall(r"^([\w-]+(?:\[[\w,]+\])?)", text, re.MULTILINE) for name, text in lists.items()}


def packages_of(extra):
    """Everything that an extra installs, with what it stands on."""
    found = set(declared()[""])
    for name in declared()[extra] if extra else ():
        inner = re.fullmatch(r"buildfarm\[([\w,]+)\]", name)
        found |= set().union(*map(packages_of, inner[1].split(","))) if inner else {name.partition("[")[0]}
    return found


def extra_of(path):
    for extra, places in (("traces", TRACES), ("api", API_ONLY), ("node", WITH_METRICS), ("farm", FARM)):
        if path.startswith(places):
            return extra
    return {"workers": "node", "signer": "node", "localfarm": "local"}.get(path.partition("/")[0], "")


def imports(path):
    """The packages of others that a module imports when it runs, which leaves out what only mypy reads."""
    tree = ast.parse((ROOT / path).read_text())
    skipped = {
        id(node)
        for found in ast.walk(tree)
        if isinstance(found, ast.If) and ast.unparse(found.test) == "TYPE_CHECKING"
        for inner in found.body
        for node in ast.walk(inner)
    }
    names = set()
    for node in ast.walk(tree):
        if id(node) not in skipped and isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif id(node) not in skipped and isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) == "LazyModule"
            and isinstance(node.args[0], ast.Constant)
        ):
            names.add(node.args[0].value)
    tops = {name.partition(".")[0] for name in names}
    return {DISTRIBUTIONS.get(top, top) for top in tops - OWN - set(sys.stdlib_module_names) - {"__future__"}}


MODULES = sorted(str(path.relative_to(ROOT)) for own in OWN for path in (ROOT / own).rglob("*.py"))


def test_every_import_is_declared_in_the_extra_of_its_module():
    assert len(MODULES) > 100
    absent = {path: imports(path) - packages_of(extra_of(path)) for path in MODULES}
    assert {path: names for path, names in absent.items() if names} == {}


def test_nothing_is_declared_that_no_module_imports():
    used = set().union(*map(imports, MODULES))
    # python-multipart is imported by starlette; opentelemetry's packages share one name.
    indirect = {"python-multipart", "opentelemetry-api", "opentelemetry-exporter-otlp-proto-http"}
    assert packages_of("all") - used - indirect == set()


@pytest.mark.parametrize("package", EXTRAS)
def test_the_extra_that_a_sentence_names_installs_the_package(package):
    assert DISTRIBUTIONS.get(package, package) in packages_of(EXTRAS[package]) - packages_of("")


def test_every_optional_package_has_an_extra_to_name():
    optional = packages_of("all") - packages_of("") - {"python-multipart"}
    named = {DISTRIBUTIONS.get(package, package) for package in EXTRAS}
    assert {name for name in optional if not name.startswith("opentelemetry")} <= named
