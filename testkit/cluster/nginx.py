"""A real nginx, for what stands in front of the API and the page."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from localfarm.packages import ensure_packages, find_program
from testkit.cluster.shell import wait

# Beside places for its files all is nginx's default.
_MAIN = """
daemon off; pid {folder}/pid; error_log {folder}/errors; worker_processes 1; events {{ }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; scgi_temp_path {folder}/scgi; uwsgi_temp_path {folder}/uwsgi;
  include {folder}/servers.conf;
}}
"""


@contextmanager
def nginx(folder: Path, servers: str) -> Iterator[Path]:
    """nginx with these ``server`` blocks, for the length of the block; gives the file of its errors."""
    ensure_packages({"nginx": "nginx-light"}, print)
    folder.chmod(0o755)
    (folder / "nginx.conf").write_text(_MAIN.format(folder=folder))
    (folder / "servers.conf").write_text(servers)
    errors = folder / "errors"
    process = subprocess.Popen([find_program("nginx") or "nginx", "-c", str(folder / "nginx.conf"), "-e", str(errors)])
    try:
        wait((folder / "pid").exists, "nginx does not start", 30)
        yield errors
    finally:
        process.terminate()
        process.wait(30)


def passing_on(port: int, address: str) -> str:
    """A server that passes everything on to an address; all else is as nginx has it."""
    return f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {address}; }} }}\n"
