"""Four real apps, built once by the farm's own buildpacks in the builder image, and kept for later runs."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from buildfarm.oci.tree import scan
from buildfarm.settings import Settings

KEPT = Path("/var/tmp/buildfarm-bench")

PYTHON = """flask==3.1.2
gunicorn==23.0.0
numpy==2.3.4
pandas==2.3.3
scipy==1.16.2
sqlalchemy==2.0.44
"""
NODE = {
    "webpack": "5.102.1",
    "webpack-cli": "6.0.1",
    "jest": "30.2.0",
    "eslint": "9.38.0",
    "@babel/core": "7.28.4",
    "@babel/preset-env": "7.28.3",
    "@babel/preset-react": "7.27.1",
    "typescript": "5.9.3",
    "prettier": "3.6.2",
    "lodash": "4.17.21",
    "date-fns": "4.1.0",
    "rxjs": "7.8.2",
    "core-js": "3.46.0",
}
FRONT = {"vite": "7.1.11", "react": "19.2.0", "react-dom": "19.2.0", "three": "0.180.0", "lodash-es": "4.17.21"}


@dataclass(frozen=True)
class Tree:
    """A built app: its folder, what of it came with the source, and the file that a change of code changes."""

    name: str
    root: Path
    source_names: frozenset[str]
    code: str
    files: int
    raw_bytes: int


def make_trees(settings: Settings, image: str) -> dict[str, Tree]:
    """Each tree, made if it is not there from an earlier run with the same builder."""
    sources: dict[str, tuple[dict[str, str], str, str]] = {
        "python": ({"requirements.txt": PYTHON, "app.py": "print(1)\n"}, "python", "app.py"),
        "node": ({"package.json": _package(NODE, {}), "server.js": "console.log(1)\n"}, "nodejs", "server.js"),
        "front": (
            {
                "package.json": _package(FRONT, {"build": "vite build"}),
                "index.html": '<!doctype html><div id="app"></div><script type="module" src="/main.js"></script>\n',
                "main.js": 'import * as three from "three"; import _ from "lodash-es"; console.log(three, _);\n',
            },
            "nodejs",
            "main.js",
        ),
        "tiny": (
            {f"part{n}.py": "".join(f"value_{n}_{i} = {i * n}\n" for i in range(900)) for n in range(40)},
            "",
            "part1.py",
        ),
    }
    return {name: _make(name, *source, settings=settings, image=image) for name, source in sources.items()}


def _make(name: str, files: dict[str, str], buildpack: str, code: str, *, settings: Settings, image: str) -> Tree:
    key = hashlib.sha256(f"{image} {json.dumps(files)}".encode()).hexdigest()[:12]
    home = KEPT / f"{name}-{key}"
    root = home / "app"
    if not (home / "done").exists():
        shutil.rmtree(home, ignore_errors=True)
        root.mkdir(parents=True)
        for path, content in files.items():
            (root / path).write_text(content)
        if buildpack:
            print(f"building the tree of {name}", flush=True)
            _build(home, buildpack, settings, image)
        (home / "done").touch()
    found = scan(root).found
    return Tree(
        name=name,
        root=root,
        source_names=frozenset(f"app/{path}" for path in files),
        code=code,
        files=len(found),
        raw_bytes=sum(item.size_bytes for item in found),
    )


def _build(home: Path, buildpack: str, settings: Settings, image: str) -> None:
    """Runs the buildpack as a build does: as user 1000, the app at /app."""
    for folder in ("cache", "env"):
        (home / folder).mkdir()
    subprocess.run(["chown", "-R", "1000:1000", home], check=True)
    command = ["docker", "run", "--rm", "--init", f"--network={settings.sandbox_network}", "--entrypoint=bash"]
    for folder, at in (("app", "/app"), ("cache", "/cache"), ("env", "/platform/env")):
        command += ["--volume", f"{home / folder}:{at}"]
    if settings.ca_bundle:
        command += ["--volume", f"{settings.ca_bundle}:/ca.crt:ro"]
        for variable in ("PIP_CERT", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"):
            command += ["--env", f"{variable}=/ca.crt"]
    script = f"cp -r /buildpacks/{buildpack} /tmp/b && exec /tmp/b/bin/compile /app /cache /platform/env"
    subprocess.run([*command, image, "-c", script], check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(home / "cache")


def _package(dependencies: dict[str, str], scripts: dict[str, str]) -> str:
    return json.dumps({"name": "bench", "version": "1.0.0", "dependencies": dependencies, "scripts": scripts})
