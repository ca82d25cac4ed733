"""``serve.py FOLDER [--fallback PAGE] [--settings FILE]``: become lighttpd, which serves the folder on `$PORT`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

from lighttpd import configure
from site_files import Site, from_settings, with_files
from tree import digest, read_tree


def main() -> None:
    arguments = _arguments()
    root = Path(arguments.folder).resolve()
    if not root.is_dir():
        sys.exit(f"The folder {arguments.folder} is not in the app. Name the folder that the build makes.")
    os.environ.setdefault("PORT", "8080")
    config = configuration(root, _settings(arguments))
    # The file has no name, so that a read-only image can be served.
    file = os.memfd_create("lighttpd.conf", 0)
    os.write(file, config.encode())
    os.execvp("lighttpd", ["lighttpd", "-D", "-f", f"/proc/self/fd/{file}"])


def configuration(root: Path, site: Site) -> str:
    site = with_files(site, root)
    tree = read_tree(root, dot_files=site.dot_files)
    return configure(site, tree, root, digest(root, tree, configure(site, tree, root, "")))


def _settings(arguments: argparse.Namespace) -> Site:
    site = from_settings(json.loads(Path(arguments.settings).read_text())) if arguments.settings else Site()
    return replace(site, fallback=arguments.fallback) if arguments.fallback else site


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="serve-static")
    parser.add_argument("folder")
    parser.add_argument("--fallback", default="")
    parser.add_argument("--settings", default="")
    return parser.parse_args()


if __name__ == "__main__":
    main()
