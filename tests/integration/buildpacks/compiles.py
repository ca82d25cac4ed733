"""A buildpack's ``bin/compile`` on an app whose state is known, with stubs of the programs that it calls."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from testkit.builds import write_files

ROOT = Path(__file__).parents[3]
FARM = ROOT / "images/builder/root/usr/lib/buildfarm"
# A real Python for the farm's own programs; `pip` is the stub beside it.
PYTHON = f'exec {sys.executable} "$@"'
BASH = "#!/bin/bash\nset -eu\n"


@dataclass(frozen=True)
class State:
    """All that an app's image may depend on, as one build finds it."""

    files: Mapping[str, str]
    config: Mapping[str, str] = field(default_factory=dict)
    programs: Mapping[str, str] = field(default_factory=dict)  # stubs in bash, by name; below "stubs/" other files
    packages: str = "Package: libc6\n"  # the builder's
    own: Mapping[str, str] = field(default_factory=dict)  # lines added to files of the buildpack: another version of it

    def with_files(self, changed: Mapping[str, str | None]) -> State:
        """With these files; None leaves one out."""
        both = {**self.files, **changed}
        return replace(self, files={name: text for name, text in both.items() if text is not None})


class Workbench:
    """One buildpack in one folder, whose paths are the same in every build: only states and caches differ."""

    def __init__(self, folder: Path, buildpack: str) -> None:
        self.folder, self.buildpack = folder, buildpack
        self.app, self.cache = folder / "app", folder / "cache"

    def build(self, state: State) -> dict[str, bytes]:
        """Every file and folder that the build leaves in the app, on the cache as it is."""
        self._put(state)
        command = ["bash", f"{self.folder}/buildpack/bin/compile", str(self.app), str(self.cache), f"{self.folder}/env"]
        variables = {
            "PATH": f"{self.folder}/programs:{os.environ['PATH']}",
            "HOME": str(self.app),
            "TMPDIR": f"{self.folder}/tmp",
            "PYTHONPATH": f"{self.folder}/stubs",
            "FACTS": f"{self.folder}/facts",
            "BUILDFARM_PACKAGES": f"{self.folder}/status",
        }
        done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return tree(self.app)

    def empty(self) -> None:
        """Without a cache."""
        remove(self.cache)

    def keep(self) -> None:
        """Remembers the cache."""
        copy(self.cache, self.folder / "kept")

    def go_back(self) -> None:
        """To the cache that was remembered."""
        copy(self.folder / "kept", self.cache)

    def _put(self, state: State) -> None:
        for name in ("app", "env", "tmp", "programs", "stubs", "facts", "buildpack", "farm"):
            remove(self.folder / name)
            (self.folder / name).mkdir()
        self.cache.mkdir(exist_ok=True)
        write_files(self.app, state.files)
        write_files(self.folder / "env", state.config)
        (self.folder / "status").write_text(state.packages)
        write_files(self.folder / "facts", _facts(state))
        self._put_programs({"python3": PYTHON, **state.programs})
        self._copy(ROOT / "images/buildpacks" / self.buildpack, self.folder / "buildpack")
        self._copy(FARM, self.folder / "farm")
        for name, line in state.own.items():
            with (self.folder / "buildpack" / name).open("a") as file:
                file.write(line)

    def _put_programs(self, programs: Mapping[str, str]) -> None:
        for name, body in programs.items():
            if name.startswith("stubs/"):
                write_files(self.folder, {name: body})
                continue
            path = self.folder / "programs" / name
            path.write_text(BASH + body + "\n")
            path.chmod(0o755)

    def _copy(self, source: Path, target: Path) -> None:
        shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        own = {
            "/tmp/": f"{self.folder}/tmp/",
            "/usr/lib/buildfarm": f"{self.folder}/farm",
            "/usr/bin/python3": f"{self.folder}/programs/python3",
            "/var/lib/dpkg/status": f"{self.folder}/status",
        }
        for path in filter(Path.is_file, target.rglob("*")):
            text = path.read_text()
            for theirs, ours in own.items():
                text = text.replace(theirs, ours)
            path.write_text(text)


def _facts(state: State) -> dict[str, str]:
    """What stubs may look up to say what they have seen; real tools see it as flags, headers and the like."""
    config = "".join(f"{name}={value}\n" for name, value in sorted(state.config.items()))
    return {"config": config, "packages": state.packages, "own": repr(sorted(state.own.items()))}


def tree(root: Path) -> dict[str, bytes]:
    """Every file with its content, every link with its target, and every folder."""
    return {str(path.relative_to(root)): _content(path) for path in root.rglob("*")}


def _content(path: Path) -> bytes:
    if path.is_symlink():
        return f"-> {path.readlink()}".encode()
    return path.read_bytes() if path.is_file() else b""


def remove(folder: Path) -> None:
    """Removes a folder, also what is read-only in it."""
    if folder.exists():
        subprocess.run(["chmod", "-R", "u+rwX", folder], check=True)
        shutil.rmtree(folder)


def copy(source: Path, target: Path) -> None:
    """Makes the target what the source is."""
    remove(target)
    shutil.copytree(source, target, symlinks=True)
