"""Answers with the version of a dependency."""

from importlib.metadata import version

from flask import Flask

app = Flask(__name__)


@app.get("/")
def index():
    return f"hello from itsdangerous {version('itsdangerous')}"
