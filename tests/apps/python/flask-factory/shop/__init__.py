"""The app is made by a function."""

from importlib.metadata import version

from flask import Flask


def create_app():
    app = Flask(__name__)

    @app.get("/")
    def index():
        return f"hello from flask {version('flask')}"

    return app
