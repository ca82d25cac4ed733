"""What layers and the platform do to the environment (buildpack.md, "Environment"). Pure but for reading files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

# Folder of a layer to variable (buildpack.md, "Layer Paths")
_AT_BUILD = (
    ("bin", "PATH"),
    ("lib", "LD_LIBRARY_PATH"),
    ("lib", "LIBRARY_PATH"),
    ("include", "CPATH"),
    ("pkgconfig", "PKG_CONFIG_PATH"),
)
_AT_LAUNCH = (("bin", "PATH"), ("lib", "LD_LIBRARY_PATH"))
_PATHS = frozenset(name for _, name in _AT_BUILD)
_SUFFIXES = ("append", "prepend", "default", "override")


def add_paths(variables: dict[str, str], layer: Path, *, launch: bool) -> None:
    """Puts the layer's folders before what the path variables hold."""
    for folder, name in _AT_LAUNCH if launch else _AT_BUILD:
        if (layer / folder).is_dir():
            old = variables.get(name)
            variables[name] = f"{layer / folder}:{old}" if old else str(layer / folder)


def add_files(variables: dict[str, str], folder: Path) -> None:
    """Does what the files of an env folder say: NAME[.append|.prepend|.default|.override], and NAME.delim."""
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        name, _, suffix = path.name.partition(".")
        if not path.is_file() or (suffix and suffix not in _SUFFIXES):
            continue
        value, old = _text(path), variables.get(name)
        delim = folder / f"{name}.delim"
        between = _text(delim) if delim.is_file() else ""
        if suffix == "append":
            value = f"{old}{between}{value}" if old else value
        elif suffix == "prepend":
            value = f"{value}{between}{old}" if old else value
        elif suffix == "default" and old is not None:
            value = old
        variables[name] = value


def add_user(variables: dict[str, str], folder: Path) -> None:
    """The platform's variables: they win, but the path variables keep what buildpacks put into them behind."""
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if path.is_file():
            old = variables.get(path.name)
            value = _text(path)
            variables[path.name] = f"{value}:{old}" if old and path.name in _PATHS else value


def without(variables: Mapping[str, str], *names: str) -> dict[str, str]:
    """The variables but these."""
    return {name: value for name, value in variables.items() if name not in names}


def _text(path: Path) -> str:
    """Taken as it is: a newline at the end is part of the value."""
    return path.read_bytes().decode(errors="surrogateescape")
