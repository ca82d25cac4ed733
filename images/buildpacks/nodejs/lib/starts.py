"""How an app starts: its start script, else its framework's production start, else a static output."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from typing import Any, NamedTuple

import compiled
import functions
from app import BUILDS, App
from managers import Manager

SERVE = "/usr/lib/buildfarm/serve-static"
ALL = {"HOST": "0.0.0.0"}  # what most servers of frameworks listen on


class Start(NamedTuple):
    """A command for the process web, and what it needs."""

    command: str
    because: str
    environment: dict[str, str] = {}  # noqa: RUF012 - read only
    steps: tuple[str, ...] = ()  # after the build script
    loads: str = ""  # a dependency that the server loads, though the build may have bundled the others


# Commands that serve sources for a developer, or a preview: there is something better in production.
DEVELOPMENT = re.compile(
    r"""\b( react-scripts\s+start | (react-app-rewired|craco)\s+start | ng\s+s(erve)?\b | docusaurus\s+start
    | expo\s+(start|r|web) | gatsby\s+(develop|serve|start) | astro\s+(dev|preview) | vue-cli-service\s+serve
    | webpack(-dev-server|\s+serve|\s+-w) | next\s+dev | nux(t|i)\s+(dev|preview) | parcel\s+(?!build|watch)
    | remix\s+(dev|vite:dev) | react-router\s+dev | nest\s+start | vinxi\s+dev | rsbuild\s+(dev|preview)
    | vitepress\s+(dev|preview) | eleventy\s+--serve | ember\s+s(erve)?\b
    | vite(\s+(dev|serve|preview))?(\s*$|\s+(--|&)) )""",
    re.VERBOSE,
)
_HOOKS = ("prestart", "poststart")


def choose(app: App, manager: Manager) -> Start | None:
    script = app.scripts.get("start", "")
    framework = next((start for find in _FRAMEWORKS if (start := find(app))), None)
    better = framework or (unadapted(app) and "preview" not in script)
    if script and not (_unsuited(app, _called(app, script), framework) and better):
        return _script(app, manager, script, framework)
    if framework or unadapted(app):
        return framework
    return _main(app, manager)


def _called(app: App, script: str) -> str:
    """The script that a script only calls."""
    found = re.fullmatch(r"(?:npm|yarn|pnpm|bun)\s+(?:run\s+)?([\w:.-]+)", script.strip())
    return app.scripts.get(found[1], script) if found else script


def _unsuited(app: App, script: str, framework: Start | None) -> bool:
    if DEVELOPMENT.search(script):
        return True
    if framework and framework.command.startswith(SERVE) and re.search(r"\b(react-router|remix)-serve\b", script):
        return True
    return bool(re.search(r"\bnext\s+start\b", script)) and _next_output(app) != ""


def _script(app: App, manager: Manager, script: str, framework: Start | None) -> Start:
    """A script is run without its manager where it can be: so that the app itself gets the signals."""
    environment, loads = (framework.environment, framework.loads) if framework else ({}, "")
    if re.search(r"\bfastify\s+start\b", script):
        environment = {"FASTIFY_ADDRESS": "0.0.0.0"}
    because = f"the script start in {app.manifest_name}"
    wanted = any(hook in app.scripts for hook in _HOOKS) or re.search(
        r"\bnpm_(package|config|lifecycle)|(?:^|\s)-- ", script
    )
    if manager.plug_n_play and not re.match(r"node\s", script):
        wanted = True
    if wanted:
        runner = "npm" if manager.name == "npm" else manager.name
        return Start("npm start" if runner == "npm" else f"{runner} run start", because, environment, loads=loads)
    return Start(script.replace("\n", " "), because, environment, loads=loads)


def _main(app: App, manager: Manager) -> Start | None:
    main = app.manifest.get("main")
    names = ("server", "app", "index", "main", "src/server", "src/index", "src/main")
    endings = ("js", "mjs", "cjs", "ts", "mts")
    candidates = [str(main).removeprefix("./")] if isinstance(main, str) and main else []
    built = bool(app.builds)
    for name in candidates:
        found = app.first(name, f"{name}.js", f"{name}/index.js")
        if found or (built and re.match(r"(dist|build|out|lib|output|\.output)/", name)):
            return Start(f"{_runtime(manager)} {shlex.quote(found or name)}", f"main in {app.manifest_name}", dict(ALL))
    found = app.first(*(f"{name}.{ending}" for name in names for ending in endings))
    if found:
        program = found if manager.name == "bun" else compiled.output(app, found) or found
        return Start(f"{_runtime(manager)} {shlex.quote(program)}", f"found {found}", dict(ALL))
    static = app.first("dist/index.html", "build/index.html", "public/index.html", "index.html")
    if static:
        return _static(static.removesuffix("index.html").rstrip("/") or ".", f"found {static}", fallback=False)
    return None


def _runtime(manager: Manager) -> str:
    return "bun run" if manager.name == "bun" else "node"


def _static(folder: str, because: str, *, fallback: bool = True, page: str = "index.html") -> Start:
    words = [SERVE, shlex.quote(folder), *(["--fallback", page] if fallback else [])]
    return Start(" ".join(words), because)


def _next_output(app: App) -> str:
    found = re.search(r"\boutput\s*:\s*['\"](standalone|export)['\"]", app.code("next.config"))
    return found[1] if found else ""


def _next(app: App) -> Start | None:
    if not app.uses("next"):
        return None
    output = _next_output(app)
    folder = re.search(r"\bdistDir\s*:\s*['\"](?:\./)?([^'\"]+)['\"]", app.code("next.config"))
    dist = folder[1] if folder else ".next"
    if output == "export":
        return _static(folder[1] if folder else "out", "Next.js with output: export", fallback=False)
    if output == "standalone":
        copies = [f"cp -R {dist}/static {dist}/standalone/{dist}/static"]
        copies += [f"cp -R public {dist}/standalone/public"] if (app.root / "public").is_dir() else []
        command = f"node {dist}/standalone/server.js"
        return Start(command, "Next.js with output: standalone", {"HOSTNAME": "0.0.0.0"}, tuple(copies))
    return Start("next start --hostname 0.0.0.0 --port $PORT", "Next.js")


_QWIK = ("@builder.io/qwik-city", "@qwik.dev/router")
# Frameworks whose server Nitro makes
_NITRO = {
    "nuxt": "Nuxt", "@tanstack/react-start": "TanStack Start", "@tanstack/solid-start": "TanStack Start",
    "@solidjs/start": "SolidStart", "nitropack": "Nitro", "nitro": "Nitro", "vinxi": "Vinxi",
}  # fmt: skip


def _nitro(app: App) -> Start | None:
    kind = next((kind for name, kind in _NITRO.items() if app.uses(name)), "")
    if not kind:
        return None
    code = app.code("nuxt.config") + app.code("app.config") + app.code("vite.config") + app.code("nitro.config")
    written = app.scripts.get("build", "") + app.scripts.get("heroku-postbuild", "")
    if re.search(r"\bnux(t|i)\s+generate\b", written) or re.search(r"\bpreset\s*:\s*['\"]static['\"]", code):
        return _static(".output/public", f"{kind}, generated as static files", page="200.html")
    if kind == "TanStack Start" and re.search(r"\bspa\s*:\s*\{\s*enabled\s*:\s*true", code):
        return _static("dist/client", f"{kind} as a single page", page="_shell.html")
    if kind == "TanStack Start" and not app.uses("nitro", "nitropack", "vinxi") and app.uses("srvx"):
        return Start(
            "srvx --prod --host 0.0.0.0 --port $PORT --static ../client dist/server/server.js", f"{kind} with srvx"
        )
    return Start("node .output/server/index.mjs", kind, dict(ALL))


def _sveltekit(app: App) -> Start | None:
    if not app.uses("@sveltejs/kit"):
        return None
    code = app.code("svelte.config") + app.code("vite.config")  # newer apps have all in the second one
    if app.uses("@sveltejs/adapter-static") and "adapter-static" in code:
        pages = re.search(r"\bpages\s*:\s*['\"]([^'\"]+)['\"]", code)
        fallback = re.search(r"\bfallback\s*:\s*['\"]([^'\"]+)['\"]", code)
        return _static(
            pages[1] if pages else "build",
            "SvelteKit with adapter-static",
            fallback=bool(fallback),
            page=fallback[1] if fallback else "",
        )
    if not app.uses("@sveltejs/adapter-node"):
        return None
    out = re.search(r"\bout\s*:\s*['\"]([^'\"]+)['\"]", code)
    return Start(f"node {out[1] if out else 'build'}", "SvelteKit with adapter-node", dict(ALL))


def _qwik(app: App) -> Start | None:
    if not app.uses(*_QWIK):
        return None
    script = app.scripts.get("serve", "")
    if re.search(r"\bserver/entry\.", script):
        loads = next(name for name in _QWIK if app.uses(name))
        return Start(script, f"Qwik, the script serve in {app.manifest_name}", dict(ALL), loads=loads)
    if "adapters/static" in app.scripts.get("build.server", ""):
        return _static("dist", "Qwik with static output", fallback=False)
    return None


def unadapted(app: App) -> str:
    """What to do where the build of a framework makes nothing that can be started; empty otherwise."""
    others = [name for name in (*app.dependencies, *app.development) if re.search(r"\badapter-(?!auto\b)", name)]
    if app.uses("@sveltejs/kit") and not others:
        return "SvelteKit's adapter-auto makes nothing that can be started here. Use @sveltejs/adapter-node."
    if app.uses(*_QWIK) and not _qwik(app):
        return "Qwik without an adapter makes nothing that can be started here. Run npm run qwik add node-server."
    return ""


def _react_router(app: App) -> Start | None:
    """React Router as a framework, and Remix, which it was before."""
    router = app.uses("@react-router/dev", "@react-router/serve")
    if not (router or app.uses("@remix-run/dev", "@remix-run/serve")):
        return None
    kind = "React Router" if router else "Remix"
    code = app.code("react-router.config") + (app.code("vite.config") if not router else "")
    folder = re.search(r"\bbuildDirectory\s*:\s*['\"](?:\./)?([^'\"]+)['\"]", code)
    build = folder[1] if folder else "build"
    if re.search(r"\bssr\s*:\s*false", code):
        page = "__spa-fallback.html" if re.search(r"\bprerender\b", code) else "index.html"
        return _static(f"{build}/client", f"{kind} without a server (ssr: false)", page=page)
    if app.uses("@react-router/serve"):
        return Start(f"react-router-serve ./{build}/server/index.js", kind, dict(ALL))
    if app.uses("@remix-run/serve"):
        vite = bool(app.first("vite.config.ts", "vite.config.js", "vite.config.mjs"))
        return Start(f"remix-serve ./build/{'server/' if vite else ''}index.js", kind, dict(ALL))
    return None


def _astro(app: App) -> Start | None:
    if not app.uses("astro"):
        return None
    code = app.code("astro.config")
    folder = re.search(r"\boutDir\s*:\s*['\"](?:\./)?([^'\"]+)['\"]", code)
    dist = folder[1].rstrip("/") if folder else "dist"
    if app.uses("@astrojs/node") and "@astrojs/node" in code:
        if re.search(r"\bmode\s*:\s*['\"]middleware['\"]", code):
            return None
        return Start(f"node ./{dist}/server/entry.mjs", "Astro with @astrojs/node", dict(ALL))
    return _static(dist, "Astro with static output", fallback=False)


def _angular(app: App) -> Start | None:
    if not app.uses("@angular/core") or not app.has("angular.json"):
        return None
    try:
        workspace = json.loads(re.sub(r"(?m)^\s*//.*$", "", app.text("angular.json")))
        projects = workspace["projects"]
        name = workspace.get("defaultProject") or next(
            key for key in projects if projects[key].get("projectType", "application") == "application"
        )
        build: dict[str, Any] = projects[name]["architect"]["build"]
    except (ValueError, KeyError, TypeError, StopIteration):
        return None
    options = build.get("options", {})
    output = options.get("outputPath") or f"dist/{name}"
    browser = "browser" if str(build.get("builder", "")).endswith(":application") else ""
    if isinstance(output, dict):
        browser = output.get("browser", browser)
        output = output.get("base", f"dist/{name}")
    if browser and options.get("ssr") and options.get("outputMode", "server") == "server":
        return Start(f"node {output}/server/server.mjs", "Angular with server-side rendering", dict(ALL))
    return _static(f"{output}/{browser}".rstrip("/"), "Angular")


def _nest(app: App) -> Start | None:
    if not app.uses("@nestjs/core"):
        return None
    script = app.scripts.get("start:prod", "")
    if script.startswith("node "):
        return Start(script, f"Nest, the script start:prod in {app.manifest_name}", dict(ALL))
    return Start("node dist/main", "Nest", dict(ALL))


def _functions(app: App) -> Start | None:
    found = functions.find(app)
    return Start(*found) if found else None


# A dependency, the folder of its output, and whether unknown addresses get index.html.
_OUTPUTS = (
    ("gatsby", "Gatsby", "public", False),
    ("@docusaurus/core", "Docusaurus", "build", False),
    ("@11ty/eleventy", "Eleventy", "_site", False),
    ("hexo", "Hexo", "public", False),
    ("expo", "Expo web", "dist", True),
    ("react-scripts", "Create React App", "build", True),
    ("react-app-rewired", "Create React App", "build", True),
    ("@craco/craco", "Create React App", "build", True),
    ("@vue/cli-service", "Vue CLI", "dist", True),
    ("ember-cli", "Ember", "dist", True),
    ("@rsbuild/core", "Rsbuild", "dist", True),
    ("@stencil/core", "Stencil", "www", True),
    ("preact-cli", "Preact", "build", True),
    ("vite", "Vite", "dist", True),
    ("parcel", "Parcel", "dist", True),
    ("parcel-bundler", "Parcel", "dist", True),
)


def _output(app: App) -> Start | None:
    built = " ".join(app.scripts[name] for name in BUILDS if name in app.scripts)
    if not built:
        return None
    if app.uses("vitepress"):
        folder = re.search(r"\bvitepress\s+build(?:\s+([\w./-]+))?", built)
        root = f"{folder[1].rstrip('/')}/" if folder and folder[1] else ""
        return _static(f"{root}.vitepress/dist", "VitePress", fallback=False)
    if app.uses("html-webpack-plugin") and not _has_server(app):
        return _static("dist", "Webpack with html-webpack-plugin")
    dependency, name, made, fallback = next((entry for entry in _OUTPUTS if app.uses(entry[0])), ("", "", "", False))
    if dependency == "vite":
        return _vite(app)
    return _static(made, name, fallback=fallback) if dependency else None


def _vite(app: App) -> Start | None:
    code = app.code("vite.config")
    # With the app's own server, Vite is only how its pages are made.
    if _has_server(app) or app.uses(*_QWIK) or not (app.has("index.html") or re.search(r"\broot\s*:", code)):
        return None
    found = re.search(r"\boutDir\s*:\s*['\"](?:\./)?([^'\"]+)['\"]", code)
    return _static(found[1].rstrip("/") if found else "dist", "Vite")


def _has_server(app: App) -> bool:
    """Whether the app has its own server to start."""
    main = app.manifest.get("main")
    named = isinstance(main, str) and app.has(main.removeprefix("./"))
    return named or bool(app.first("server.js", "server.mjs", "server.cjs", "server.ts"))


_FRAMEWORKS: tuple[Callable[[App], Start | None], ...] = (
    _next, _nitro, _sveltekit, _qwik, _react_router, _astro, _angular, _nest, _functions, _output,
)  # fmt: skip
