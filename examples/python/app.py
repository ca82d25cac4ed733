"""A small web app: reports what runs it."""

import os
import platform

from flask import Flask, jsonify

app = Flask(__name__)


@app.get("/")
def index():
    return jsonify(app="python", version=platform.python_version(), greeting=os.environ.get("GREETING", "hello"))
