"""Programs compiled from the distribution's patched sources."""

import re
from pathlib import Path

from problem import Problem, run, say

MIRROR = "http://deb.debian.org/debian"
SECURITY = "http://security.debian.org/debian-security"


def compile_sources(plan: dict, recipe: Path, scratch: Path, tree: Path) -> list[str]:
    """Leaves the programs in ``tree`` and returns name=version of the sources; none where they cannot be had."""
    compiled = plan["compiled"]
    try:
        sources = fetch(plan["suite"], compiled["packages"], scratch)
    except Problem as problem:
        say(f"The sources cannot be had ({problem}); the closure of the stock programs stands in.")
        return []
    run(str(recipe / compiled["script"]), str(scratch / "sources"), str(tree))
    return sources


def fetch(suite: str, packages: list[str], scratch: Path) -> list[str]:
    """Sources with the distribution's patches, each in a folder of its package's name."""
    sources, state = scratch / "sources", scratch / "apt"
    for folder in (sources, state / "lists/partial", state / "cache/archives/partial"):
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
    apt = ["apt-get", "--quiet", *(f"--option={name}={value}" for name, value in options.items())]
    run(*apt, "update", cwd=sources)
    found = []
    for package in packages:
        run(*apt, "source", "--download-only", package, cwd=sources)
        (description,) = sources.glob(f"{package}_*.dsc")
        run("dpkg-source", "--no-check", "--extract", description.name, package, cwd=sources)
        version = re.search(r"^Version: (\S+)", description.read_text(), re.M).group(1)
        found.append(f"{package}={version}")
    return found
