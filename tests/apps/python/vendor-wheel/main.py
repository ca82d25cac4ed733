"""One of its packages is in no index."""

import importlib.metadata
import os
from http.server import BaseHTTPRequestHandler, HTTPServer

import shop_words


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        said = f"{shop_words.GREETING} and itsdangerous {importlib.metadata.version('itsdangerous')}\n"
        self.wfile.write(said.encode())


HTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
