"""The real apps of `make verify-fleet`: three C programs that use libssl, all examples, and apps of each family.

Of the families whose builds are slow (Go, Rust), there is one app each.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testkit.apps.samples import App, read_apps

EXAMPLES = Path(__file__).parents[2] / "examples"
SSL = ("ssl-1", "ssl-2", "ssl-3")  # their own program needs libssl of the base
# One of each family first, so that a smaller number has all of them.
SELECTED = (
    "cpp/make", "deno/main-ts", "java/javac", "node/express", "perl/snapshot", "php/no-lock", "python/flask-factory",
    "ruby/linux-lock", "shell/bash", "static/public", "examples/inline", "examples/procfile", "examples/static",
    "go/commands", "rust/vendored", "examples/apt", "examples/java", "examples/node", "examples/perl", "examples/php",
    "examples/python", "examples/ruby", "cpp/cmake", "cpp/meson", "deno/npm", "java/gradle-wrapper", "node/bun",
    "node/next-standalone", "node/node-version", "node/pnpm-12", "node/yarn-pnp", "php/laravel", "python/django",
    "python/pip-includes", "python/script", "python/uv-fastapi", "shell/sh",
)  # fmt: skip


@contextmanager
def folders(count: int) -> Iterator[dict[str, Path]]:
    """The sources of so many, by app."""
    samples = {one.label: one for one in read_apps()}
    with tempfile.TemporaryDirectory() as folder:
        found = {name: _with_libssl(Path(folder) / name) for name in SSL}
        found |= dict(_source(label, samples) for label in SELECTED)
        yield dict(list(found.items())[:count])


def _source(label: str, samples: dict[str, App]) -> tuple[str, Path]:
    kind, _, name = label.partition("/")
    return (name, EXAMPLES / name) if kind == "examples" else (samples[label].app_name, samples[label].folder)


def _with_libssl(folder: Path) -> Path:
    shutil.copytree(EXAMPLES / "inline", folder)
    path = folder / "bin/compile"
    path.write_text(path.read_text().replace("server.c\n", "server.c -Wl,--no-as-needed -l:libssl.so.3\n"))
    return folder
