"""The Java that an app asks for, in the order in which the files are looked at."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from planning.app import App

POM = (
    r"<(maven\.compiler\.release|java\.version|release\.version|jdk\.version|maven\.compiler\.source)>\s*([^<\s]+)\s*</"
)


@dataclass(frozen=True)
class Asked:
    version: str = ""
    because: str = "the builder's"
    least: bool = False  # a later Java compiles for it and runs it


def read_asked(app: App) -> Asked:
    """An app that names a JDK gets that one; a build file's release is the least that will do."""
    for name, found in (
        (
            "system.properties",
            re.search(r"^\s*java\.runtime\.version\s*=\s*(\S+)", app.text("system.properties"), re.MULTILINE),
        ),
        (".java-version", re.match(r"(\S+)", app.first_line(".java-version"))),
        (".sdkmanrc", re.search(r"^\s*java\s*=\s*(\S+)", app.text(".sdkmanrc"), re.MULTILINE)),
        (".tool-versions", re.match(r"(\S+)", app.tool_version("java"))),
    ):
        if found:
            return Asked(found[1], name)
    return _of_pom(app) if app.has("pom.xml") else _of_gradle(app)


def _of_pom(app: App) -> Asked:
    pom = re.sub(r"<!--.*?-->", "", app.text("pom.xml"), flags=re.DOTALL)
    properties = dict(re.findall(POM, pom))
    plugin = re.search(r"<release>\s*(\d[\d.]*)\s*</release>", pom)
    if plugin:
        return Asked(plugin[1], "release in pom.xml", least=True)
    for name in ("maven.compiler.release", "java.version", "release.version", "jdk.version", "maven.compiler.source"):
        value = properties.get(name, "")
        if re.fullmatch(r"\d[\d.]*", value):
            return Asked(value, f"{name} in pom.xml", least=True)
    return Asked()


def _of_gradle(app: App) -> Asked:
    for name in app.has("build.gradle", "build.gradle.kts"):
        text = re.sub(r"//.*", "", app.text(name))
        if toolchain := re.search(r"JavaLanguageVersion\.of\(\s*[\"']?(\d+)|jvmToolchain\(\s*(\d+)", text):
            return Asked(toolchain[1] or toolchain[2], f"the toolchain of {name}")
        if compatible := re.search(
            r"sourceCompatibility\s*=\s*(?:JavaVersion\.VERSION_|[\"'])?(\d+(?:[._]\d+)?)", text
        ):
            return Asked(compatible[1].replace("_", "."), f"sourceCompatibility in {name}", least=True)
    return Asked()


def feature(version: str) -> int:
    """The first number; 1.8 is 8, and the vendor's name may stand before it. 0 where there is none."""
    numbers = [int(part) for part in re.findall(r"\d+", re.sub(r"^[A-Za-z_-]+[\w]*-(?=\d)", "", version))]
    return numbers[1] if len(numbers) > 1 and numbers[0] == 1 else (numbers[0] if numbers else 0)
