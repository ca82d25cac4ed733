"""``plan.py BUILD_DIR ENV_DIR``: prints the plan of an app in C or C++ as one JSON object."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, os.environ.get("BUILDFARM_LIBRARY", "/usr/lib/buildfarm"))

from planning import found, read, run, walk

CMAKE, MESON, NINJA = "3.31.10", "1.9.2", "1.13.0"  # CMake 4 refuses projects written for CMake before 3.5
MAKEFILES = ("GNUmakefile", "makefile", "Makefile")
WEB_NAMES = ("web", "server", "api", "app", "main")
NO_PROGRAMS = re.compile(
    r"(^|[_/.-])(tests?|unittests?|bench(mark)?s?|examples?|third_party|vendor|extern(al)?|build)($|[_/.-])",
    re.IGNORECASE,
)
TARGET = r"TARGET|BIN(?:ARY)?|PROG(?:RAM)?|EXE(?:CUTABLE)?|APP(?:NAME)?|NAME|OUT(?:PUT)?"


@dataclass(frozen=True)
class Way:
    """How a tool builds the app."""

    tool: str
    steps: list[str]
    programs: list[str]
    versions: dict[str, list[str]]  # ranges of what is fetched
    folder: str  # where it builds; empty for the app's own


def make(root: Path, config: dict[str, str]) -> dict[str, Any]:
    way = choose_way(root, config.get("CMAKE_ARGS", "").strip())
    web, because = choose_web(way.programs)
    files = found(root, "CMakeLists.txt", "meson.build", "configure", *MAKEFILES)
    version = way.versions.get(way.tool, ["the builder's"])[0].removeprefix("==")
    unknown = f"How to start the app is unknown: {because}. Name the program in a Procfile: 'web: PROGRAM'."
    return {
        "found": files,
        "manager": {"name": way.tool, "version": version, "because": f"found {files[0]}"},
        "language": {"name": "c++", "version": "the builder's GCC", "because": "it is the only one"},
        "tools": way.versions,
        "folder": way.folder,
        "programs": way.programs,
        "steps": way.steps,
        "processes": {"web": f"bin/{web}" if way.folder else f"./{web}"} if web else {},
        "because": because,
        "warnings": [] if web or (root / "Procfile").exists() else [unknown],
    }


def choose_way(root: Path, options: str) -> Way:
    folder = "build" if not (root / "build").exists() else ".build"
    if (root / "CMakeLists.txt").is_file():
        versions = {"cmake": _range(CMAKE, cmake_minimum(read(root / "CMakeLists.txt"))), "ninja": [f"=={NINJA}"]}
        prepare = f"cmake -S . -B {folder} -G Ninja -DCMAKE_BUILD_TYPE=Release {options}".rstrip()
        return Way("cmake", [prepare, f"cmake --build {folder}"], cmake_programs(root), versions, folder)
    if (root / "meson.build").is_file():
        versions = {"meson": _range(MESON, meson_minimum(read(root / "meson.build"))), "ninja": [f"=={NINJA}"]}
        steps = [f"meson setup --buildtype=release {folder}", f"ninja -C {folder}"]
        return Way("meson", steps, meson_programs(root), versions, folder)
    steps = ["./configure", "make"] if (root / "configure").is_file() else ["make"]
    return Way("make", steps, make_programs(root), {}, "")


def cmake_minimum(text: str) -> str:
    named = re.search(r"cmake_minimum_required\s*\(\s*VERSION\s+([\d.]+)", text, re.IGNORECASE)
    return named[1].rstrip(".") if named else "0"


def meson_minimum(text: str) -> str:
    named = re.search(r"meson_version\s*:\s*'>=?\s*([\d.]+)", text)
    return named[1] if named else "0"


def _range(ours: str, minimum: str) -> list[str]:
    """Our version of a tool, or the newest if the app asks for a newer one."""
    newer = _numbers(minimum) > _numbers(ours)
    return [f">={minimum}"] if newer else [f"=={ours}"]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))


def cmake_programs(root: Path) -> list[str]:
    programs: list[str] = []
    names: dict[str, str] = {}
    for path in _files(root, "CMakeLists.txt"):
        text = re.sub(r"#.*", "", read(path))
        project = re.search(r"\bproject\s*\(\s*\"?([\w.+-]+)", text, re.IGNORECASE)
        if project:
            names |= {
                "PROJECT_NAME": project[1],
                **({} if "CMAKE_PROJECT_NAME" in names else {"CMAKE_PROJECT_NAME": project[1]}),
            }
        names |= dict(re.findall(r"\bset\s*\(\s*(\w+)\s+\"?([^\s)\"]+)", text, re.IGNORECASE))
        for name, after in re.findall(r"\badd_executable\s*\(\s*\"?([^\s)\"]+)\"?\s*(\w*)", text, re.IGNORECASE):
            if after not in ("IMPORTED", "ALIAS"):
                programs.append(_with_values(name, names))
    return _programs(programs)


def _with_values(text: str, names: dict[str, str]) -> str:
    return re.sub(r"\$\{(\w+)\}", lambda variable: names.get(variable[1], variable[0]), text)


def meson_programs(root: Path) -> list[str]:
    programs = []
    for path in _files(root, "meson.build"):
        text = re.sub(r"#.*", "", read(path))
        project = re.search(r"\bproject\s*\(\s*'([^']+)'", text)
        programs += [
            name or (project[1] if project else "")
            for name in re.findall(r"\bexecutable\s*\(\s*(?:'([^']+)'|meson\.project_name\(\))", text)
        ]
    return _programs(programs)


def make_programs(root: Path) -> list[str]:
    """What a Makefile calls its program, or what it links with `-o`."""
    text = read(root / (found(root, *MAKEFILES) or ["Makefile.in"])[0]).replace("\\\n", " ")
    values = dict(re.findall(r"^[ \t]*(\w+)[ \t]*[:?]*=[ \t]*([^#\n]*?)[ \t]*(?:#.*)?$", text, re.MULTILINE))
    linked = re.findall(
        r"^([^\s:#=%.][^:#=\n]*?)\s*:(?![:=])[^\n]*\n(?:\t[^\n]*\n)*?\t(?![^\n]*\s-c\s)[^\n]*\s-o\s+(?:\$@|\$\(@\))",
        text + "\n",
        re.MULTILINE,
    )
    linked += re.findall(r"^\t(?![^\n]*\s-c\s)[^\n]*\s-o\s+(?!\$@|\$\(@\))(\S+)", text, re.MULTILINE)
    named = [value for name, value in values.items() if re.fullmatch(TARGET, name)]
    return _programs([_expand(name, values) for name in linked or named])


def _expand(text: str, values: dict[str, str]) -> str:
    for _ in range(5):
        text = re.sub(r"\$[({](\w+)[)}]", lambda variable: values.get(variable[1], ""), text)
    return text.strip().removeprefix("./")


def _programs(names: list[str]) -> list[str]:
    return [
        name
        for name in dict.fromkeys(names)
        if re.fullmatch(r"[\w+./-]+", name) and not NO_PROGRAMS.search(name) and not name.startswith("/")
    ]


def _files(root: Path, name: str) -> Iterator[Path]:
    return (path for path in walk(root, lambda folder: bool(NO_PROGRAMS.search(folder.name))) if path.name == name)


def choose_web(programs: list[str]) -> tuple[str, str]:
    if len(programs) == 1:
        return programs[0], f"{programs[0]} is the only program"
    named = next((program for name in WEB_NAMES for program in programs if program.rsplit("/", 1)[-1] == name), "")
    if named:
        return named, f"the program {named} is called like a web server"
    return (
        "",
        f"none of {', '.join(programs)} is called like a web server"
        if programs
        else "no program was found in its build files",
    )


if __name__ == "__main__":
    run("cpp", make)
