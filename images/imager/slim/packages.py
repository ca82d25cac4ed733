"""The distribution's packages: unpacked, and the records and licences of those whose files are kept."""

import posixpath
import re
import shutil
import subprocess
from pathlib import Path

from problem import Problem, ask, run, say

MERGE = 'for d in bin sbin lib lib64; do mkdir -p "$1/usr/$d"; ln -s "usr/$d" "$1/$d"; done'


def extract(suite: str, packages: list[str], root: Path) -> list[Path]:
    """Unpacks packages and what they depend on below ``root``, runs none of their scripts, and returns their files."""
    say(f"{', '.join(packages)} from {suite}")
    try:
        run(
            "mmdebstrap",
            "--mode=chrootless",
            "--variant=extract",
            # Suites before trixie merge /usr when they are installed; extracting installs nothing.
            f"--setup-hook={MERGE}",
            "--skip=cleanup/apt",
            f"--include={','.join(packages)}",
            suite,
            str(root),
        )
    except Problem as problem:
        raise Problem(f"The packages {', '.join(packages)} of {suite} are not available. {problem}") from problem
    # Written by a script of libc-bin that did not run; lddtree looks there for the libraries of libraries.
    (root / "etc/ld.so.conf").write_text("include /etc/ld.so.conf.d/*.conf\n")
    return sorted((root / "var/cache/apt/archives").glob("*.deb"))


def keep_records(debs: list[Path], root: Path, tree: Path, made: set[Path]) -> list[str]:
    """Leaves in ``tree`` what dpkg knows of the packages that it has files of, and their licences.

    ``made`` are files of ours, whatever package has such a name.

    Scanners read /var/lib/dpkg/status.d as they do in distroless images. Returns name=version of each, sorted.
    """
    files = {path for path in tree.rglob("*") if not path.is_dir()}
    kept = {merged(str(path.relative_to(tree))) for path in files - made}
    status, found = tree / "var/lib/dpkg/status.d", []
    status.mkdir(parents=True)
    for deb in debs:
        if kept.isdisjoint(contents(deb)):
            continue
        fields = ask("dpkg-deb", "--field", str(deb))
        name, version = (re.search(rf"^{key}: (\S+)", fields, re.M).group(1) for key in ("Package", "Version"))
        (status / name).write_text(fields)
        found.append(f"{name}={version}")
        licence = root / "usr/share/doc" / name / "copyright"
        if licence.is_file():
            target = tree / "usr/share/doc" / name / "copyright"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(licence, target)
    say(f"{len(found)} packages have files in the image")
    return sorted(found)


def contents(deb: Path) -> set[str]:
    """Names of the files in a package, as they are in a tree whose /usr is merged."""
    archive = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE, check=True).stdout
    listed = subprocess.run(["tar", "--list"], input=archive, stdout=subprocess.PIPE, check=True).stdout
    return {merged(line) for line in listed.decode(errors="replace").splitlines() if not line.endswith("/")}


def merged(name: str) -> str:
    """A file's name relative to the root, where /bin is /usr/bin."""
    plain = posixpath.normpath(name).lstrip("/")
    return f"usr/{plain}" if plain.split("/")[0] in ("bin", "sbin", "lib", "lib64") else plain
