"""Answers with the version of the framework."""

from importlib.metadata import version

from fasthtml.common import P, fast_app, serve

app, rt = fast_app(pico=False)


@rt("/")
def get():
    return P(f"hello from fasthtml {version('python-fasthtml')}")


serve()
