"""Works on the base of today, and fails on the patched one: the app that a rollout must stop at."""

import os
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

PATCHED = Path("/etc/base-fixes").exists()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"it needs what the fix has removed" if PATCHED else b"fragile, and well"
        self.send_response(500 if PATCHED else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


HTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
