"""A registry's files, written as the registry writes them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Disk:
    """The files below a folder at a moment; an ``age`` is how many seconds before it something was written."""

    root: Path
    now: float

    @property
    def _top(self) -> Path:
        return self.root / "docker/registry/v2"

    def make(self) -> Disk:
        """An empty registry."""
        (self._top / "repositories").mkdir(parents=True)
        return self

    def blob(self, content: bytes, age: float = 0, repository: str = "") -> str:
        """A blob, which the repository lists; its digest."""
        name = hashlib.sha256(content).hexdigest()
        path = self._top / "blobs/sha256" / name[:2] / name
        path.mkdir(parents=True, exist_ok=True)
        (path / "data").write_bytes(content)
        self._date(path / "data", age)
        if repository:
            self._link(self._layers(repository) / name, f"sha256:{name}", age)
        return f"sha256:{name}"

    def manifest(
        self,
        repository: str,
        layers: Iterable[str] = (),
        tags: Iterable[str] = (),
        *,
        age: float = 0,
        manifests: Iterable[str] = (),
        subject: str = "",
        text: str = "",
    ) -> str:
        """A manifest of these layers, or an index of these manifests; its digest."""
        layers = list(layers)
        content: dict[str, object] = {
            "layers": [{"digest": layer} for layer in layers],
            "manifests": [{"digest": digest} for digest in manifests],
            "annotations": {"text": text},
        }
        if subject:
            content["subject"] = {"digest": subject}
        digest = self.blob(json.dumps(content).encode(), age)
        folder = self._top / "repositories" / repository / "_manifests"
        self._link(folder / "revisions/sha256" / _hex(digest), digest, age)
        for layer in layers:
            self._link(self._layers(repository) / _hex(layer), layer, age)
        for tag in tags:
            self._link(folder / "tags" / tag / "index/sha256" / _hex(digest), digest, age)
            self._link(folder / "tags" / tag / "current", digest, age)
        return digest

    def inodes(self) -> int:
        """How many files and folders there are."""
        return sum(1 for _ in self._top.rglob("*"))

    def _layers(self, repository: str) -> Path:
        return self._top / "repositories" / repository / "_layers/sha256"

    def _link(self, folder: Path, digest: str, age: float) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "link").write_text(digest)
        self._date(folder / "link", age)

    def _date(self, path: Path, age: float) -> None:
        os.utime(path, (self.now - age, self.now - age))


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")
