"""``choose_jar.py BUILD_DIR``: prints what starts the result of a build, or says on standard error why nothing does."""

from __future__ import annotations

import re
import shlex
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

PLACES = (
    "target/*.jar",
    "target/*.war",
    "build/libs/*.jar",
    "build/libs/*.war",
    "target/quarkus-app/quarkus-run.jar",
    "build/quarkus-app/quarkus-run.jar",
)
NEVER = re.compile(r"(^original-.*|.*-(sources|javadoc|plain|tests?|test-sources|stubs|api))\.(jar|war)$|.*\.original$")
FAT = re.compile(r".*-(with-dependencies|all|fat|uber|shaded|exec|runner|standalone|boot)\.jar$|.*/quarkus-run\.jar$")

ADVICE = "Name one in a Procfile:"
NOTHING = (
    "The build left no jar with a Main-Class in its manifest, so nothing can be started. "
    "Let the build write one, or name the start in a Procfile."
)


@dataclass(frozen=True)
class Jar:
    name: str  # from the app's folder
    manifest: str

    @property
    def main(self) -> str:
        return self._value("Main-Class")

    @property
    def spring(self) -> bool:
        return bool(self._value("Start-Class") or self._value("Spring-Boot-Version"))

    @property
    def rank(self) -> tuple[bool, bool, int]:
        """The lower, the rather: Spring Boot's, then one with all that it needs, then the app's before its parts'."""
        return (not self.spring, not FAT.match(self.name), self.name.count("/"))

    def _value(self, key: str) -> str:
        found = re.search(rf"^{key}:\s*(\S.*?)\s*$", self.manifest, re.MULTILINE)
        return found[1] if found else ""


def choose(root: Path) -> tuple[str, str]:
    """The command, or a sentence about what is missing."""
    scripts = sorted(path for path in root.glob("build/install/*/bin/*") if path.suffix != ".bat")
    jars = sorted((jar for jar in find(root) if jar.main), key=lambda jar: (jar.rank, jar.name))
    if scripts and not any(jar.spring for jar in jars):
        own = next((path for path in scripts if path.name == path.parents[1].name), scripts[0])
        return shlex.quote(f"./{own.relative_to(root)}"), ""
    if not jars:
        return "", NOTHING
    equal = [jar.name for jar in jars if jar.rank == jars[0].rank]
    if len(equal) > 1:
        names = ", ".join(equal)
        return "", f"The build left {len(equal)} jars that can be started: {names}. {ADVICE} web: java -jar {equal[0]}"
    return f"java {options(jars[0])}$JAVA_OPTS -jar {shlex.quote(jars[0].name)}", ""


def options(jar: Jar) -> str:
    if jar.spring:
        return "-Dserver.port=$PORT "
    return "-Dquarkus.http.port=$PORT -Dquarkus.http.host=0.0.0.0 " if jar.name.endswith("quarkus-run.jar") else ""


def find(root: Path) -> list[Jar]:
    paths = (
        path for place in PLACES for pattern in (place, f"*/{place}", f"*/*/{place}") for path in root.glob(pattern)
    )
    names = (str(path.relative_to(root)) for path in paths if path.is_file() and not NEVER.match(path.name))
    return [Jar(name, read_manifest(root / name)) for name in sorted(set(names)) if "node_modules/" not in name]


def read_manifest(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            text = archive.read("META-INF/MANIFEST.MF").decode(errors="replace")
    except (zipfile.BadZipFile, KeyError, OSError):
        return ""
    return re.sub(r"\r?\n ", "", text).replace("\r", "")


if __name__ == "__main__":
    command, why_not = choose(Path(sys.argv[1]))
    if why_not:
        sys.exit(why_not)
    sys.stdout.write(command)
