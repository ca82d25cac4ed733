"""Answers with the version of a dependency."""

import os
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from pathlib import Path

from greeting import WORD


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        names = sorted(path.name for path in Path("libs/greeting").rglob("*"))
        self.wfile.write(f"{WORD} from itsdangerous {version('itsdangerous')}, {names}\n".encode())


if __name__ == "__main__":
    HTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
