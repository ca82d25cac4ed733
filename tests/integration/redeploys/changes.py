"""What builds do to trees that they find: each change as the scripts of an app of the buildpack ``changing``."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

TREE = """
mkdir -p one/deep two empty
seq 20000 >one/deep/file; echo 1 >one/first; echo 2 >two/second; echo 3 >third
ln -s one/first to-file; ln -s one to-folder
chmod 755 one/first
"""
# A cache with hard links of its own is mounted in another way than one without.
LINKED = f"{TREE}\necho linked >one/linked; ln one/linked two/linked"
AGAIN = "rm -rf -- * .[!.]*"


@dataclass(frozen=True)
class Change:
    """Bash for each step; ``files`` are further files of the app's source. Without ``undo`` the tree is made anew."""

    change: str
    undo: str = ""
    make: str = TREE
    files: dict[str, bytes] = field(default_factory=dict)

    def write(self, folder: Path, version: str) -> Path:
        """The app's source; ``version`` makes it another one."""
        undo = self.undo or f"{AGAIN}\n{self.make}"
        scripts = {"make": self.make, "change": self.change, "undo": undo, "version": version}
        texts = {name: f"{text}\n".encode() for name, text in {**scripts, "Procfile": "web: true"}.items()}
        for name, content in {**texts, **self.files}.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return folder


def together(changes: Iterable[Change]) -> Change:
    """All of them in one app, each on its own tree in a numbered folder."""
    all_changes = [replace(change, undo=change.undo or f"{AGAIN}\n{change.make}") for change in changes]

    def script(step: Callable[[Change], str]) -> str:
        return "\n".join(
            f"mkdir -p {number} && cd {number}\n{step(change)}\ncd .." for number, change in enumerate(all_changes)
        )

    return Change(
        script(lambda change: change.change),
        undo=script(lambda change: change.undo),
        make=script(lambda change: change.make),
    )


def _package(version: str) -> bytes:
    """A package for npm; what is in it differs from version to version."""
    texts = {
        "package.json": json.dumps({"name": "dep", "version": version, "main": f"v{version}/index.js"}),
        f"v{version}/index.js": f"module.exports = '{version}'\n",
        "same.js": "module.exports = 'same'\n",
        "changed.js": f"module.exports = '{version}'\n",
    }
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, text in texts.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return content.getvalue()


def _wheel(version: str) -> bytes:
    """A package for pip and uv, likewise."""
    texts = {
        "dep/__init__.py": f"VERSION = '{version}'\n",
        f"dep/v{version[0]}/module.py": "",
        "dep/same.py": "SAME = True\n",
        f"dep-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: dep\nVersion: {version}\n",
        f"dep-{version}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = [
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip('=')},{len(text)}"
        for name, text in texts.items()
    ]
    texts[f"dep-{version}.dist-info/RECORD"] = "\n".join([*rows, f"dep-{version}.dist-info/RECORD,,"]) + "\n"
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in texts.items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return content.getvalue()


PACKAGES = {f"dep-{version}.tgz": _package(version) for version in ("1.0.0", "2.0.0")}
WHEELS = {f"wheels/dep-{version}-py3-none-any.whl": _wheel(version) for version in ("1.0.0", "2.0.0")}

_NPM = "npm install --offline --no-audit --no-fund --cache /tmp/npm --loglevel error $SOURCE/dep-{}.tgz"
_PIP = (
    "export PYTHONDONTWRITEBYTECODE=1; "
    "pip --python $PWD/venv/bin/python3 install -q --no-compile --no-index --find-links $SOURCE/wheels"
)
_VENV = f"python3 -m venv --without-pip venv; {_PIP} dep==1.0.0"
# A store beside the tree: it can be linked to, and what is written to a file of the tree is written to the store.
_PNPM = """
[ -d $CACHE_DIR/pnpm ] || npm install --silent --no-audit --cache /tmp/npm --prefix $CACHE_DIR/pnpm pnpm@9.15.9
cat >package.json <<EOF
{{"dependencies": {{"dep": "file:$SOURCE/dep-{version}.tgz"}}}}
EOF
node $CACHE_DIR/pnpm/node_modules/pnpm/bin/pnpm.cjs install --offline --silent --no-lockfile --store-dir $PWD/store \\
  --config.package-import-method=hardlink
rm -rf node_modules/.modules.yaml
"""
_WRITE_TO_LINK = (
    "for file in $(find . -name changed.js -o -name same.py | LC_ALL=C sort); do echo '# written' >>$file; done\n"
    # The names and dates in a store are the package manager's own affair.
    "grep -rl '# written' store | wc -l >written"
)
_UV = """
[ -d $CACHE_DIR/uv ] || pip install -q --target $CACHE_DIR/uv uv==0.9.5
export UV_CACHE_DIR=$PWD/store UV_LINK_MODE=hardlink UV_OFFLINE=1
[ -d venv ] || $CACHE_DIR/uv/bin/uv venv -q venv
$CACHE_DIR/uv/bin/uv pip install -q --python venv/bin/python3 --no-index --find-links $SOURCE/wheels dep=={version}
# It has the time of the wheel, which is the time of the build.
find venv -name uv_cache.json -delete
sed -i /uv_cache.json/d venv/lib/*/site-packages/*.dist-info/RECORD
"""

SHELL = {
    "rename a file": Change("mv one/first one/renamed", undo="mv one/renamed one/first"),
    "rename a folder": Change("mv one three; echo 4 >three/deep/more", undo="rm three/deep/more; mv three one"),
    "swap two folders": Change("mv one x; mv two one; mv x two", undo="mv one x; mv two one; mv x two"),
    "move a folder into another": Change("mv one/deep two/", undo="mv two/deep one/"),
    "delete and re-create a folder": Change("rm -rf one; mkdir -p one/deep; echo new >one/new"),
    "delete a file and a folder": Change("rm -r one/deep third"),
    "a folder becomes a file": Change("rm -r one; echo file >one"),
    "a folder becomes a link": Change("rm -r one; ln -s two one"),
    "a file becomes a folder": Change("rm third; mkdir third; echo 3 >third/inside"),
    "a file becomes a link": Change("rm third; ln -s two/second third"),
    "a link becomes a file": Change("rm to-file; echo plain >to-file"),
    "a link becomes a folder": Change("rm to-folder; mkdir to-folder; echo 5 >to-folder/inside"),
    "a link leads elsewhere": Change("ln -sfn two to-folder", undo="ln -sfn one to-folder"),
    "chmod only": Change("chmod 644 one/first; chmod 755 third", undo="chmod 755 one/first; chmod 644 third"),
    "link a file that was there": Change("ln third one/third", undo="rm one/third"),
    "the same size and time": Change(
        "time=$(stat -c %Y third); echo 4 >third; touch -d @$time third",
        undo="time=$(stat -c %Y third); echo 3 >third; touch -d @$time third",
    ),
}
LINKS = {
    "write to one of two hard links": Change("echo more >>one/linked", undo="echo linked >one/linked", make=LINKED),
    "truncate one of two hard links": Change(": >two/linked", undo="echo linked >one/linked", make=LINKED),
    "remove one of two hard links": Change("rm one/linked", undo="ln two/linked one/linked", make=LINKED),
    "rename the folder of a hard link": Change(
        "mv one three; echo more >>three/linked", undo="echo linked >three/linked; mv three one", make=LINKED
    ),
    "a third hard link": Change("ln one/linked third-link; echo more >>third-link", make=LINKED),
}
APPS = {
    "nothing": Change(":", undo=":"),
    "changes by the shell": together(SHELL.values()),
    "changes of hard links": together(LINKS.values()),
}
# Each installs anew in six builds, which takes longer than all others together.
PACKAGE_MANAGERS = {
    "npm install of a changed dependency": Change(
        _NPM.format("2.0.0"), undo=_NPM.format("1.0.0"), make=_NPM.format("1.0.0"), files=PACKAGES
    ),
    "pip install -U of a changed dependency": Change(
        f"{_PIP} -U dep", undo=f"{_PIP} dep==1.0.0", make=_VENV, files=WHEELS
    ),
    "pnpm in hard-link mode": Change(
        f"{_PNPM.format(version='2.0.0')}\n{_WRITE_TO_LINK}", make=_PNPM.format(version="1.0.0"), files=PACKAGES
    ),
    "uv in hard-link mode": Change(
        f"{_UV.format(version='2.0.0')}\n{_WRITE_TO_LINK}", make=_UV.format(version="1.0.0"), files=WHEELS
    ),
}
