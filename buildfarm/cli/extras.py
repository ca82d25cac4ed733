"""Which extra installs a package that is missing, and the sentence that says so."""

from __future__ import annotations

from importlib.util import find_spec

from buildfarm.errors import SetupError

# The package's name in imports, and the smallest extra that installs it; setup.cfg declares the extras.
EXTRAS = {
    "redis": "farm",
    "cryptography": "farm",
    "packageurl": "farm",
    "univers": "farm",
    "anyio": "api",
    "celery": "api",
    "fastapi": "api",
    "httpcore": "api",
    "jinja2": "api",
    "kombu": "api",
    "prometheus_client": "api",
    "starlette": "api",
    "uvicorn": "api",
    "docker": "node",
    "elftools": "node",
    "requests": "node",
    "yaml": "node",
    "opentelemetry": "traces",
}


def missing_extra(error: ModuleNotFoundError, wanted: str = "") -> SetupError | None:
    """The error for people, with the command that installs ``wanted`` or the smallest extra that has the package.

    None if no extra installs it: then it is a bug, not an installation that is too small.
    """
    package = (error.name or "").partition(".")[0]
    if package not in EXTRAS:
        return None
    extra = wanted or EXTRAS[package]
    return SetupError(
        f"This needs the package {package}, which is not installed.", advice=f"Run: pip install 'buildfarm[{extra}]'"
    )


def require_local() -> None:
    """Raise SetupError unless everything is installed that the local farm consists of."""
    for package in ("redis", "celery", "docker", "yaml", "uvicorn"):
        if find_spec(package) is None:
            raise SetupError(
                f"The local farm needs the package {package}, which is not installed.",
                advice="Run: pip install 'buildfarm[local]'",
            )
