"""Answers with the version of a dependency."""

import os
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"hello from itsdangerous {version('itsdangerous')}\n".encode())


if __name__ == "__main__":
    HTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
