"""Programs compiled from the distribution's patched sources."""

import re
import shutil
import subprocess
from functools import cmp_to_key
from pathlib import Path

from problem import Problem, ask, run, say

MIRROR = "http://deb.debian.org/debian"
SECURITY = "http://security.debian.org/debian-security"
LIBRARY = Path("/usr/share/doc/musl-dev/copyright")  # of the C library that the programs are linked to


def compile_sources(plan: dict, recipe: Path, scratch: Path, tree: Path) -> list[str]:
    """Leaves the programs in ``tree`` and returns name=version of the sources; none if they are not available."""
    compiled = plan["compiled"]
    try:
        sources = Sources(plan["suite"], scratch)
        found = {package: sources.fetch(package) for package in compiled["packages"]}
    except Problem as problem:
        say(f"The sources are not available ({problem}); the closure of the stock programs stands in.")
        return []
    run(str(recipe / compiled["script"]), str(sources.folder), str(tree))
    for package, version in found.items():
        keep_record(package, version, sources.folder / package, tree)
    return sorted(f"{package}={version}" for package, version in found.items())


class Sources:
    """Source packages of a suite, each unpacked and patched in a folder of its name below ``folder``."""

    def __init__(self, suite: str, scratch: Path) -> None:
        self.folder = scratch / "sources"
        state = scratch / "apt"
        for folder in (self.folder, state / "lists/partial", state / "cache/archives/partial"):
            folder.mkdir(parents=True)
        (state / "sources.list").write_text(
            f"deb-src {MIRROR} {suite} main\ndeb-src {MIRROR} {suite}-updates main\n"
            f"deb-src {SECURITY} {suite}-security main\n"
        )
        options = {
            "Dir::Etc::SourceList": state / "sources.list",
            "Dir::Etc::SourceParts": "-",
            "Dir::State": state,
            "Dir::State::Lists": state / "lists",
            "Dir::Cache": state / "cache",
        }
        self.options = ["--quiet", *(f"--option={name}={value}" for name, value in options.items())]
        run("apt-get", *self.options, "update", cwd=self.folder)

    def fetch(self, package: str) -> str:
        """The newest version that can be had. Raises Problem if none can.

        A mirror may list what it does not have yet, or no longer has; then an older one is taken and reported.
        """
        listed = self.versions(package)
        for version in listed:
            try:
                ask("apt-get", *self.options, "source", "--download-only", f"{package}={version}", cwd=self.folder)
            except Problem:
                continue
            if version != listed[0]:
                say(f"{package} {listed[0]} is not available: {version} is compiled, without later fixes")
            plain = version.partition(":")[2] or version
            run("dpkg-source", "--no-check", "--extract", f"{package}_{plain}.dsc", package, cwd=self.folder)
            return version
        raise Problem(f"none of {package} {', '.join(listed) or '(no version is listed)'} is there")

    def versions(self, package: str) -> list[str]:
        """What the suite lists, the newest first."""
        shown = ask("apt-cache", *self.options, "showsrc", package, cwd=self.folder)
        versions = set(re.findall(r"^Version: (\S+)", shown, re.M))
        return sorted(versions, key=cmp_to_key(compare), reverse=True)


def compare(one: str, other: str) -> int:
    """1, 0 or -1 as a version is newer than another, the same or older; dpkg alone knows."""
    for relation, answer in (("gt", 1), ("eq", 0)):
        if subprocess.run(["dpkg", "--compare-versions", one, relation, other], check=False).returncode == 0:
            return answer
    return -1


def keep_record(package: str, version: str, source: Path, tree: Path) -> None:
    """The licence, and a record that scanners find as they find those of packages."""
    folder = tree / "usr/share/doc" / package
    folder.mkdir(parents=True)
    shutil.copyfile(source / "debian/copyright", folder / "copyright")
    shutil.copyfile(LIBRARY, folder / "copyright.musl")
    status = tree / "var/lib/dpkg/status.d" / package
    status.parent.mkdir(parents=True, exist_ok=True)
    architecture = ask("dpkg", "--print-architecture").strip()
    status.write_text(
        f"Package: {package}\nSource: {package}\nVersion: {version}\nArchitecture: {architecture}\n"
        f"Description: {package}, compiled for this image\n"
    )
