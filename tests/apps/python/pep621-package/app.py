"""Answers with the version of a dependency."""

import os
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        names = sorted(path.name for path in Path("front.egg-info").iterdir())
        page = Path("build/index.html").read_text().strip()
        self.wfile.write(f"hello from itsdangerous {version('itsdangerous')}, {page}, {names}\n".encode())


if __name__ == "__main__":
    HTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
