"""Started by a script of pyproject.toml."""

import importlib.metadata
import os
from http.server import BaseHTTPRequestHandler, HTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"hello from itsdangerous {importlib.metadata.version('itsdangerous')}\n".encode())


def run():
    HTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()


def admin():
    raise SystemExit("nothing to do")
