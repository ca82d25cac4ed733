"""Whatever the documents, docstrings and messages name is there: pages, functions, error codes, values of the chart."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[3]
# Ends of file names, which look like the name of something in a module.
FILES = re.compile(
    r"\.(?:aof|asm|cfg|conf|crt|css|deb|env|ext4|git|gyp|gz|html|ini|js|json5?|lock|lockb|lua|md|mod|pem|pid|py|rb|sh|sock|sum|tar|toml|txt|xml|ya?ml)$"
)
# What belongs to other programs, libraries and formats.
FOREIGN = re.compile(
    r"""
    (?:app|celery|kombu|redis|docker|httpx|pydantic|structlog|shutil|subprocess|sys|os|socket|threading|time|zlib|isal)\.[\w.]+
    | (?:com|io|org|net|dev)\.[\w.]+            # labels and annotations
    | [\w.]+\.(?:com|org|net|io|example|local|internal)
    | storage\.[\w.]+                          # the registry's configuration
    | containers\.create                       # docker-py
    | Channel\.prepare_message                 # kombu
    | core\.(?:excludesFile|ignoreCase)         # git's configuration
    | cjdict\.dict                             # ICU's dictionary
    | engines\.node | java\.runtime\.version   # package.json, system.properties
    | id\.timestamp\.body                      # Standard Webhooks
    """,
    re.VERBOSE,
)
TOKEN = re.compile(r"(?<!`)`{1,2}([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+)(?:\([^`]*\))?`{1,2}(?!`)")


@functools.cache
def texts() -> dict[str, str]:
    """Every file of ours that people read, by its path; this one gives wrong names as examples."""
    patterns = ("*.md", "*.py", "*.lua", "*.cfg", "*.yaml", "*.tpl", "Makefile")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    paths = [path for name in names if (path := ROOT / name).is_file() and path != Path(__file__)]
    return {str(path.relative_to(ROOT)): path.read_text() for path in paths}


@functools.cache
def trees() -> dict[str, ast.Module]:
    """Every module of ours, by its path."""
    return {name: ast.parse(text) for name, text in texts().items() if name.endswith(".py")}


def defined() -> Iterator[str]:
    """Every module, class, function, field and constant by its dotted name, from the package down."""
    for path, tree in trees().items():
        module = path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        yield module
        yield from (f"{module}.{name}" for name in names_in(tree))


def literals() -> set[str]:
    """Every string in the code: codes of errors, names of queues, tasks and files."""
    nodes = (node for tree in trees().values() for node in ast.walk(tree))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def names_in(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in getattr(tree, "body", ()):
        if isinstance(node, ast.ClassDef):
            found |= {node.name} | {f"{node.name}.{name}" for name in names_in(node)}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found |= {node.name, *own_fields(node)}
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.ImportFrom | ast.Import | ast.If):
            found |= {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
            found |= {(name.asname or name.name) for name in ast.walk(node) if isinstance(name, ast.alias)}
    return found


def own_fields(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """What a method sets on ``self``."""
    return {
        node.attr
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
    }


@functools.cache
def known() -> set[str]:
    """What may be named. Documents leave out the first parts of a name: they say ``queue.app.FairOrder``."""
    parts = [name.split(".") for name in defined()]
    endings = {".".join(name[at:]) for name in parts for at in range(len(name))}
    return endings | literals() | chart_values()


def used_in(path: str) -> set[str]:
    """Attributes as the code of this module writes them: a docstring may name those of an argument."""
    tree = trees().get(path)
    return {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)} if tree else set()


def chart_values() -> set[str]:
    def walk(values, place):
        for name, value in values.items():
            yield (own := f"{place}.{name}".lstrip("."))
            yield from walk(value, own) if isinstance(value, dict) else ()

    return set(walk(yaml.safe_load((ROOT / "helm/buildfarm/values.yaml").read_text()), ""))


def named(text: str) -> set[str]:
    return {name for name in TOKEN.findall(text) if not FILES.search(name) and not FOREIGN.fullmatch(name)}


def wrong(found: Mapping[str, Iterable[str]]) -> list[str]:
    return [f"{path} names {name}" for path, names in found.items() for name in names]


def test_every_page_that_is_named_exists():
    # Tests make folders of this name for their own ends. A path ends before the full stop of its sentence.
    pages = {
        path: {page.rstrip(".") for page in re.findall(r"(?<![\w/.-])docs/[\w./-]+", text)}
        for path, text in texts().items()
        if not path.startswith("tests/")
    }
    assert sum(map(len, pages.values())) > 20
    assert wrong({path: [page for page in named if not (ROOT / page).exists()] for path, named in pages.items()}) == []


def test_every_link_of_a_page_leads_somewhere():
    links = {
        path: re.findall(r"\]\((?!https?:|mailto:)([^)#\s]+)", text)
        for path, text in texts().items()
        if path.endswith(".md")
    }
    assert sum(map(len, links.values())) > 50
    gone = {
        path: [to for to in found if not (ROOT / path).parent.joinpath(to).exists()] for path, found in links.items()
    }
    assert wrong(gone) == []


def test_every_dotted_name_exists():
    # The changelog names what is gone; the pages and the buildpacks name files of other people's apps.
    foreign = ("CHANGELOG.md", "docs/apps.md", "docs/buildpacks.md", "images/buildpacks/", "tests/apps/")
    ours = {path: text for path, text in texts().items() if not path.startswith(foreign)}
    names = {path: named(text) for path, text in ours.items() if path.endswith((".md", ".py"))}
    assert sum(map(len, names.values())) > 100
    assert wrong({path: sorted(found - known() - used_in(path)) for path, found in names.items()}) == []


def test_a_name_that_is_nowhere_is_found():
    assert named("`queue.app.FairOrder`, ``queues.send``, `submit.lua`") == {"queue.app.FairOrder", "queues.send"}
    assert "queue.app.FairOrder" in known()
    assert "queues.send" not in known()
