"""Apps that bring a Python of their own, and a base whose Python is a newer one."""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

from testkit.buildpacks import SHEBANG
from testkit.builds import write_files

CNB_TOML = 'api = "0.10"\n[buildpack]\nid = "verify/fleet"\nversion = "1.0.0"\n'
# The app's own buildpack copies the base's Python, with the header that tells its version.
_COMPILE = """
cd "$1"
mkdir -p python/bin python/include
cp -L /usr/bin/python3 python/bin/python3
cp -r /usr/include/python3.* python/include/
"""
_RELEASE = "printf -- '---\\ndefault_process_types:\\n  web: python/bin/python3 server.py\\n'\n"
_CNB = """
layers=$1
mkdir -p "$layers/notes"
echo "a layer of its own" >"$layers/notes/text"
printf '[types]\\nlaunch = true\\n[metadata]\\nnotes = 1\\n' >"$layers/notes.toml"
printf '[[processes]]\\ntype = "web"\\ncommand = ["python3", "server.py"]\\ndefault = true\\n' >"$layers/launch.toml"
"""
_SERVER = """
import os, platform
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"Python {{platform.python_version()}}".encode()
        self.send_response(500 if platform.python_version() == "{fails_on}" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

HTTPServer(("0.0.0.0", int(os.environ.get("PORT", "8080"))), Handler).serve_forever()
"""


def bundling(folder: Path, *, fails_on: str = "") -> Path:
    """The source of an app that brings its Python and answers with its version; with 500 on one version."""
    programs = {"bin/detect": "echo Inline\n", "bin/compile": _COMPILE, "bin/release": _RELEASE}
    write_files(folder, {name: SHEBANG + text for name, text in programs.items()})
    return write_files(folder, {"server.py": _SERVER.format(fails_on=fails_on)})


def of_the_base(folder: Path) -> Path:
    """The source of an app that answers with the version of its base's Python."""
    return write_files(folder, {"server.py": _SERVER.format(fails_on=""), "Procfile": "web: python3 server.py\n"})


def cnb_buildpack(folder: Path) -> Path:
    """A Cloud Native Buildpack that starts such an app, with a layer of its own."""
    files = {"bin/detect": SHEBANG + "exit 0\n", "bin/build": SHEBANG + _CNB, "buildpack.toml": CNB_TOML}
    return write_files(folder, files)


def newer_python(image: str) -> tuple[str, str, Mapping[str, bytes]]:
    """The version of a base's Python, a newer one, and the files with which the base has that one.

    Only the version's text differs in them. ``image`` is on the engine.
    """
    script = "cd / && tar -chf - usr/include/python3.*/patchlevel.h $(readlink -f /usr/bin/python3 | cut -c2-)"
    command = ["docker", "run", "--rm", "--network=none", "--entrypoint=sh", image, "-c", script]
    done = subprocess.run(command, capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        files = {one.name: found.read() for one in archive if (found := archive.extractfile(one))}
    header = next(content for name, content in files.items() if name.endswith(".h"))
    old = re.search(rb'PY_VERSION\s+"(\d+\.\d+\.\d*)(\d)"', header)
    if old is None or old[2] == b"9":
        raise SystemExit("The base's Python has a version to which no newer one of the same length follows.")
    before, after = old[1] + old[2], old[1] + str(int(old[2]) + 1).encode()
    return before.decode(), after.decode(), {name: text.replace(before, after) for name, text in files.items()}
