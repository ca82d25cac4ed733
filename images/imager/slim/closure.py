"""The closure of programs: they and every library that the loader will ask for, and files that are named."""

import shutil
from pathlib import Path

from problem import Problem, ask, say


def copy_programs(root: Path, tree: Path, patterns: list[str]) -> None:
    """Copies ELF files and all they are linked to, each to where it was."""
    paths = [f"/{path.relative_to(root)}" for pattern in patterns for path in found(root, pattern)]
    said = ask("lddtree", "--root", str(root), "--copy-to-tree", str(tree), *paths)
    # lddtree is content with libraries that it does not find
    missing = [line.strip() for line in said.splitlines() if "could not locate" in line or "not found" in line]
    if missing:
        raise Problem(f"A library is in none of the packages: {missing[0]}")
    say(f"{len(paths)} programs and what they are linked to")


def copy_files(root: Path, tree: Path, patterns: list[str]) -> None:
    """Copies files, and folders as a whole."""
    for pattern in patterns:
        for path in found(root, pattern):
            target = tree / path.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir() and not path.is_symlink():
                shutil.copytree(path, target, symlinks=True, dirs_exist_ok=True)
            elif not target.exists():
                shutil.copy2(path, target, follow_symlinks=False)


def drop(root: Path, patterns: list[str]) -> None:
    """Takes files and folders out."""
    for pattern in patterns:
        for path in found(root, pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def link(tree: Path, links: dict[str, str]) -> None:
    """Makes symbolic links."""
    for name, target in links.items():
        path = tree / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)


def found(root: Path, pattern: str) -> list[Path]:
    """What a pattern stands for; a pattern that stands for nothing is a mistake."""
    paths = sorted(root.glob(pattern.lstrip("/")))
    if not paths:
        raise Problem(f"{pattern} is in none of the packages.")
    return paths
