"""``plan.py BUILD_DIR ENV_DIR``: prints the plan of a Go app as one JSON object."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

sys.path.insert(0, os.environ.get("BUILDFARM_LIBRARY", "/usr/lib/buildfarm"))

from planning import ProblemError, found, read, read_json, run, tool_version, walk

OLD_TOOLS = ("Gopkg.lock", "glide.yaml", "vendor/vendor.json", "Godeps/Godeps.json")
WEB_NAMES = ("web", "server", "api", "app", "main")
LEFT_OUT = ("vendor", "testdata", "node_modules")
OTHER_SYSTEMS = r"windows|darwin|freebsd|netbsd|openbsd|js|wasm|plan9|android|ios|ignore|tools?"
OLD_WARNING = ("There is no go.mod, so the app is built from its folder vendor. Run 'go mod init' and commit go.mod.",)
OLDEST = (1, 21)  # before it, the `go` line of go.mod named a language version that every later toolchain compiles


@dataclass(frozen=True)
class Program:
    name: str
    package: str  # what `go build` is given


def make(root: Path, config: dict[str, str]) -> dict[str, Any]:
    modules = find_modules(root)
    old = "" if modules else import_path(root)
    if not modules and not old:
        _refuse_old(root)
    programs = find_old_programs(root, old, config) if old else find_programs(root, modules, config)
    if not programs:
        raise ProblemError(
            "No package main with a func main was found. Add one in the app's folder or below cmd/, or build an app "
            "that uses this module."
        )
    version, because = choose_version(root, modules, config)
    web, why = choose_web(programs)
    processes = {"web": f"bin/{web.name}"} if web else {}
    processes |= {
        program.name: f"bin/{program.name}" for program in programs if program != web and program.name != "web"
    }
    names = ", ".join(program.name for program in programs)
    return {
        "found": found(root, "go.work", "go.mod", "go.sum", "vendor/modules.txt", "main.go"),
        "manager": {
            "name": "go",
            "version": version,
            "because": "vendor/modules.txt" if (root / "vendor/modules.txt").is_file() else "go.mod",
        },
        "language": {"name": "go", "version": version, "because": because},
        "ranges": ranges(version),
        "tools": {"go": ranges(version)},
        "steps": [
            *hook(root, "bin/go-pre-compile"),
            *(f"{_inside(old)}go build -o bin/{program.name} {program.package}" for program in programs),
            *hook(root, "bin/go-post-compile"),
        ],
        "gopath": old,
        "programs": [program.name for program in programs],
        "processes": processes,
        "because": why,
        "warnings": [*(OLD_WARNING if old else ()), *_unclear(root, web, names)],
    }


def _unclear(root: Path, web: Program | None, names: str) -> list[str]:
    if web or (root / "Procfile").exists():
        return []
    return [f"Which of the programs {names} is the web server is unknown. Name it in a Procfile: 'web: bin/NAME'."]


def import_path(root: Path) -> str:
    """By what an app from before modules imports its own packages; nothing if others are missing."""
    vendor, godeps = root / "vendor", read_json(root / "Godeps/Godeps.json")
    if godeps.get("Deps") != [] and not _has_packages(vendor):
        return ""
    said = (
        str(godeps.get("ImportPath") or ""),
        str(read_json(root / "vendor/vendor.json").get("rootPath") or ""),
        *re.findall(r"(?m)^package:\s*(\S+)", read(root / "glide.yaml")),
        *re.findall(r"(?m)^\s*root-package\s*=\s*[\"'](\S+)[\"']", read(root / "Gopkg.toml")),
        read(root / ".godir").strip(),
    )
    named = next((text.strip("/") for text in said if text.strip("/")), "app")
    if not re.fullmatch(r"(?!.*\.\.)\w[\w.~/-]*", named):
        raise ProblemError(f"'{named}' is not the path of a Go package. Run 'go mod init' and commit go.mod.")
    return named


def _has_packages(folder: Path) -> bool:
    return folder.is_dir() and any(path.suffix == ".go" for path in walk(folder, lambda _: False))


def _inside(old: str) -> str:
    return f"cd $GOPATH/src/{old} && " if old else ""


def find_old_programs(root: Path, path: str, config: dict[str, str]) -> list[Program]:
    wanted = config.get("GO_INSTALL_PACKAGE_SPEC", "").split()
    packages = [f"./{place}" if place != "." else "." for place in _program_folders(root, ".", {})]
    packages = [one for one in packages if not wanted or any(_matches(one, pattern) for pattern in wanted)]
    return _check_names([Program(base_name(path) if one == "." else one.rsplit("/", 1)[-1], one) for one in packages])


def find_modules(root: Path) -> dict[str, str]:
    """The folders of the app's modules, "." for its own, and their module paths."""
    work = re.sub(r"//.*", "", read(root / "go.work"))
    folders = ["."] if (root / "go.mod").is_file() and not work else []
    for block, one in re.findall(r"^use\s*(?:\(([^)]*)\)|(\S+))", work, re.MULTILINE):
        folders += (block or one).split()
    cleaned = [str(PurePosixPath(folder.strip('"'))) for folder in folders]
    if outside := [folder for folder in cleaned if folder.startswith(("/", ".."))]:
        raise ProblemError(
            f"go.work uses {outside[0]}, which is not in the app. Remove it, or build from the folder above."
        )
    if missing := [folder for folder in cleaned if not (root / folder / "go.mod").is_file()]:
        raise ProblemError(f"go.work uses {missing[0]}, which has no go.mod. Add it, or remove the line.")
    return {folder: _module_path(root / folder / "go.mod") for folder in cleaned}


def _module_path(file: Path) -> str:
    named = re.search(r'^module\s+"?([^\s"]+)', read(file), re.MULTILINE)
    if not named:
        raise ProblemError("go.mod has no module line. Run 'go mod init NAME' and build again.")
    return named[1]


def _refuse_old(root: Path) -> None:
    for name in OLD_TOOLS:
        if (root / name).exists():
            raise ProblemError(
                f"{name} belongs to a tool from before Go modules. Run 'go mod init' and 'go mod tidy', commit go.mod "
                "and go.sum, and build again."
            )


def find_programs(root: Path, modules: dict[str, str], config: dict[str, str]) -> list[Program]:
    if not modules:
        files = [path.name for path in sorted(root.glob("*.go")) if not path.name.endswith("_test.go")]
        # What Heroku's buildpack read before there were modules: the path of the program's package
        named = base_name(read(root / ".godir").strip().strip("/"))
        named = named if re.fullmatch(r"\w[\w.~-]*", named) else "app"
        return [Program(named, " ".join(files))] if _is_program(root, root) else []
    wanted = config.get("GO_INSTALL_PACKAGE_SPEC", "").split() or _heroku(root, "install")
    programs = []
    for folder, path in modules.items():
        for place in _program_folders(root, folder, modules):
            package = f"./{place}" if place != "." else "."
            if not wanted or any(_matches(package, pattern) for pattern in wanted):
                programs.append(
                    Program(place.rsplit("/", 1)[-1] if place not in (".", folder) else base_name(path), package)
                )
    return _check_names(programs)


def _check_names(programs: list[Program]) -> list[Program]:
    names = [program.name for program in programs]
    if doubled := [name for name in names if names.count(name) > 1]:
        raise ProblemError(
            f"Two programs are called {doubled[0]}. Name what to build in the config var GO_INSTALL_PACKAGE_SPEC, "
            "such as './cmd/web'."
        )
    return programs


def _program_folders(root: Path, folder: str, modules: dict[str, str]) -> list[str]:
    base = root / folder

    def without(path: Path) -> bool:
        name = path.name
        return name in LEFT_OUT or name.startswith("_") or (path / "go.mod").is_file()

    folders = dict.fromkeys(path.parent for path in walk(base, without) if path.suffix == ".go")
    return sorted(str(PurePosixPath(path.relative_to(root))) for path in folders if _is_program(root, path))


def _is_program(root: Path, folder: Path) -> bool:
    texts = [
        read(path) for path in sorted(folder.glob("*.go")) if not re.search(rf"_(test|{OTHER_SYSTEMS})\.go$", path.name)
    ]
    built = [
        text
        for text in texts
        if not re.search(rf"^//\s?(go:build|\+build)\s+({OTHER_SYSTEMS})\s*$", text, re.MULTILINE)
    ]
    bare = [re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL) for text in built]
    return any(re.search(r"^package\s+main\b", text, re.MULTILINE) for text in bare) and any(
        re.search(r"^func\s+main\s*\(", text, re.MULTILINE) for text in bare
    )


def _matches(package: str, pattern: str) -> bool:
    pattern = pattern if pattern.startswith(".") else f"./{pattern}"
    if pattern.endswith("/..."):
        return package == pattern[:-4] or package.startswith(pattern[:-3]) or pattern == "./..."
    return package.removeprefix("./").rstrip("/") == pattern.removeprefix("./").rstrip("/") or (
        package == "." == pattern
    )


def base_name(path: str) -> str:
    """The name that Go gives a module's own program: the last part of its path that is not a major version."""
    parts = path.split("/")
    if len(parts) > 1 and re.fullmatch(r"v\d+", parts[-1]):
        parts.pop()
    return parts[-1]


def _heroku(root: Path, word: str) -> list[str]:
    line = re.search(rf"^//\s?\+heroku\s+{word}\s+(.+)$", read(root / "go.mod"), re.MULTILINE)
    return line[1].split() if line else []


def choose_version(root: Path, modules: dict[str, str], config: dict[str, str]) -> tuple[str, str]:
    """The Go version that the app asks for, without "go" before it, and where it does."""
    files = [
        name
        for name in ("go.work", *(f"{folder}/go.mod".removeprefix("./") for folder in modules))
        if (root / name).is_file()
    ]
    said = [
        ("GOVERSION", config.get("GOVERSION", "")),
        ("+heroku goVersion in go.mod", " ".join(_heroku(root, "goVersion"))),
    ]
    said += [(f"toolchain in {name}", _line(root / name, "toolchain")) for name in files]
    said += [(".go-version", read(root / ".go-version").strip())]
    tool = tool_version(root, "go", "golang")
    said += [(tool[1], tool[0])] if tool else []
    for because, text in said:
        if re.fullmatch(r"(go)?1\.\d+(\.\d+)?(rc\d+|beta\d+)?", text):
            return text.removeprefix("go"), because
        if text and text != "default":
            raise ProblemError(f"'{text}' in {because} is not a version of Go. Write one such as 1.24.")
    lines = [(_numbers(version), version, name) for name in files if (version := _line(root / name, "go"))]
    if lines:
        _, version, name = max(lines)
        return version, f"go {version} in {name}"
    return "", "nothing asks for a version, so it is the newest"


def _line(file: Path, word: str) -> str:
    line = re.search(rf"^{word}\s+([\w.]+)", read(file), re.MULTILINE)
    return line[1] if line else ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))


def ranges(version: str) -> list[str]:
    """Where the toolchain is looked for: the newest release of the version's own line, else a newer one."""
    numbers = re.match(r"1\.(\d+)(?:\.(\d+))?", version)
    if not numbers or _numbers(version)[:2] < OLDEST:
        return [">=1.21"]
    at_least = f"1.{numbers[1]}.{numbers[2] or 0}"
    return [f">={at_least},<1.{int(numbers[1]) + 1}", f">={at_least}"]


def choose_web(programs: list[Program]) -> tuple[Program | None, str]:
    if len(programs) == 1:
        return programs[0], f"{programs[0].package} is the only program"
    own = next((program for program in programs if program.package == "."), None)
    if own:
        return own, "the module's own folder is a program"
    named = next((program for name in WEB_NAMES for program in programs if program.name == name), None)
    return (
        named,
        f"the program {named.name} is called like a web server"
        if named
        else "several programs, and none is called like a web server",
    )


def hook(root: Path, name: str) -> list[str]:
    return [name] if os.access(root / name, os.X_OK) else []


if __name__ == "__main__":
    run("go", make)
