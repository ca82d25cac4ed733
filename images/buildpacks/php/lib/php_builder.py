"""What the builder's PHP says of itself. To start it takes as long as all the rest of a plan."""

from __future__ import annotations

import os
from pathlib import Path

FACTS = Path("/usr/lib/buildfarm/php.txt")  # made with the builder, by bin/facts
PACKAGES = Path("/var/lib/dpkg/status")
PROGRAM = Path("/usr/bin/php")
ASK = Path(__file__).parents[1] / "bin/facts"
# Config vars that can switch extensions on
_SETTINGS = ("PHPRC", "PHP_INI_SCAN_DIR")


def read_php() -> list[str]:
    """Its version, and then its extensions."""
    facts = _written_down() if _is_the_builders() else []
    if not facts:
        with os.popen(str(ASK)) as told:
            facts = told.read().splitlines()
    return facts[1:]


def _written_down() -> list[str]:
    """What it said when the builder was made, if no package has been installed since."""
    try:
        facts = FACTS.read_text().splitlines()
        return facts if facts[:1] == [str(PACKAGES.stat().st_size)] else []
    except OSError:
        return []


def _is_the_builders() -> bool:
    """Whether it is the one that was asked then, without settings of the app's own."""
    folders = os.environ.get("PATH", "").split(":")
    first = next((folder for folder in folders if os.access(f"{folder}/php", os.X_OK)), "")
    return Path(first, "php") == PROGRAM and not any(name in os.environ for name in _SETTINGS)
