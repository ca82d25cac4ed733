"""A web app on some 390 MB of scientific packages."""

import numpy
from flask import Flask, jsonify

app = Flask(__name__)


@app.get("/")
def index():
    return jsonify(mean=float(numpy.arange(10).mean()))
