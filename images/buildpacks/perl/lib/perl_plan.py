"""``perl_plan.py BUILD_DIR ENV_DIR PERL``: prints the plan of a Perl app, with the builder's Perl."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from planning.app import App, read_app
from planning.ranges import number

INSTALL = "cpanm --installdeps ."
MANIFESTS = ("cpanfile", "Makefile.PL", "Build.PL")
FILES = (*MANIFESTS, "cpanfile.snapshot", ".perl-version", "app.psgi", "bin/app.psgi", "app.pl")
ASKED = re.compile(r"""^\s*requires\s+['"]?perl['"]?\s*(?:,|=>)\s*['"]?\s*(?:>=\s*)?(v?[\d._]+)""", re.MULTILINE)
SERVERS = {"Starman": "-s Starman", "Gazelle": "-s Gazelle", "Starlet": "-s Starlet", "Twiggy": "-s Twiggy"}


def main(root: str, config: str, have: str) -> None:
    sys.stdout.write(json.dumps(make(read_app(root, config), have), indent=2) + "\n")


def make(app: App, have: str) -> dict[str, Any]:
    asked = ASKED.search(app.text("cpanfile"))
    least = readable(asked[1]) if asked else ""
    processes, because = choose_start(app)
    problem = f"cpanfile asks for Perl {least}, and this farm fetches no other than the builder's {have}. Allow that."
    manifests = app.has(*MANIFESTS)
    snapshot = bool(app.has("cpanfile.snapshot"))
    return {
        "buildpack": "perl",
        "found": app.has(*FILES),
        "manager": {
            "name": "cpanm",
            "version": "the builder's",
            "because": " and ".join([*manifests[:1], *app.has("cpanfile.snapshot")]),
        }
        if manifests
        else None,
        "language": {
            "name": "perl",
            "version": have,
            "because": f"{least} or later in cpanfile" if least else "the builder's",
        },
        "front_end": [],
        "steps": [INSTALL] if manifests else [],
        "snapshot": snapshot,
        "kept": bool(app.has("cpanfile")),
        "processes": processes,
        "because": because,
        "warnings": choose_warnings(app, have, snapshot),
        "problems": [problem] if least and number(least) > number(have) else [],
    }


def readable(version: str) -> str:
    """5.036 and 5.36.0 are one version; each has its own way to be written."""
    version = version.replace("_", "")
    if version.startswith("v") or version.count(".") != 1:
        return version.removeprefix("v")
    whole, fraction = version.split(".")
    if len(fraction) < 3:
        fraction = fraction.ljust(3, "0")
    parts = [str(int(fraction[at : at + 3].ljust(3, "0"))) for at in range(0, len(fraction), 3)]
    return ".".join([whole, *parts])


def choose_start(app: App) -> tuple[dict[str, str], str]:
    for psgi in app.has("app.psgi", "bin/app.psgi"):
        server = next(
            (f" {option}" for name, option in SERVERS.items() if re.search(rf"['\"]{name}['\"]", app.text("cpanfile"))),
            "",
        )
        return {"web": f"plackup{server} --host 0.0.0.0 --port $PORT {psgi}"}, psgi
    if not app.has("app.pl"):
        return {}, "no app.psgi and no app.pl"
    if "Mojolicious" in app.text("app.pl"):
        return {"web": "perl app.pl daemon --listen http://*:$PORT"}, "app.pl, made with Mojolicious"
    return {"web": "perl app.pl"}, "app.pl"


def choose_warnings(app: App, have: str, snapshot: bool) -> list[str]:
    asked = app.first_line(".perl-version").removeprefix("perl-").removeprefix("v")
    warnings = (
        [f".perl-version asks for Perl {asked}; the builder's {have} is used."]
        if asked and not f"{have}.".startswith(f"{asked}.")
        else []
    )
    names = re.findall(r"^\s*requires\s+['\"](?!perl['\"])", app.text("cpanfile"), re.MULTILINE)
    if names and not snapshot:
        warnings.append(
            "There is no cpanfile.snapshot, so the first build of each day takes the newest modules. "
            "Run carton install and commit cpanfile.snapshot."
        )
    return warnings


if __name__ == "__main__":
    main(*sys.argv[1:4])
