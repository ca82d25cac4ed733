"""What the Python buildpack plans, file by file, and what its parts make of versions and requirements."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as some

ROOT = Path(__file__).parents[3]
BUILDPACK = ROOT / "images/buildpacks/python"
LIBRARY = ROOT / "images/builder/root/usr/lib/buildfarm"
sys.path.insert(0, str(BUILDPACK / "lib"))

from python_plan import managers, plan, requirements, versions  # noqa: E402
from python_plan.app import App  # noqa: E402

BUILDERS = "3.13.5"
PROJECT = '[project]\nname = "shop"\nversion = "1"\n'
POETRY = '[tool.poetry]\nname = "shop"\n[tool.poetry.dependencies]\nflask = "*"\n'
SETUPTOOLS = '[build-system]\nrequires = ["setuptools"]\n'
FLASK = "from flask import Flask\n\napp = Flask(__name__)\n"
FASTAPI = "import fastapi\n\napp = fastapi.FastAPI()\n"
SCRIPTS = '[project.scripts]\n{} = "shop:run"\n'
FUNCTIONS = "functions-framework --host 0.0.0.0 --port $PORT --target {}"
MANAGE = 'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site1.settings")\n'
DJANGO = {"requirements.txt": "Django", "manage.py": MANAGE, "site1/__init__.py": "", "site1/wsgi.py": ""}


def make(
    folder: Path, files: dict[str, str], front_end: Mapping[str, list[str]] = MappingProxyType({}), **config: str
) -> dict:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return plan.make(App(folder, config, folder / "no-system"), BUILDERS, front_end)


INSTALLS = {
    "requirements": ({"requirements.txt": "flask"}, "pip", ["pip install -r requirements.txt"]),
    "requirements with archives of their own": (
        {"requirements.txt": "words", "vendor/words-1-py3-none-any.whl": ""},
        "pip",
        ["pip install --find-links vendor -r requirements.txt"],
    ),
    "requirements in a folder": (
        {"requirements/production.txt": "flask"},
        "pip",
        ["pip install -r requirements/production.txt"],
    ),
    "uv": (
        {"pyproject.toml": PROJECT, "uv.lock": ""},
        "uv",
        ["uv sync --locked --no-dev --no-install-project"],
    ),
    "uv, a package": (
        {"pyproject.toml": PROJECT + SETUPTOOLS, "uv.lock": ""},
        "uv",
        ["uv sync --locked --no-dev --no-install-project", "uv sync --locked --no-dev"],
    ),
    "a workspace whose root is no project": (
        {"pyproject.toml": '[tool.uv.workspace]\nmembers = ["p/*"]', "p/a/pyproject.toml": PROJECT, "uv.lock": ""},
        "uv",
        [
            "uv sync --locked --no-dev --all-packages --no-install-project --no-install-workspace",
            "uv sync --locked --no-dev --all-packages",
        ],
    ),
    "pylock": ({"pylock.toml": ""}, "uv", ["uv pip sync pylock.toml"]),
    "poetry, no package": (
        {"pyproject.toml": POETRY.replace("\n", "\npackage-mode = false\n", 1), "poetry.lock": ""},
        "poetry",
        ["poetry install --no-interaction --only main --no-root"],
    ),
    "poetry, a name without a package": (
        {"pyproject.toml": POETRY, "poetry.lock": ""},
        "poetry",
        ["poetry install --no-interaction --only main --no-root"],
    ),
    "poetry, a package": (
        {"pyproject.toml": POETRY, "poetry.lock": "", "src/shop/__init__.py": ""},
        "poetry",
        ["poetry install --no-interaction --only main --no-root", "poetry install --no-interaction --only-root"],
    ),
    "pdm before 2.17": (
        {"pyproject.toml": PROJECT, "pdm.lock": '[metadata]\nlock_version = "4.4.1"\n'},
        "pdm",
        ["pdm sync --prod --no-self"],
    ),
    "pdm since 2.17": (
        {"pyproject.toml": PROJECT, "pdm.lock": '[metadata]\nlock_version = "4.5.0"\n'},
        "pdm",
        ["pdm install --check --prod --no-self"],
    ),
    "pdm": ({"pyproject.toml": PROJECT, "pdm.lock": ""}, "pdm", ["pdm install --check --prod --no-self"]),
    "pipenv": ({"Pipfile": "[packages]", "Pipfile.lock": "{}"}, "pipenv", ["pipenv install --deploy"]),
    "a Pipfile beside a linter's settings": (
        {"Pipfile": "[packages]", "pyproject.toml": "[tool.ruff]"},
        "pipenv",
        ["pipenv install --skip-lock"],
    ),
    "a list of dependencies": (
        {"pyproject.toml": PROJECT + 'dependencies = ["flask>=3", "x; python_version > \'3\'"]'},
        "pip",
        ["pip install 'flask>=3' 'x; python_version > '\"'\"'3'\"'\"''"],
    ),
    "a package": ({"pyproject.toml": PROJECT + SETUPTOOLS}, "pip", ["pip install ."]),
    "setup.py": ({"setup.py": ""}, "pip", ["pip install ."]),
    "nothing but a program": ({"main.py": ""}, "pip", []),
    "hooks": (
        {"requirements.txt": "flask", "bin/pre_compile": "", "bin/post_compile": ""},
        "pip",
        ["bin/pre_compile", "pip install -r requirements.txt", "bin/post_compile"],
    ),
}


@pytest.mark.parametrize(("files", "manager", "steps"), INSTALLS.values(), ids=INSTALLS)
def test_the_tool_and_its_steps(tmp_path, files, manager, steps):
    made = make(tmp_path, files)
    assert made["problems"] == []
    assert (made["manager"]["name"], made["steps"]) == (manager, steps)


STARTS = {
    "a Procfile has its own": ({"requirements.txt": "", "Procfile": "web: x", "main.py": ""}, None),
    "a Procfile without web": ({"requirements.txt": "", "Procfile": "worker: x", "main.py": ""}, "python main.py"),
    "Django": (DJANGO, "python manage.py runserver --noreload 0.0.0.0:$PORT"),
    "Django with gunicorn": (
        DJANGO | {"requirements.txt": "django\ngunicorn"},
        "gunicorn --bind 0.0.0.0:$PORT site1.wsgi:application",
    ),
    "Django below a folder": (
        {"requirements.txt": "django\ngunicorn", "back/manage.py": MANAGE, "back/site1/wsgi.py": ""},
        "gunicorn --bind 0.0.0.0:$PORT --chdir back site1.wsgi:application",
    ),
    "Django with their own settings package": (
        {
            "requirements.txt": "django\nuvicorn",
            "manage.py": MANAGE.replace("site1.settings", "conf.settings.live"),
            "conf/asgi.py": "",
        },
        "uvicorn --host 0.0.0.0 --port $PORT conf.asgi:application",
    ),
    "Flask": (
        {"requirements.txt": "flask", "app.py": FLASK},
        "env FLASK_APP=app:app flask run --host 0.0.0.0 --port $PORT",
    ),
    "Flask with gunicorn": (
        {"requirements.txt": "Flask\ngunicorn", "wsgi.py": FLASK},
        "gunicorn --bind 0.0.0.0:$PORT wsgi:app",
    ),
    "Flask made by a function": (
        {"requirements.txt": "Flask\ngunicorn", "shop/__init__.py": "def create_app(config=None):\n    pass\n"},
        "gunicorn --bind 0.0.0.0:$PORT 'shop:create_app()'",
    ),
    "Flask made in a file of the app's own name": (
        {"requirements.txt": "Flask\ngunicorn", "wsgi.py": "from shop import app\n", "shop.py": FLASK},
        "gunicorn --bind 0.0.0.0:$PORT wsgi:app",
    ),
    "Flask with waitress": (
        {"requirements.txt": "flask\nwaitress", "main.py": FLASK},
        "waitress-serve --listen=0.0.0.0:$PORT main:app",
    ),
    "FastAPI's extra brings uvicorn": (
        {"requirements.txt": "fastapi[standard]", "main.py": FASTAPI},
        "uvicorn --host 0.0.0.0 --port $PORT main:app",
    ),
    "FastAPI in a package": (
        {"requirements.txt": "fastapi\nuvicorn", "app/__init__.py": "", "app/main.py": FASTAPI},
        "uvicorn --host 0.0.0.0 --port $PORT app.main:app",
    ),
    "FastAPI in a folder that is not a package": (
        {"requirements.txt": "fastapi\nuvicorn", "src/main.py": FASTAPI},
        "uvicorn --host 0.0.0.0 --port $PORT --app-dir src main:app",
    ),
    "FastAPI in a package below src": (
        {"requirements.txt": "fastapi\nuvicorn", "src/shop/__init__.py": "", "src/shop/api.py": FASTAPI},
        "uvicorn --host 0.0.0.0 --port $PORT --app-dir src shop.api:app",
    ),
    "FastAPI with hypercorn": (
        {"requirements.txt": "fastapi\nhypercorn", "main.py": FASTAPI},
        "hypercorn --bind 0.0.0.0:$PORT main:app",
    ),
    "a server that takes no folder": (
        {"requirements.txt": "fastapi\nhypercorn", "src/main.py": FASTAPI},
        "env PYTHONPATH=src hypercorn --bind 0.0.0.0:$PORT main:app",
    ),
    "FastAPI without a server": ({"requirements.txt": "fastapi", "main.py": FASTAPI}, "python main.py"),
    "a server that a lock file brings": (
        {
            "pyproject.toml": PROJECT + 'dependencies = ["fastapi"]',
            "uv.lock": '[[package]]\nname = "uvicorn"\n',
            "main.py": FASTAPI,
        },
        "uvicorn --host 0.0.0.0 --port $PORT main:app",
    ),
    "a server that is for development alone": (
        {
            "pyproject.toml": PROJECT + 'dependencies = ["fastapi"]\n[dependency-groups]\ndev = ["uvicorn"]',
            "uv.lock": '[[package]]\nname = "uvicorn"\n',
            "main.py": FASTAPI,
        },
        "python main.py",
    ),
    "FastHTML": (
        {"requirements.txt": "python-fasthtml", "main.py": "app, rt = fast_app()\n"},
        "uvicorn --host 0.0.0.0 --port $PORT main:app",
    ),
    "Streamlit": (
        {"requirements.txt": "streamlit", "app.py": "import streamlit as st\n"},
        "streamlit run app.py --server.address 0.0.0.0 --server.port $PORT --server.headless true",
    ),
    "main.py": ({"requirements.txt": "requests", "main.py": ""}, "python main.py"),
    "app.py": ({"pyproject.toml": PROJECT, "app.py": ""}, "python app.py"),
    "a package that can be run": ({"setup.py": "", "shop/__main__.py": ""}, "python -m shop"),
    "a library": ({"setup.py": "", "shop/__init__.py": ""}, None),
    "a script of the project": (
        {"pyproject.toml": PROJECT + SCRIPTS.format("shop") + SETUPTOOLS, "shop/__init__.py": ""},
        "shop",
    ),
    "a script called like a start, of several": (
        {"pyproject.toml": PROJECT + SCRIPTS.format("start") + 'admin = "shop:admin"\n' + SETUPTOOLS, "main.py": ""},
        "start",
    ),
    "a plain program beside a script with another name": (
        {"pyproject.toml": PROJECT + SCRIPTS.format("admin") + SETUPTOOLS, "main.py": ""},
        "python main.py",
    ),
    "a script of what is no package": (
        {"pyproject.toml": PROJECT + SCRIPTS.format("serve"), "shop.py": ""},
        "python -c 'from shop import run; run()'",
    ),
    "Poetry's script": (
        {
            "pyproject.toml": POETRY.replace("\n", "\npackage-mode = false\n", 1)
            + '[tool.poetry.scripts]\nstart = "shop.web:run"\n',
            "shop/web.py": "",
        },
        "python -c 'from shop.web import run; run()'",
    ),
    "several scripts": (
        {"pyproject.toml": PROJECT + SCRIPTS.format("a") + 'b = "shop:b"\n' + SETUPTOOLS, "shop/__init__.py": ""},
        None,
    ),
    "a function": (
        {
            "requirements.txt": "functions-framework",
            "main.py": "@functions_framework.http\ndef hello(request):\n    pass\n",
        },
        FUNCTIONS.format("${FUNCTION_TARGET:-hello}"),
    ),
    "a function that is not registered": (
        {
            "requirements.txt": "functions-framework",
            "main.py": "def part():\n    pass\n\ndef hello(request):\n    pass\n",
        },
        FUNCTIONS.format("${FUNCTION_TARGET:-hello}"),
    ),
    "a Flask app with the framework for functions beside it": (
        {
            "requirements.txt": "flask\ngunicorn\nfunctions-framework",
            "main.py": "from flask import Flask\napp = Flask(__name__)\n\ndef hello(request):\n    pass\n",
        },
        "gunicorn --bind 0.0.0.0:$PORT main:app",
    ),
    "several functions": (
        {"requirements.txt": "functions-framework", "main.py": "def a(request): pass\ndef b(request): pass\n"},
        FUNCTIONS.format("$FUNCTION_TARGET"),
    ),
}


@pytest.mark.parametrize(("files", "command"), STARTS.values(), ids=STARTS)
def test_the_start(tmp_path, files, command):
    assert make(tmp_path, files)["processes"].get("web") == command


PYTHONS = {
    "none": ({}, BUILDERS, False),
    ".python-version": ({".python-version": "# why\n3.13\n"}, BUILDERS, False),
    "another": ({".python-version": "3.11"}, "3.11", True),
    "exact": ({"runtime.txt": "python-3.12.4"}, "3.12.4", True),
    "the first file counts": ({".python-version": "3.13", "runtime.txt": "python-3.9.1"}, BUILDERS, False),
    "asdf's": ({".tool-versions": "nodejs 20\npython 3.12.1\n"}, "3.12.1", True),
    "mise's": ({"mise.toml": '[tools]\npython = "3.12"\n'}, "3.12", True),
    "a range": ({"pyproject.toml": PROJECT + 'requires-python = ">=3.9"'}, BUILDERS, False),
    "an older range": ({"pyproject.toml": PROJECT + 'requires-python = ">=3.9,<3.12"'}, ">=3.9,<3.12", True),
    "Poetry's": ({"pyproject.toml": '[tool.poetry.dependencies]\npython = "^3.10"'}, BUILDERS, False),
    "Poetry's tilde": ({"pyproject.toml": '[tool.poetry.dependencies]\npython = "~3.10"'}, ">=3.10,<3.11", True),
    "mise's list": ({".mise.toml": '[tools]\npython = ["3.12", "3.11"]\n'}, "3.12", True),
    "the latest": ({".python-version": "latest"}, BUILDERS, False),
    "the latest of a range": (
        {"mise.toml": '[tools]\npython = "latest"\n', "pyproject.toml": PROJECT + 'requires-python = ">=3.14"'},
        ">=3.14",
        True,
    ),
    "Pipenv's": ({"Pipfile": '[requires]\npython_version = "3.12"'}, "3.12", True),
}


@pytest.mark.parametrize(("files", "version", "fetched"), PYTHONS.values(), ids=PYTHONS)
def test_the_version_of_python(tmp_path, files, version, fetched):
    language = make(tmp_path, {"main.py": "", **files})["language"]
    assert (language["version"], language["fetched"]) == (version, fetched)


PROBLEMS = {
    "two lock files": (
        {"pyproject.toml": PROJECT, "uv.lock": "", "poetry.lock": ""},
        "There are uv.lock and poetry.lock, which are lock files of different package managers.",
    ),
    "a lock file alone": ({"poetry.lock": ""}, "There is poetry.lock and no pyproject.toml, which it belongs to."),
    "no version": (
        {"main.py": "", ".python-version": "newest"},
        ".python-version asks for Python 'newest', which is not a version.",
    ),
    "Python 2": ({"main.py": "", "runtime.txt": "python-2.7.18"}, "but only Python 3 is maintained"),
    "only conda's list": (
        {"app.py": "", "environment.yml": "dependencies:\n- flask\n"},
        "environment.yml lists packages of conda, which is not here, and no other file lists what the app needs.",
    ),
    "not TOML": ({"pyproject.toml": "[project"}, "pyproject.toml is not valid TOML"),
    "a file that is missing": (
        {"requirements.txt": "-r base.txt"},
        "requirements.txt includes base.txt, which is not there.",
    ),
    "no version of a tool": (
        {"pyproject.toml": PROJECT + '[tool.uv]\nrequired-version = "new"', "uv.lock": ""},
        "pyproject.toml asks for uv 'new', which is not a version.",
    ),
}


@pytest.mark.parametrize(("files", "sentence"), PROBLEMS.values(), ids=PROBLEMS)
def test_what_is_wrong_before_anything_runs(tmp_path, files, sentence):
    (problem,) = make(tmp_path, files)["problems"]
    assert sentence in problem


def test_a_tool_is_ours_unless_the_app_asks_for_another(tmp_path):
    def version(asked: str) -> str:
        return make(tmp_path, {"uv.lock": "", "pyproject.toml": f'{PROJECT}[tool.uv]\nrequired-version = "{asked}"'})[
            "manager"
        ]["version"]

    assert version(">=0.4") == managers.VERSIONS["uv"]
    assert version("==0.5.1") == "0.5.1"
    assert version("<0.6,>=0.5") == "<0.6,>=0.5"


@pytest.mark.parametrize(
    ("files", "tools"),
    [
        ({"uv.lock": "", "pyproject.toml": PROJECT}, {"uv": [managers.VERSIONS["uv"]]}),
        ({"uv.lock": "", "pyproject.toml": f'{PROJECT}[tool.uv]\nrequired-version = "==0.5.1"'}, {"uv": ["0.5.1"]}),
        ({"requirements.txt": "x", ".python-version": "3.9"}, {"uv": [managers.VERSIONS["uv"]]}),
        ({"poetry.lock": "", "pyproject.toml": POETRY}, {}),
        ({"requirements.txt": "x"}, {}),
    ],
    ids=["uv", "a version of uv", "another Python", "Poetry", "pip"],
)
def test_a_plan_names_the_tools_that_the_farm_may_have(tmp_path, files, tools):
    assert make(tmp_path, files)["tools"] == tools


def test_every_tool_of_ours_has_its_parts_written_down():
    names = {f"{name}-{version}.txt" for name, version in managers.VERSIONS.items()}
    assert {path.name for path in (BUILDPACK / "lib/tools").iterdir()} == names
    for name, version in managers.VERSIONS.items():
        assert f"\n{name}=={version}\n" in (BUILDPACK / f"lib/tools/{name}-{version}.txt").read_text()


def test_static_files_of_django_are_collected_unless_they_are_not_wanted(tmp_path):
    files = DJANGO | {"site1/settings.py": 'INSTALLED_APPS = ["django.contrib.staticfiles"]'}
    step = "python manage.py collectstatic --noinput"
    assert make(tmp_path, files)["steps"][-1] == step
    assert step not in make(tmp_path, files, DISABLE_COLLECTSTATIC="1")["steps"]
    assert step not in make(tmp_path, files | {"site1/settings.py": "INSTALLED_APPS = []"})["steps"]


def test_a_library_that_is_missing_is_named_with_the_line_of_the_aptfile(tmp_path):
    (warning,) = make(tmp_path, {"requirements.txt": "opencv_python==4.10"})["warnings"]
    assert warning.startswith("opencv-python needs libGL.so.1 when it runs: write libgl1 in an Aptfile")
    assert make(tmp_path, {"Aptfile": "libgl1\n"})["warnings"] == []


def test_what_is_not_read_or_not_fit_for_production_is_said(tmp_path):
    files = {"requirements.txt": "x", "uv.lock": "", "pyproject.toml": PROJECT}
    assert make(tmp_path, files)["warnings"] == ["requirements.txt is not read: uv.lock says what is installed."]
    (tmp_path / "b").mkdir()
    flask = {"requirements.txt": "flask", "app.py": FLASK}
    assert make(tmp_path / "b", flask)["warnings"] == [
        "Flask's own server is for development. Add gunicorn to the dependencies."
    ]
    assert make(tmp_path / "b", {"Procfile": "web: x"})["warnings"] == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Flask==3.0 ; python_version > '3' # why", {"flask": ()}),
        ("uvicorn[Standard, x] >= 1", {"uvicorn": ("standard", "x")}),
        ("a==1 \\\n    --hash=sha256:00\nb", {"a": (), "b": ()}),
        ("./libs/x\n/opt/y\nhttps://example.org/z.whl\n--index-url https://example.org", {}),
        ("git+https://example.org/x@main#egg=Some_Name", {"some-name": ()}),
        ("some @ git+https://example.org/x", {"some": ()}),
    ],
)
def test_names_of_a_requirements_file(tmp_path, text, names):
    (tmp_path / "requirements.txt").write_text(text)
    assert requirements.read(App(tmp_path), "requirements.txt").names == names


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_files_of_windows_are_read(tmp_path, encoding):
    (tmp_path / "requirements.txt").write_bytes("flask\r\n-r more.txt\r\n".encode(encoding))
    (tmp_path / "more.txt").write_text("itsdangerous")
    found = requirements.read(App(tmp_path), "requirements.txt")
    assert found.names == {"flask": (), "itsdangerous": ()}
    assert found.files == ["requirements.txt", "more.txt"]


@pytest.mark.parametrize(
    "line",
    [
        "libs/mylib",
        "mylib @ file:///app/libs/mylib",
        "mylib[extra]@ ./mylib",
        "git+https://example.org/x@main",
        "mylib-1.0-py3-none-any.whl",
        "-e .",
        "file:mylib",
        "-r https://example.org/more.txt",
        "--find-links wheels",
    ],
)
def test_what_a_path_or_an_address_holds_may_change(tmp_path, line):
    made = make(tmp_path, {"requirements.txt": f"flask==3.0\n{line}\n"})
    assert not made["install"]["kept"]
    assert line in made["install"]["because"]


@pytest.mark.parametrize(
    "line",
    [
        "# of https://example.org/",
        "flask==3.0 ; python_version > '3'",
        "--index-url https://example.org/simple",
        f"git+https://example.org/x@{'0' * 40}",
        f"https://example.org/x.whl --hash=sha256:{'0' * 64}",
        "-c limits.txt",
    ],
)
def test_what_an_index_or_a_digest_names_is_kept(tmp_path, line):
    made = make(tmp_path, {"requirements.txt": f"flask==3.0\n{line}\n", "limits.txt": ""})
    assert made["install"]["kept"]


def test_all_files_that_are_included_decide(tmp_path):
    files = {"requirements.txt": "-r in/a.txt", "in/a.txt": "-rb.txt\n-c ../c.txt", "in/b.txt": "", "c.txt": ""}
    assert make(tmp_path, files)["install"]["inputs"] == ["requirements.txt", "in/a.txt", "in/b.txt", "c.txt"]


RANGES = [
    ("^3.10", "3.13.5", True),
    ("^3.10", "4.0.0", False),
    ("~3.12", "3.13.5", False),
    ("~=3.12", "3.13.5", True),
    ("~=3.12.1", "3.13.5", False),
    ("3.13.*", "3.13.5", True),
    (">= 3.9, < 3.13", "3.13.5", False),
    ("3.9 || 3.13", "3.13.5", True),
    ("!=3.13.*", "3.13.5", False),
    ("<=3.13", "3.13.5", False),
    (">3.12 <4", "3.13.5", True),
    ("3.13.5", "3.13.5", True),
    ("3.13.4", "3.13.5", False),
    ("*", "3.13.5", True),
]


@pytest.mark.parametrize(("text", "version", "inside"), RANGES)
def test_ranges(text, version, inside):
    found = versions.read_range(text)
    assert found is not None
    assert versions.satisfies(version, found) is inside


@given(some.tuples(*[some.integers(0, 40)] * 3), some.tuples(*[some.integers(0, 40)] * 3))
def test_opposite_ranges_never_hold_together(version, other):
    mine, limit = ".".join(map(str, version)), ".".join(map(str, other))

    def inside(text: str) -> bool:
        return versions.satisfies(mine, versions.read_range(text) or [])

    assert inside(f">={limit}") != inside(f"<{limit}")
    assert inside(f"<={limit}") != inside(f">{limit}")
    assert inside(f"=={limit}") != inside(f"!={limit}")
    assert inside(limit) == (version == other)


def test_the_front_end_comes_first_and_its_problems_and_warnings_are_the_apps(tmp_path):
    front = {"steps": ["npm ci", "npm run build"], "problems": ["two locks"], "warnings": ["old"]}
    made = make(tmp_path, {**DJANGO, "bin/pre_compile": ""}, front)
    assert made["steps"] == ["npm ci", "npm run build", "bin/pre_compile", "pip install -r requirements.txt"]
    assert made["front_end"] == front["steps"]
    assert (made["problems"], made["warnings"][0]) == (front["problems"], "old")
    assert make(tmp_path, DJANGO)["front_end"] == []


FRONT_ENDS = {
    "a build script": ('{"scripts": {"build": "vite build"}}', False, True),
    "a build script of a hook": ('{"scripts": {"heroku-postbuild": "vite build"}}', False, True),
    "no build script": ('{"scripts": {"test": "vitest"}}', False, False),
    "what is not JSON": ("{", False, False),
    "the app names the buildpack nodejs": ('{"scripts": {"build": "vite build"}}', True, False),
}


@pytest.mark.parametrize(("package", "named", "wanted"), FRONT_ENDS.values(), ids=FRONT_ENDS)
def test_a_front_end_is_built_for_its_build_script_unless_the_app_names_nodejs(tmp_path, package, named, wanted):
    text = (LIBRARY / "front-end").read_text().replace("/tmp/", f"{tmp_path}/")
    nodejs = write(tmp_path / "node/bin/plan", '#!/bin/bash\necho \'{"steps": ["npm ci"]}\'\n')
    program = write(tmp_path / "front-end", text.replace("/buildpacks/nodejs/bin/plan", str(nodejs)))
    nodejs.chmod(0o755)
    write(tmp_path / "app/package.json", package)
    if named:
        (tmp_path / "buildpacks/nodejs").mkdir(parents=True)
    done = subprocess.run(
        ["bash", program, "plan", tmp_path / "app", tmp_path / "env"], capture_output=True, check=True
    )
    assert json.loads(done.stdout).get("steps", []) == (["npm ci"] if wanted else [])


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


DETECTED = {
    "requirements": ({"requirements.txt": ""}, True),
    "Pipfile": ({"Pipfile": ""}, True),
    "a project": ({"pyproject.toml": PROJECT, "package.json": ""}, True),
    "a linter's settings beside Node": ({"pyproject.toml": "[tool.ruff]", "package.json": ""}, False),
    "a program": ({"main.py": ""}, True),
    "a program beside Node": ({"main.py": "", "package.json": ""}, False),
    "a page": ({"index.html": ""}, False),
    "a bot": ({"bot.py": ""}, True),
}


@pytest.mark.parametrize(("files", "taken"), DETECTED.values(), ids=DETECTED)
def test_detect(tmp_path, files, taken):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(["bash", BUILDPACK / "bin/detect", tmp_path], capture_output=True, text=True, check=False)
    assert (done.returncode == 0, done.stdout) == (taken, "Python\n" if taken else "")


def test_the_plan_is_one_json_object_and_writes_nothing(tmp_path):
    (tmp_path / "app").mkdir()
    (tmp_path / "app/requirements.txt").write_text("flask")
    done = subprocess.run(
        [sys.executable, "-B", BUILDPACK / "bin/plan", tmp_path / "app", tmp_path / "env"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["steps"] == ["pip install -r requirements.txt"]
    assert [path.name for path in tmp_path.rglob("*")] == ["app", "requirements.txt"]
