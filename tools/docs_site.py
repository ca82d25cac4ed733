"""What MkDocs cannot take from docs/ alone: pages from elsewhere in the repository, and references made from the code.

The pages of docs/ link to the rest of the repository as a repository's web page needs it. Here links to pages that the
site has become links within it; links to code and folders become their path, because the site has no copy of those.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from buildfarm.api.application import make_application
from buildfarm.settings import Settings

ROOT = Path(__file__).parents[1]
# Pages outside of docs/, by their path in the repository, and what each is called in the site.
ELSEWHERE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "reporting.md",
    "helm/README.md": "chart.md",
    "images/builder/README.md": "builder.md",
}
_IN_SITE = {**ELSEWHERE, "docs/README.md": "index.md"}
_SOURCE_OF = {page: path for path, page in ELSEWHERE.items()}
_LINK = re.compile(r"(?<!!)\[(?P<text>(?:[^\[\]]|\[[^\]]*\])+)\]\((?P<target>[^)\s]+)\)")
_CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
# The theme writes each cell of a table in one line, and uses half of a wide window.
CSS = """.wy-table-responsive table td, .wy-table-responsive table th {white-space: normal}
.wy-nav-content {max-width: 1100px}
"""
PYTHON = """# Python API

`pip install buildfarm` has `Client` and `AsyncClient` for the HTTP API. `Farm`, of the extra `farm`, is the same over
Redis and the registry. A build is described by a `BuildRequest`, and returned as a `Build`.

::: buildfarm.client.Client
::: buildfarm.farm.Farm
::: buildfarm.farm.open_farm
::: buildfarm.model.BuildRequest
    options:
      show_if_no_docstring: true
::: buildfarm.model.Build
    options:
      show_if_no_docstring: true
::: buildfarm.errors
"""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    config.nav = [_unfolded(item, Path(config.docs_dir)) for item in config.nav or []]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    services = SimpleNamespace(metrics=None, farm=SimpleNamespace(settings=Settings()))
    document = make_application(services).openapi()
    made = {
        **{page: (ROOT / path).read_text() for path, page in ELSEWHERE.items()},
        "python.md": PYTHON,
        "http.md": http_page(document),
        "site.css": CSS,
        "openapi.json": json.dumps(document, indent=1),
    }
    for name, content in made.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    here = _SOURCE_OF.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    return moved(markdown, here, page.file.src_uri)


def moved(markdown: str, here: str, page: str) -> str:
    """A page of the repository with its links as they are in the site. Raises PluginError if one leads nowhere."""

    def replace(match: re.Match[str]) -> str:
        text, target = match["text"], match["target"]
        if re.match(r"[a-z]+:|#", target):
            return match[0]
        path, mark, anchor = target.partition("#")
        whole = posixpath.normpath(posixpath.join(posixpath.dirname(here), path))
        if not (ROOT / whole).exists() and page not in ("http.md", "python.md"):
            raise PluginError(f"{here} links to {target}, which does not exist.")
        if whole in _IN_SITE:
            return f"[{text}]({_relative(_IN_SITE[whole], page)}{mark}{anchor})"
        if whole.startswith("docs/") and (ROOT / whole).is_file():
            return f"[{text}]({_relative(whole.removeprefix('docs/'), page)}{mark}{anchor})"
        if whole.startswith("docs/") and (ROOT / whole / "README.md").is_file():
            return f"[{text}]({_relative(whole.removeprefix('docs/') + '/README.md', page)})"
        return match[0] if page in ("http.md", "python.md") else f"{text} (`{whole}`)"

    pictures = re.sub(r"(!\[[^\]]*\])\(docs/", r"\1(", markdown) if here in ELSEWHERE else markdown
    return _outside_code(pictures, lambda prose: _LINK.sub(replace, prose))


def http_page(document: dict[str, Any]) -> str:
    """Every call of the API as a table, from its OpenAPI document."""
    rows = [
        f"| `{method.upper()} {path}` | {_summary(call)} | {_inputs(call)} | {', '.join(sorted(call['responses']))} |"
        for path, calls in document["paths"].items()
        for method, call in calls.items()
    ]
    return (
        "# HTTP API, every call\n\nMade from the [OpenAPI document](openapi.json), which the API serves at "
        "`/openapi.json`. The [guide](api.md) has examples.\n\n"
        "| call | what it does | it takes | it answers |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
    )


def _summary(call: dict[str, Any]) -> str:
    text = call.get("description") or call.get("summary", "")
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")


def _inputs(call: dict[str, Any]) -> str:
    named = [f"`{one['name']}` ({one['in']})" for one in call.get("parameters", ())]
    bodies = [f"body: `{kind}`" for kind in call.get("requestBody", {}).get("content", ())]
    return ", ".join([*named, *bodies])


def _unfolded(item: Any, docs: Path) -> Any:
    if isinstance(item, list):
        return [_unfolded(one, docs) for one in item]
    if isinstance(item, dict):
        return {title: _unfolded(inner, docs) for title, inner in item.items()}
    if not item.endswith("/*"):
        return item
    pages = sorted(docs.glob(f"{item}.md"), key=lambda path: (path.name != "README.md", path.name))
    return [str(path.relative_to(docs)) for path in pages]


def _relative(target: str, page: str) -> str:
    return posixpath.relpath(target, posixpath.dirname(page) or ".")


def _outside_code(markdown: str, change: Callable[[str], str]) -> str:
    """The text with this change made in its prose, and blocks and spans of code left alone."""
    pieces, at = [], 0
    for code in _CODE.finditer(markdown):
        if not code[0].startswith("```") and "](" not in code[0]:
            continue  # it can be the text of a link
        pieces += [change(markdown[at : code.start()]), code[0]]
        at = code.end()
    return "".join([*pieces, change(markdown[at:])])
