"""Answers with the version of a dependency."""

from importlib.metadata import version

from fastapi import FastAPI

app = FastAPI()


@app.get("/")
def index():
    return {"answer": f"hello from itsdangerous {version('itsdangerous')}"}
