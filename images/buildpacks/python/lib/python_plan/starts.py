"""How an app is started in production, by what it is made with and what is installed."""

from __future__ import annotations

import re
from typing import NamedTuple

from python_plan import functions, scripts
from python_plan.app import App

Names = dict[str, tuple[str, ...]]

# What a distribution (with one of these extras) brings along.
_BRINGS = {
    ("fastapi", "standard"): ("uvicorn",),
    ("fastapi", "all"): ("uvicorn",),
    ("python-fasthtml", ""): ("uvicorn",),
    ("litestar", "standard"): ("uvicorn",),
    ("channels", "daphne"): ("daphne",),
    ("fastapi-cli", ""): ("uvicorn",),
    ("gradio", ""): ("uvicorn",),
    ("dash", ""): ("flask",),
    ("quart", ""): ("hypercorn",),
}
_WSGI = ("Flask", "Bottle", "APIFlask", "Connexion")
_ASGI = ("FastAPI", "Starlette", "FastHTML", "Litestar", "Quart", "Sanic", "Blacksheep")
_STEMS = ("main", "app", "wsgi", "asgi", "application", "server", "run", "api", "index", "web", "__init__")
_PLAIN = (
    "main.py",
    "app.py",
    "server.py",
    "run.py",
    "bot.py",
    "application.py",
    "index.py",
    "src/main.py",
    "src/app.py",
    "__main__.py",
)
_MAKES = r"(?m)^({name})\s*(?::[^=\n]+)?=\s*(?:[\w.]+\.)?(?:{classes})\("
_IMPORTED = r"(?m)^from [\w.]+ import (?:\w+ as )?(app|application)[ \t]*$"  # in files for this very purpose
_FACTORY = r"(?m)^(?:async )?def (create_app|make_app)\("


class Start(NamedTuple):
    """``command`` for the process type web; ``warning`` where it is not fit for production."""

    command: str
    because: str
    warning: str = ""


class Target(NamedTuple):
    """What a server loads: ``module:variable`` seen from ``folder``."""

    folder: str
    module: str
    variable: str
    file: str
    factory: bool = False

    @property
    def name(self) -> str:
        return f"{self.module}:{self.variable}"


def choose(app: App, names: Names, *, project: bool) -> Start | None:
    """``project``: whether the app itself is installed, and with it the programs that pyproject.toml names."""
    installed = _installed(names)
    for framework in (_django, _streamlit, _dash, _gradio, _asgi, _functions, _wsgi):
        if start := framework(app, installed):
            return start
    if script := scripts.clear(app, installed=project):
        return Start(*script)
    if plain := _plain(app):
        return plain
    return Start(*script) if (script := scripts.only(app, installed=project)) else None


def _installed(names: Names) -> set[str]:
    brought = (
        part
        for (name, extra), parts in _BRINGS.items()
        if name in names and (not extra or extra in names[name])
        for part in parts
    )
    return {*names, *brought}


# Django


def manage(app: App) -> str:
    """The folder of manage.py with a slash at its end, or nothing if there is none. The top's is './'."""
    folders = [folder for folder in app.folders if app.has(f"{folder}/manage.py".lstrip("/"))]
    return f"{folders[0]}/" if folders and folders[0] else "./" if folders else ""


def _django(app: App, installed: set[str]) -> Start | None:
    folder = manage(app)
    if not folder or "django" not in installed:
        return None
    inside = "" if folder == "./" else folder
    settings = re.search(r"DJANGO_SETTINGS_MODULE[\"'],\s*[\"']([\w.]+)", app.text(f"{inside}manage.py"))
    package = _django_package(app, inside, settings[1] if settings else "")
    because = f"{inside}manage.py and Django"
    if package and app.has(f"{inside}{package.replace('.', '/')}/wsgi.py") and (command := _wsgi_server(installed)):
        return Start(
            command.for_target(Target(inside.rstrip("/"), f"{package}.wsgi", "application", "")),
            f"{because}, with {command.name}",
        )
    if package and app.has(f"{inside}{package.replace('.', '/')}/asgi.py") and (command := _asgi_server(installed)):
        return Start(
            command.for_target(Target(inside.rstrip("/"), f"{package}.asgi", "application", "")),
            f"{because}, with {command.name}",
        )
    run = f"python {inside}manage.py runserver --noreload 0.0.0.0:$PORT"
    return Start(run, because, "Django's own server is for development. Add gunicorn to the dependencies.")


def _django_package(app: App, inside: str, settings: str) -> str:
    """The package that holds wsgi.py or asgi.py: the one of the settings, or one that encloses them."""
    parts = settings.split(".")[:-1]
    enclosing = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    others = [
        folder.removeprefix(inside).replace("/", ".")
        for folder in app.folders
        if folder.startswith(inside) and folder.strip("/") != inside.strip("/")
    ]
    for package in (*enclosing, *others):
        place = f"{inside}{package.replace('.', '/')}"
        if app.first(f"{place}/wsgi.py", f"{place}/asgi.py"):
            return package
    return ""


# Servers


class Server(NamedTuple):
    """A server's command, where it takes ``{folder}`` (an option, or nothing) and ``{target}``."""

    name: str
    command: str
    folder: str
    factory: str = ""

    def for_target(self, target: Target) -> str:
        folder = self.folder.format(folder=target.folder) if target.folder else ""
        path = f"env PYTHONPATH={target.folder} " if target.folder and not self.folder else ""
        name = f"{target.name}()" if target.factory and not self.factory else target.name
        factory = self.factory if target.factory else ""
        quoted = f"'{name}'" if "(" in name else name
        return path + " ".join(self.command.format(folder=folder, target=quoted, factory=factory).split())


_WSGI_SERVERS = (
    Server("gunicorn", "gunicorn --bind 0.0.0.0:$PORT {folder} {target}", "--chdir {folder}"),
    Server("waitress", "waitress-serve --listen=0.0.0.0:$PORT {factory} {target}", "", "--call"),
    Server(
        "granian",
        "granian --interface wsgi --host 0.0.0.0 --port $PORT {folder} {factory} {target}",
        "--working-dir {folder}",
        "--factory",
    ),
)
_ASGI_SERVERS = (
    Server(
        "uvicorn", "uvicorn --host 0.0.0.0 --port $PORT {folder} {factory} {target}", "--app-dir {folder}", "--factory"
    ),
    Server("hypercorn", "hypercorn --bind 0.0.0.0:$PORT {target}", ""),
    Server(
        "granian",
        "granian --interface asgi --host 0.0.0.0 --port $PORT {folder} {factory} {target}",
        "--working-dir {folder}",
        "--factory",
    ),
    Server("daphne", "daphne -b 0.0.0.0 -p $PORT {target}", ""),
)


def _wsgi_server(installed: set[str]) -> Server | None:
    return next((server for server in _WSGI_SERVERS if server.name in installed), None)


def _asgi_server(installed: set[str]) -> Server | None:
    return next((server for server in _ASGI_SERVERS if server.name in installed), None)


# Frameworks


def _streamlit(app: App, installed: set[str]) -> Start | None:
    if "streamlit" not in installed:
        return None
    preferred = [
        f"{folder}/{stem}.py".lstrip("/")
        for folder in app.folders
        for stem in ("streamlit_app", "app", "main", "Home", "home", "index")
    ]
    others = app.programs()
    file = next(
        (
            name
            for name in (*preferred, *others)
            if re.search(r"\bimport streamlit\b|\bfrom streamlit\b", app.text(name))
        ),
        "",
    )
    run = f"streamlit run {file} --server.address 0.0.0.0 --server.port $PORT --server.headless true"
    return Start(run, f"{file} and Streamlit") if file else None


def _dash(app: App, installed: set[str]) -> Start | None:
    if "dash" not in installed:
        return None
    target = _find(app, ("Dash",))
    if (
        target
        and re.search(rf"(?m)^server\s*=\s*{target.variable}\.server", app.text(target.file))
        and (server := _wsgi_server(installed))
    ):
        return Start(
            server.for_target(target._replace(variable="server")), f"{target.file} and Dash, with {server.name}"
        )
    return Start(f"env HOST=0.0.0.0 python {target.file}", f"{target.file} and Dash") if target else None


def _gradio(app: App, installed: set[str]) -> Start | None:
    file = app.first("app.py", "main.py", "src/app.py", "src/main.py")
    if "gradio" not in installed or not re.search(r"\.launch\(", app.text(file)):
        return None
    return Start(f"env GRADIO_SERVER_NAME=0.0.0.0 GRADIO_SERVER_PORT=$PORT python {file}", f"{file} and Gradio")


def _asgi(app: App, installed: set[str]) -> Start | None:
    if not installed & {"fastapi", "starlette", "python-fasthtml", "litestar", "quart", "sanic", "blacksheep"}:
        return None
    target = _find(app, _ASGI)
    if target is None:
        return None
    if server := _asgi_server(installed):
        return Start(server.for_target(target), f"{target.name} in {target.file}, with {server.name}")
    if "sanic" in installed:
        return Start(f"sanic --host 0.0.0.0 --port $PORT {target.name}", f"{target.name} in {target.file}, with Sanic")
    warning = f"No server for {target.file} is installed. Add uvicorn to the dependencies."
    return Start(f"python {target.file}", target.file, warning)


def _functions(app: App, installed: set[str]) -> Start | None:
    found = functions.find(app, installed)
    return Start(*found) if found else None


def _wsgi(app: App, installed: set[str]) -> Start | None:
    if not installed & {"flask", "bottle", "apiflask", "connexion", "falcon", "pyramid"}:
        return None
    target = _find(app, _WSGI)
    if target is None:
        return None
    if server := _wsgi_server(installed):
        return Start(server.for_target(target), f"{target.name} in {target.file}, with {server.name}")
    if "flask" not in installed:
        return None
    module = f"{target.folder}/{target.module}".lstrip("/") if target.folder else target.module
    warning = "Flask's own server is for development. Add gunicorn to the dependencies."
    return Start(
        f"env FLASK_APP={module}:{target.variable} flask run --host 0.0.0.0 --port $PORT",  # also before 2.2
        f"{target.name} in {target.file}",
        warning,
    )


def _find(app: App, classes: tuple[str, ...]) -> Target | None:
    """Where an application of one of these classes is made, or a function that makes one."""
    files = [(folder, stem, f"{folder}/{stem}.py".lstrip("/")) for folder in app.folders for stem in _STEMS]
    texts = {file: text for *_, file in files if (text := app.text(file))}
    for pattern in _patterns(classes):
        for folder, stem, file in files:
            if pattern == _IMPORTED and stem not in ("wsgi", "asgi"):
                continue
            if found := re.search(pattern, texts.get(file, "")):
                return _target(app, folder, stem, file, found[1])
    return None


def _patterns(classes: tuple[str, ...]) -> list[str]:
    """In the order of their weight: a variable of a common name, any other, what a factory returned or another file
    made, the factory."""
    any_of = "|".join(classes)
    made = [_MAKES.format(name=name, classes=any_of) for name in ("app|application|api|server", r"\w+")]
    unpacked = [r"(?m)^(app)\s*,[^=\n]*=\s*(?:\w+\.)?fast_app\("] if "FastHTML" in classes else []
    returned = r"(?m)^(app|application)\s*=\s*(?:\w+\.)?(?:create_app|make_app)\("
    return [*made, *unpacked, returned, _IMPORTED, _FACTORY]


def _target(app: App, folder: str, stem: str, file: str, variable: str) -> Target:
    factory = variable in ("create_app", "make_app")
    if folder.startswith("src/"):
        package, start = folder.removeprefix("src/"), "src"
    elif folder and not app.has(f"{folder}/__init__.py") and not _imports_itself(app, folder):
        package, start = "", folder
    else:
        package, start = folder.replace("/", "."), ""
    module = ".".join(part for part in (package, "" if stem == "__init__" else stem) if part)
    return Target(start, module, variable, file, factory)


def _imports_itself(app: App, folder: str) -> bool:
    """Whether the files of a folder call it by its name, so that it is a package seen from the top."""
    pattern = rf"(?m)^\s*(?:from|import) (?:{re.escape(folder)}\b|\.)"
    return any(re.search(pattern, app.text(f"{folder}/{name}")) for name in app.programs(folder))


def _plain(app: App) -> Start | None:
    file = app.first(*_PLAIN)
    if file:
        return Start(f"python {file}", file)
    packages = [folder for folder in app.folders if folder and app.has(f"{folder}/__main__.py")]
    if packages:
        package = packages[0].removeprefix("src/").replace("/", ".")
        return Start(f"python -m {package}", f"{packages[0]}/__main__.py")
    nested = [
        f"{folder}/{name}"
        for folder in app.folders
        if folder
        for name in ("main.py", "app.py")
        if app.has(f"{folder}/{name}")
    ]
    return Start(f"python {nested[0]}", nested[0]) if len(nested) == 1 else None
