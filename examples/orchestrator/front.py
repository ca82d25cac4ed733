"""nginx forwards one port per app, which never changes, to the container that serves the app now."""

import socket
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

DRAIN_SECONDS = 15  # then requests that still run on an earlier container are cut off

_CONFIGURATION = f"""
pid pid; worker_processes 1; worker_shutdown_timeout {DRAIN_SECONDS}s; events {{ }}
http {{
  access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; scgi_temp_path scgi;
  uwsgi_temp_path uwsgi; proxy_http_version 1.1; proxy_set_header Host $http_host; include apps/*.conf;
}}
"""
_APP = "server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://{address}; }} }}\n"


@dataclass(frozen=True)
class Front:
    """An nginx with its files in a folder that nothing else uses."""

    folder: Path
    nginx: str = "nginx"
    _routes: dict[str, str] = field(default_factory=dict)  # what nginx has taken from this process
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        """Starts nginx, if it does not run already. Raises OSError, which TimeoutError is."""
        (self.folder / "apps").mkdir(parents=True, exist_ok=True)
        (self.folder / "nginx.conf").write_text(_CONFIGURATION)
        if not self._workers():
            self._run()
        until = time.monotonic() + DRAIN_SECONDS
        while not self._workers():
            if time.monotonic() > until:
                raise TimeoutError(f"nginx does not start: see {self.folder}/errors")
            time.sleep(0.05)

    def route(self, app: str, port: int, address: str) -> None:
        """Sends new requests for an app to this address; returns when those that run elsewhere have been answered.

        Raises OSError.
        """
        with self._one_at_a_time:
            if self._routes.get(app) == address:
                return
            path = self.folder / "apps" / f"{app.replace('/', '_')}.conf"
            if not path.exists():
                _require_free(app, port)
            path.write_text(_APP.format(port=port, address=address))
            # After a reload, the workers of before take no new request, and exit when they have answered the others.
            before, until = self._workers(), time.monotonic() + DRAIN_SECONDS + 5
            self._run("-s", "reload")
            while before & self._workers():
                if time.monotonic() > until:
                    raise TimeoutError(f"nginx did not take its new configuration: see {self.folder}/errors")
                time.sleep(0.05)
            self._routes[app] = address

    def stop(self) -> None:
        """Ends nginx, if it runs."""
        if self._workers():
            self._run("-s", "quit")

    def _run(self, *signal: str) -> None:
        command = [self.nginx, "-p", str(self.folder), "-c", "nginx.conf", "-e", "errors", *signal]
        if subprocess.run(command, check=False).returncode:
            raise OSError(f"nginx failed: see {self.folder}/errors")

    def _workers(self) -> set[str]:
        try:
            pid = (self.folder / "pid").read_text().strip()
            return set(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        except FileNotFoundError:
            return set()


def _require_free(app: str, port: int) -> None:
    """Raises OSError: nginx takes no route, also of other apps, while it cannot listen on one port."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as nginx: connections of before do not matter
        try:
            tried.bind(("127.0.0.1", port))
        except OSError as error:
            raise OSError(f"the port {port} of {app} is taken by another program") from error
