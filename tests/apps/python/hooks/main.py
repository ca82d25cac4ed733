"""Answers with the version of a dependency."""

import os
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

FILES = ("static/after.txt", "before.txt", "greeting.txt")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        made = ", ".join(Path(name).read_text().strip() for name in FILES)
        self.wfile.write(f"hello from itsdangerous {made}\n".encode())


if __name__ == "__main__":
    HTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
