"""What the Node buildpack would do, by package.json, lock file and configuration."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

LIB = Path(__file__).parents[3] / "images/buildpacks/nodejs/lib"
SERVE = "/usr/lib/buildfarm/serve-static"


@pytest.fixture(scope="module")
def planner():
    """The buildpack's own modules, which are no package: they run in the builder."""
    names = (
        "app", "ranges", "versions", "managers", "install", "patches", "compiled", "functions", "starts", "members", "needs", "plan",
    )  # fmt: skip
    sys.path.insert(0, str(LIB))
    yield importlib.import_module("plan")
    sys.path.remove(str(LIB))
    for name in names:
        sys.modules.pop(name, None)


@pytest.fixture
def plan(planner, tmp_path, monkeypatch):
    monkeypatch.setattr(planner, "builders_node", lambda: "24.21.0")
    monkeypatch.setattr(planner, "builders_npm", lambda: "11.21.2")

    def make(package, files=(), **config):
        contents = files if isinstance(files, dict) else dict.fromkeys(files, "")
        for name, content in {"package.json": json.dumps(package), **contents}.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(content)
        return planner.make(planner.App(tmp_path, config))

    return make


CLASSIC = {"yarn.lock": "# yarn lockfile v1\n"}


def berry(version):
    return {"yarn.lock": f"__metadata:\n  version: {version}\n"}


@pytest.mark.parametrize(
    ("package", "files", "expected"),
    [
        ({}, {}, "npm 11.21.2"),
        ({}, {"package-lock.json": "{}"}, "npm 11.21.2"),
        ({}, {"npm-shrinkwrap.json": "{}"}, "npm 11.21.2"),
        ({"engines": {"npm": ">=8"}}, {}, "npm 11.21.2"),
        ({"engines": {"npm": "10.x"}}, {}, "npm 10.x"),
        ({"engines": {"node": "18.12.0"}}, {}, "npm 9.9.4"),
        ({"engines": {"node": "20.x"}}, {}, "npm 10.9.4"),
        ({}, {"pnpm-lock.yaml": "lockfileVersion: '9.0'\n"}, "pnpm 9.15.9"),
        ({}, {"pnpm-lock.yaml": "lockfileVersion: '9.0'\n", "pnpm-workspace.yaml": "onlyBuiltDependencies: [a]\n"}, "pnpm 10.34.9"),
        ({}, {"pnpm-lock.yaml": "lockfileVersion: '6.0'\n"}, "pnpm 8.15.9"),
        ({}, {"pnpm-lock.yaml": "lockfileVersion: 5.4\n"}, "pnpm 7.33.7"),
        ({}, {"pnpm-lock.yaml": "lockfileVersion: 5.3\n"}, "pnpm 7.33.7"),
        ({"engines": {"node": "12.x"}}, {"pnpm-lock.yaml": "lockfileVersion: 5.3\n"}, "pnpm 6.35.1"),
        ({"packageManager": "pnpm@9.1.0+sha512.abc"}, {}, "pnpm 9.1.0"),
        ({"devEngines": {"packageManager": {"name": "pnpm", "version": "^10.0.0"}}}, {}, "pnpm ^10.0.0"),
        ({"engines": {"pnpm": ">=10"}}, {"pnpm-lock.yaml": "lockfileVersion: '9.0'\n"}, "pnpm >=10"),
        ({}, {"pnpm-workspace.yaml": "packages: [a]\n"}, "pnpm 10.34.9"),
        ({}, CLASSIC, "yarn 1.22.22"),
        ({"engines": {"pnpm": "8.15.9"}}, {}, "pnpm 8.15.9"),
        ({"engines": {"node": "24", "bun": ">=1.0.0"}}, {}, "bun 1.4.5"),
        ({"engines": {"npm": ">=8", "yarn": ">=1"}}, {}, "npm 11.21.2"),
        ({"engines": {"yarn": "1.x"}}, CLASSIC, "yarn 1.22.22"),
        ({}, berry(8), "yarn 4.18.1"),
        ({"engines": {"yarn": "1.x"}}, berry(8), "yarn 4.18.1"),
        ({}, berry(6), "yarn 3.8.7"),
        ({"packageManager": "yarn@4.5.0"}, berry(8), "yarn 4.5.0"),
        ({}, berry(8) | {".yarnrc.yml": "yarnPath: .yarn/releases/yarn-4.2.2.cjs\n"}, "yarn 4.2.2"),
        ({}, {"bun.lock": ""}, "bun 1.4.5"),
        ({}, {"bun.lockb": ""}, "bun 1.4.5"),
        ({"packageManager": "bun@1.2.0"}, {"bun.lock": "", "yarn.lock": ""}, "bun 1.2.0"),
    ],
)  # fmt: skip
def test_the_manager_is_the_one_of_the_app(plan, package, files, expected):
    made = plan(package, files)
    assert f"{made['manager']['name']} {made['manager']['version']}" == expected
    assert made["problems"] == []


@pytest.mark.parametrize(
    ("package", "files", "sentence"),
    [
        (
            {},
            {"package-lock.json": "{}", **CLASSIC},
            "There are lock files of npm and yarn: package-lock.json, yarn.lock.",
        ),
        (
            {"packageManager": "yarn@4.1.0"},
            {"pnpm-lock.yaml": ""},
            "names yarn, and the lock file pnpm-lock.yaml is one of pnpm.",
        ),
        ({"packageManager": "cnpm@9"}, {}, "'cnpm' in packageManager in package.json is not a known package manager"),
        ({"packageManager": "pnpm@nine"}, {}, "'nine' in packageManager in package.json is not a version of pnpm."),
        ({"engines": {"node": "banana"}}, {}, "'banana' in engines.node in package.json is not a version of Node."),
        ({}, {".nvmrc": "lts/banana"}, "'lts/banana' in .nvmrc is not a version of Node."),
    ],
)
def test_what_is_wrong_is_told_before_anything_runs(plan, package, files, sentence):
    assert any(sentence in problem for problem in plan(package, files)["problems"])


@pytest.mark.parametrize("text", ["{", "[]", '"x"'])
def test_a_package_json_that_cannot_be_read_is_named(planner, tmp_path, capsys, text):
    (tmp_path / "package.json").write_text(text)
    planner.main(str(tmp_path), str(tmp_path / "env"))
    assert json.loads(capsys.readouterr().out)["problems"] == [
        "package.json is not valid JSON. Check it with a linter and build again."
    ]


@pytest.mark.parametrize(
    ("package", "files", "version", "because"),
    [
        ({}, {}, "24.21.0", "the builder's"),
        ({"engines": {"node": ">=18 <25"}}, {".nvmrc": "20"}, "24.21.0", "engines.node in package.json asks for >=18 <25"),
        ({"engines": {"node": "20.x || 22.x"}}, {}, "20.x || 22.x", "engines.node in package.json asks for 20.x || 22.x"),
        ({"engines": {"node": "^24.30.0"}}, {}, "^24.30.0", "engines.node in package.json asks for ^24.30.0"),
        ({}, {".nvmrc": "v22.3.0\n", ".node-version": "20"}, "22.3.0", ".nvmrc asks for 22.3.0"),
        ({}, {".nvmrc": "lts/*"}, "24.21.0", "the builder's, which .nvmrc allows"),
        ({}, {".nvmrc": "lts/hydrogen"}, "18.x", ".nvmrc asks for 18.x"),
        ({}, {".nvmrc": "# ours\n22\n"}, "22", ".nvmrc asks for 22"),
        ({}, {".node-version": "20.1.0", ".tool-versions": "nodejs 18.0.0"}, "20.1.0", ".node-version asks for 20.1.0"),
        ({}, {".tool-versions": "python 3.1\nnodejs 18.20.1\n", "mise.toml": ""}, "18.20.1", ".tool-versions asks for 18.20.1"),
        ({}, {"mise.toml": "[tools]\nnode = '22'\n"}, "22", "mise.toml asks for 22"),
        ({}, {"mise.toml": "[tools]\nnode = {version = '22.1'}\n"}, "22.1", "mise.toml asks for 22.1"),
        ({"devEngines": {"runtime": [{"name": "deno"}, {"name": "node", "version": "^22"}]}}, {}, "^22", "devEngines.runtime in package.json asks for ^22"),
    ],
)  # fmt: skip
def test_the_node_is_the_one_that_the_app_asks_for_in_this_order(plan, package, files, version, because):
    language = plan(package, files)["language"]
    assert (language["version"], language["because"]) == (version, because)


def uses(*names, **scripts):
    return {"scripts": {"build": "x"} | scripts, "dependencies": dict.fromkeys(names, "1")}


FUNCTIONS = "@google-cloud/functions-framework"
TOGETHER = {"workspaces": ["packages/*"]}
STARTS = '{"scripts": {"start": "next start", "build": "next build"}}'
STANDALONE = {"next.config.mjs": "export default { output: 'standalone' }"}
EXPORT = {"next.config.js": 'module.exports = { output: "export" }'}
ANGULAR = {
    "projects": {
        "web": {
            "projectType": "application",
            "architect": {"build": {"builder": "@angular/build:application", "options": {}}},
        }
    }
}


def angular(**options):
    ANGULAR["projects"]["web"]["architect"]["build"]["options"] = options
    return {"angular.json": json.dumps(ANGULAR)}


@pytest.mark.parametrize(
    ("package", "files", "command"),
    [
        ({"scripts": {"start": "node a.js"}}, {}, "node a.js"),
        ({"scripts": {"start": "node a.js", "prestart": "x"}}, {}, "npm start"),
        ({"scripts": {"start": "node a.js", "prestart": "x"}}, {"bun.lock": ""}, "bun run start"),
        ({"scripts": {"start": "vite preview --port 1"}}, {"server.js": ""}, "vite preview --port 1"),
        (uses("next"), {}, "next start --hostname 0.0.0.0 --port $PORT"),
        (uses("next", start="next start"), {}, "next start"),
        (uses("next", start="next dev"), {}, "next start --hostname 0.0.0.0 --port $PORT"),
        (uses("next", start="next start"), STANDALONE, "node .next/standalone/server.js"),
        (uses("next", start="next start"), EXPORT, f"{SERVE} out"),
        (uses("next"), {"next.config.js": "// output: 'export'\n"}, "next start --hostname 0.0.0.0 --port $PORT"),
        (uses("nuxt"), {}, "node .output/server/index.mjs"),
        (uses("nuxt", build="nuxt generate"), {}, f"{SERVE} .output/public --fallback 200.html"),
        (uses("@sveltejs/kit", "@sveltejs/adapter-node"), {"svelte.config.js": "adapter({ out: 'made' })"}, "node made"),
        (uses("@sveltejs/kit", "@sveltejs/adapter-node"), {}, "node build"),
        (uses("@sveltejs/kit", "@sveltejs/adapter-static"), {"svelte.config.js": "from 'adapter-static'; adapter({ fallback: '200.html' })"}, f"{SERVE} build --fallback 200.html"),
        (uses("@sveltejs/kit", "@sveltejs/adapter-static"), {"vite.config.ts": "from 'adapter-static'; sveltekit({ adapter: adapter() })"}, f"{SERVE} build"),
        (uses("@builder.io/qwik-city", start="vite --open --mode ssr", serve="node server/entry.express"), {}, "node server/entry.express"),
        (uses("@qwik.dev/router", **{"build.server": "vite build -c adapters/static/vite.config.ts"}), {}, f"{SERVE} dist"),
        (uses("@remix-run/serve", "@remix-run/dev"), {"vite.config.ts": ""}, "remix-serve ./build/server/index.js"),
        (uses("@remix-run/serve", "@remix-run/dev"), {}, "remix-serve ./build/index.js"),
        (uses("@react-router/dev", "@react-router/serve"), {}, "react-router-serve ./build/server/index.js"),
        (uses("@react-router/dev", start="react-router-serve build/server/index.js"), {"react-router.config.ts": "export default { ssr: false }"}, f"{SERVE} build/client --fallback index.html"),
        (uses("@react-router/dev"), {"react-router.config.ts": "export default { ssr: false }"}, f"{SERVE} build/client --fallback index.html"),
        (uses("astro"), {}, f"{SERVE} dist"),
        (uses("astro", start="astro dev"), {}, f"{SERVE} dist"),
        (uses("astro", "@astrojs/node"), {"astro.config.mjs": "import node from '@astrojs/node'"}, "node ./dist/server/entry.mjs"),
        (uses("@angular/core", start="ng serve"), angular(), f"{SERVE} dist/web/browser --fallback index.html"),
        (uses("@angular/core"), angular(outputPath="out"), f"{SERVE} out/browser --fallback index.html"),
        (uses("@angular/core"), angular(ssr={"entry": "server.ts"}, outputMode="server"), "node dist/web/server/server.mjs"),
        (uses("@tanstack/react-start", "nitro"), {}, "node .output/server/index.mjs"),
        (uses("@nestjs/core", start="nest start"), {}, "node dist/main"),
        (uses("@nestjs/core", **{"start": "nest start", "start:prod": "node dist/apps/main"}), {}, "node dist/apps/main"),
        (uses("react-scripts", start="react-scripts start"), {}, f"{SERVE} build --fallback index.html"),
        (uses("vite"), {"index.html": ""}, f"{SERVE} dist --fallback index.html"),
        (uses("vite", start="vite"), {"index.html": ""}, f"{SERVE} dist --fallback index.html"),
        (uses("vite"), {"index.html": "", "vite.config.js": "build: { outDir: 'www' }"}, f"{SERVE} www --fallback index.html"),
        (uses("vite", "express"), {"index.html": "", "server.js": ""}, "node server.js"),
        (uses("expo", start="expo start"), {}, f"{SERVE} dist --fallback index.html"),
        (uses("@docusaurus/core", start="docusaurus start"), {}, f"{SERVE} build"),
        (uses("gatsby", start="gatsby develop"), {}, f"{SERVE} public"),
        (uses("gatsby", start="npm run develop", develop="gatsby develop"), {}, f"{SERVE} public"),
        (uses("gatsby", start="npm run serve", serve="node a.js"), {}, "npm run serve"),
        (uses("vitepress", build="vitepress build docs"), {}, f"{SERVE} docs/.vitepress/dist"),
        ({"main": "lib/web.js"}, {"lib/web.js": "", "server.js": ""}, "node lib/web.js"),
        ({"main": "dist/web.js", "scripts": {"build": "tsc"}}, {"index.js": ""}, "node dist/web.js"),
        ({}, {"server.js": "", "index.js": ""}, "node server.js"),
        ({}, {"index.js": ""}, "node index.js"),
        ({}, {"index.ts": "", "bun.lock": ""}, "bun run index.ts"),
        ({}, {"public/index.html": ""}, f"{SERVE} public"),
        ({"scripts": {"build": "tsc -p ."}}, {"server.ts": "", "tsconfig.json": "{}"}, "node server.js"),
        ({"scripts": {"build": "tsc"}}, {"src/index.ts": "", "tsconfig.json": '{"outDir": "./dist", // "rootDir": "lib"\n}'}, "node dist/index.js"),
        ({"scripts": {"build": "tsc"}}, {"src/index.ts": "", "a.ts": "", "tsconfig.json": '{"outDir": "dist"}'}, "node dist/src/index.js"),
        ({"scripts": {"build": "tsc"}}, {"lib/a.ts": "", "src/main.mts": "", "tsconfig.json": '{"outDir": "out", "rootDir": "."}'}, "node out/src/main.mjs"),
        ({"scripts": {"build": "tsc"}}, {"src/main.ts": "", "a.ts": "", "tsconfig.json": '{"outDir": "d", "include": ["src/**/*"]}'}, "node d/main.js"),
        ({"scripts": {"build": "tsc"}}, {"server.ts": "", "tsconfig.json": '{"noEmit": true}'}, "node server.ts"),
        ({"scripts": {"build": "tsc"}}, {"server.ts": "", "bun.lock": ""}, "bun run server.ts"),
        ({"scripts": {"build": "tsc --noEmit"}}, {"server.ts": "", "tsconfig.json": "{}"}, "node server.ts"),
        ({"scripts": {"build": "vue-tsc"}}, {"server.ts": "", "tsconfig.json": "{}"}, "node server.ts"),
        ({"scripts": {"build": "tsc -p tsconfig.build.json"}}, {"server.ts": "", "tsconfig.json": "{}"}, "node server.ts"),
        ({"scripts": {"build": "tsc"}}, {"server.ts": "", "tsconfig.json": '{"extends": "./base.json"}'}, "node server.ts"),
        ({"devDependencies": {FUNCTIONS: "1"}, "main": "server.js"}, {"server.js": "exports.a = 1"}, "node server.js"),
        (uses(FUNCTIONS), {"index.js": "functions.http('hello', (req, res) => {})"}, "functions-framework --target ${FUNCTION_TARGET:-hello}"),
        (uses(FUNCTIONS) | {"main": "web.js"}, {"web.ts": "export const hello = 1"}, "functions-framework --target ${FUNCTION_TARGET:-hello}"),
        (uses(FUNCTIONS), {"function.js": "exports.a = 1\nexports.b = 2\n"}, "functions-framework"),
        (uses(FUNCTIONS, start="node x.js"), {"index.js": ""}, "node x.js"),
        (TOGETHER, {"packages/shop/package.json": STARTS, "packages/lib/package.json": '{"main": "a.js"}'}, "cd packages/shop && npm start"),
        (TOGETHER, {"packages/web/package.json": STARTS, "packages/docs/package.json": STARTS}, "cd packages/web && npm start"),
        (TOGETHER | {"main": "a.js"}, {"a.js": "", "packages/web/package.json": STARTS}, "node a.js"),
    ],
)  # fmt: skip
def test_how_it_starts(plan, package, files, command):
    assert plan(package, files)["processes"] == {"web": command}


@pytest.mark.parametrize(
    ("package", "files"),
    [
        (uses("@sveltejs/kit", "@sveltejs/adapter-auto"), {"vite.config.ts": ""}),
        (uses("@builder.io/qwik-city", "vite", start="vite --mode ssr"), {"vite.config.ts": "paths({ root: '.' })"}),
    ],
    ids=["SvelteKit", "Qwik"],
)
def test_a_framework_without_an_adapter_has_no_process_and_a_warning(plan, package, files):
    made = plan(package, files)
    assert made["processes"] == {}
    assert "makes nothing that can be started here" in made["warnings"][-1]


def test_workspaces_that_may_all_be_the_web_server_are_named(plan):
    files = {f"packages/{name}/package.json": STARTS for name in ("client", "server")}
    made = plan(TOGETHER, files)
    assert made["processes"] == {}
    (warning,) = made["warnings"]
    assert warning.startswith("Which of the workspaces packages/client, packages/server is the web server is unknown.")
    assert warning.endswith("'web: cd packages/client && npm start'.")


@pytest.mark.parametrize("root", [{}, {"build": "turbo run build"}])
def test_the_workspace_that_is_started_is_built_unless_the_root_builds_all(plan, root):
    made = plan(TOGETHER | {"scripts": root}, {"packages/web/package.json": STARTS})
    assert made["steps"][1:] == (["npm run build"] if root else ["cd packages/web && npm run build"])


def test_a_procfile_of_an_app_of_workspaces_builds_nothing_unasked(plan):
    files = {"packages/web/package.json": STARTS, "Procfile": "web: node packages/web/a.js\n"}
    assert len(plan(TOGETHER, files)["steps"]) == 1


def test_a_plain_program_is_started_without_an_install(planner, tmp_path):
    (tmp_path / "server.js").write_text("")
    made = planner.make(planner.App(tmp_path))
    assert (made["steps"], made["processes"]) == ([], {"web": "node server.js"})
    assert (made["warnings"], made["problems"]) == ([], [])


EXPLAINED = {
    "packages that do not go together": ("npm error code ERESOLVE\nnpm error Conflicting peer dependency: a@2", "Packages ask for"),
    "a git repository": ("npm error code 128\nnpm error command git --no-replace-objects ls-remote ssh://x", "A package is fetched from a git"),
    "a package that does not exist": ("npm error code E404\nnpm error 404 Not Found", "The registry does not have a package"),
    "words of the app's own": ("Error: Cannot find module 'x'", "'npm run build' failed: the words above are the script's own."),
}  # fmt: skip


@pytest.mark.parametrize(("words", "sentence"), EXPLAINED.values(), ids=EXPLAINED)
def test_what_a_failed_command_says_is_followed_by_what_to_do(tmp_path, words, sentence):
    (tmp_path / "log").write_text(words)
    command = ["bash", LIB / "explain", tmp_path / "log", "npm run build"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.startswith(sentence)


DETECTED = {
    "a package": (["package.json"], True),
    "pnpm's manifest": (["package.yaml"], True),
    "hpack's manifest": (["package.yaml", "stack.yaml"], False),
    "hpack's manifest of a library": (["package.yaml", "shop.cabal"], False),
    "a plain program": (["server.js", "lib.js"], True),
    "a page and its program": (["index.html", "app.js"], False),
    "a page in a folder": (["public/index.html", "main.js"], False),
    "a script that starts it": (["start.sh", "index.js"], False),
    "other files": (["lib.js"], False),
}


@pytest.mark.parametrize(("files", "taken"), DETECTED.values(), ids=DETECTED)
def test_detect(tmp_path, files, taken):
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    done = subprocess.run(["bash", LIB.parent / "bin/detect", tmp_path], capture_output=True, text=True, check=False)
    assert (done.returncode == 0, done.stdout) == (taken, "Node.js\n" if taken else "")


@pytest.mark.parametrize("serve", ["bun server/entry.bun.js", "node --env-file=.env server/entry.express"])
def test_qwik_with_another_adapter_starts_with_its_script(plan, serve):
    made = plan(uses("@builder.io/qwik-city", serve=serve), {})
    assert made["processes"] == {"web": serve}


def test_a_framework_with_an_adapter_that_is_not_known_keeps_its_start(plan):
    made = plan(uses("@sveltejs/kit", "svelte-adapter-bun", start="vite dev"), ["index.js"])
    assert made["processes"] == {"web": "vite dev"}


def test_what_is_not_adapted_is_not_started_by_any_file(plan):
    assert plan(uses("@sveltejs/kit", start="vite dev"), ["index.js"])["processes"] == {}


def test_what_a_start_script_loads_is_not_dropped_either(plan):
    scripts = {"start": "npm run serve", "serve": "node server/entry.express"}
    made = plan({"scripts": scripts, "devDependencies": {"@builder.io/qwik-city": "1"}}, ["package-lock.json"])
    assert made["prune"]["because"] == "the start needs @builder.io/qwik-city, which is a development dependency"


@pytest.mark.parametrize(
    ("package", "files", "kept"),
    [
        ({"dependencies": {"@prisma/client": "6"}}, ["package-lock.json"], False),
        ({"dependencies": {"@prisma/client": "6"}, "scripts": {"build": "prisma generate && tsc"}}, ["package-lock.json"], True),
        ({}, [], True),
        ({"scripts": {"postinstall": "a"}}, ["pnpm-workspace.yaml"], False),
        ({}, berry(8), True),
        ({}, berry(8) | {".yarnrc.yml": "cacheFolder: archives\n"}, False),
    ],
)  # fmt: skip
def test_a_tree_is_kept_only_where_its_key_says_all_of_it(plan, package, files, kept):
    assert plan(package, files)["install"]["kept"] is kept


@pytest.mark.parametrize(
    ("files", "daily", "made"),
    [
        ([], True, []),
        (["package-lock.json"], False, []),
        (["pnpm-workspace.yaml"], True, ["pnpm-lock.yaml"]),
        ([".yarnrc.yml"], True, ["yarn.lock"]),
        ([".yarnrc"], True, []),
        (["bunfig.toml"], True, ["bun.lock", "bun.lockb"]),
        (["bun.lock"], False, []),
    ],
)
def test_without_a_lock_file_a_tree_is_kept_for_a_day_with_the_lock_file_that_was_made(plan, files, daily, made):
    install = plan({}, files)["install"]
    assert (install["kept"], install["daily"], install["makes"]) == (True, daily, made)


@pytest.mark.parametrize(
    ("files", "installing", "made"),
    [
        ([], "npm install --include=dev", ["package-lock.json"]),
        ([".yarnrc"], "yarn install --production=false", ["yarn.lock"]),
        ([".yarnrc.yml"], "yarn install --no-immutable", ["yarn.lock"]),
        (["pnpm-workspace.yaml"], "pnpm install --no-frozen-lockfile --prod=false", ["pnpm-lock.yaml"]),
        (["bunfig.toml"], "bun install", ["bun.lock", "bun.lockb"]),
    ],
)
def test_where_a_tree_is_not_kept_the_lock_file_that_was_made_is(plan, files, installing, made):
    package = {"scripts": {"postinstall": "a", "dependencies": "b"}}
    install = plan(package, files)["install"]
    assert (install["kept"], install["makes_lock"]) == (False, True)
    assert (install["run"], install["makes"]) == (installing, made)
    assert plan(package, files, NODE_MODULES_CACHE="false")["install"]["makes_lock"] is False


MEMBER = """{"name": "@shop/api", "devDependencies": {"tsx": "4"},
  "scripts": {"start": "npm run serve", "serve": "tsx src/index.ts"}}"""


@pytest.mark.parametrize(
    ("package", "files", "needed"),
    [
        ({}, {}, "tsx"),
        ({"scripts": {"start": "npm start --workspace @shop/api"}}, {}, "tsx"),
        ({"scripts": {"start": "npm run serve -w packages/api"}}, {}, "tsx"),
        ({"scripts": {"start": "pnpm -r start"}}, {}, "tsx"),
        ({}, {"Procfile": "web: cd packages/api && npm start\n"}, "tsx"),
        ({}, {"Procfile": "web: node packages/api/dist/index.js\n"}, ""),
        ({"scripts": {"start": "node packages/api-client/index.js && npm run serve"}}, {}, ""),
        ({"devDependencies": {"ts-node": "10"}}, {"packages/api/package.json": '{"scripts": {"start": "ts-node ."}}'}, "ts-node"),
    ],
)  # fmt: skip
def test_what_a_workspace_is_started_with_is_not_dropped(plan, package, files, needed):
    members = {"package-lock.json": "{}", "packages/api/package.json": MEMBER, **files}
    made = plan({"workspaces": ["packages/*"], **package}, members)
    told = f"the start needs {needed}, which is a development dependency" if needed else ""
    assert made["prune"]["because"] == told


def test_what_qwiks_server_loads_is_not_dropped(plan):
    package = {"scripts": {"build": "qwik build", "serve": "node server/entry.express"}}
    made = plan(package | {"devDependencies": {"@builder.io/qwik-city": "1"}}, ["package-lock.json"])
    assert made["steps"] == ["npm ci --include=dev", "npm run build"]
    assert made["prune"]["because"] == "the start needs @builder.io/qwik-city, which is a development dependency"


def test_a_preview_that_the_app_chose_stays_its_start(plan):
    made = plan(uses("@sveltejs/kit", start="vite preview --host --port $PORT"), {})
    assert made["processes"] == {"web": "vite preview --host --port $PORT"}


def test_fastifys_own_program_listens_on_all_addresses(plan):
    made = plan({"scripts": {"start": "fastify start -l info app.js"}}, {})
    assert made["environment"] == {"FASTIFY_ADDRESS": "0.0.0.0"}


def test_what_nothing_is_known_of_has_no_process(plan):
    assert plan({"scripts": {"test": "x"}}, ["readme"])["processes"] == {}


def test_next_standalone_gets_its_static_files_and_listens_on_all_addresses(plan):
    made = plan(uses("next"), STANDALONE | {"public/a": ""})
    assert made["steps"][-2:] == [
        "cp -R .next/static .next/standalone/.next/static",
        "cp -R public .next/standalone/public",
    ]
    assert made["environment"] == {"HOSTNAME": "0.0.0.0"}


DEVELOPMENT = {"devDependencies": {"tsx": "1"}}


@pytest.mark.parametrize(
    ("package", "files", "steps"),
    [
        (DEVELOPMENT, ["package-lock.json"], ["npm ci --include=dev", "npm prune --omit=dev"]),
        (DEVELOPMENT, [], ["npm install --no-package-lock --include=dev", "npm prune --omit=dev --no-package-lock"]),
        ({}, ["package-lock.json"], ["npm ci --include=dev"]),
        (DEVELOPMENT, ["pnpm-lock.yaml"], ["pnpm install --frozen-lockfile --prod=false", "pnpm prune --prod --ignore-scripts"]),
        (DEVELOPMENT, CLASSIC, ["yarn install --frozen-lockfile --production=false", "yarn install --production --ignore-scripts --prefer-offline --frozen-lockfile"]),
        (DEVELOPMENT, berry(8), ["yarn install --immutable", "yarn workspaces focus --all --production"]),
        (DEVELOPMENT, berry(6), ["yarn install --immutable"]),
        (DEVELOPMENT, ["bun.lock"], ["bun install --frozen-lockfile"]),
        (DEVELOPMENT | {"scripts": {"start": "tsx server.ts"}}, ["package-lock.json"], ["npm ci --include=dev"]),
        (DEVELOPMENT | {"scripts": {"start": "node --import tsx server.ts"}}, ["package-lock.json"], ["npm ci --include=dev"]),
        (DEVELOPMENT | {"scripts": {"start": "npm run serve", "serve": "PORT=1 tsx a.ts"}}, ["package-lock.json"], ["npm ci --include=dev"]),
        (DEVELOPMENT, {"package-lock.json": "", "Procfile": "web: npx tsx server.ts\n"}, ["npm ci --include=dev"]),
        ({"scripts": {"build": "a", "heroku-postbuild": "b", "heroku-prebuild": "c", "heroku-cleanup": "d"}}, ["package-lock.json"],
         ["npm run heroku-prebuild", "npm ci --include=dev", "npm run heroku-postbuild", "npm run heroku-cleanup"]),
        ({"scripts": {"build": "a", "gcp-build": "b"}}, ["package-lock.json"], ["npm ci --include=dev", "npm run gcp-build"]),
        ({"scripts": {"build": "a", "gcp-build": ""}}, ["package-lock.json"], ["npm ci --include=dev"]),
        ({"scripts": {"build": "a", "gcp-build": "", "apphosting:build": "b"}}, ["package-lock.json"], ["npm ci --include=dev", "npm run apphosting:build"]),
        ({"scripts": {"build": "a", "prepare": "b", "postinstall": "c", "preinstall": "d"}}, ["package-lock.json"],
         ["npm ci --include=dev", "npm run preinstall --include=dev", "npm run postinstall --include=dev", "npm run prepare --include=dev", "npm run build"]),
        ({"scripts": {"install": "a", "postinstall": "b"}}, ["package-lock.json"], ["npm ci --include=dev", "npm run install --include=dev"]),
        ({"scripts": {"postinstall": "a"}}, ["package-lock.json", "binding.gyp"],
         ["npm ci --include=dev", "npm exec -c 'node-gyp rebuild'", "npm run postinstall --include=dev"]),
        ({"scripts": {"install": "a"}}, ["package-lock.json", "binding.gyp"], ["npm ci --include=dev", "npm run install --include=dev"]),
        ({"gypfile": False}, ["package-lock.json", "binding.gyp"], ["npm ci --include=dev"]),
        ({"scripts": {"postinstall": "a"}, "packageManager": "npm@6.14.18"}, ["package-lock.json"], ["npm ci --production=false"]),
        (DEVELOPMENT | {"engines": {"node": "12.x"}}, [], ["npm install --no-package-lock --production=false", "npm prune --production --no-package-lock"]),
        (DEVELOPMENT | {"engines": {"npm": "10.x"}}, [], ["npm install --no-package-lock --include=dev", "npm prune --omit=dev --no-package-lock"]),
        ({"scripts": {"postinstall": "a", "dependencies": "b"}}, ["package-lock.json"], ["npm ci --include=dev"]),
        ({"scripts": {"postinstall": "a"}}, [], ["npm install --no-package-lock --include=dev", "npm run postinstall --include=dev"]),
        ({"scripts": {"postinstall": "a"}}, ["pnpm-lock.yaml"], ["pnpm install --frozen-lockfile --prod=false"]),
    ],
)  # fmt: skip
def test_the_steps(plan, package, files, steps):
    assert plan(package, files)["steps"] == steps


@pytest.mark.parametrize(("dependency", "ci"), [("react-scripts", False), ("next", True)])
def test_warnings_are_no_errors_for_create_react_app(plan, dependency, ci):
    assert plan({"devDependencies": {dependency: "5"}}, ["package-lock.json"])["ci"] is ci


@pytest.mark.parametrize(("named", "steps"), [("lint, types", ["npm run lint", "npm run types"]), ("", [])])
def test_googles_config_var_names_the_scripts_that_build(plan, named, steps):
    scripts = {"build": "a", "gcp-build": "b", "lint": "c", "types": "d"}
    assert plan({"scripts": scripts}, ["package-lock.json"], GOOGLE_NODE_RUN_SCRIPTS=named)["steps"][1:] == steps


@pytest.mark.parametrize(
    ("package", "files", "expected"),
    [
        ({"scripts": {"start": "bun index.ts"}}, ["pnpm-lock.yaml"], {"version": "1.4.5", "runtime": True}),
        ({"scripts": {"start": "node .", "build": "bun build.ts"}}, [], {"version": "1.4.5", "runtime": False}),
        ({"scripts": {"start": "PORT=1 bunx a"}, "engines": {"npm": "*", "bun": "1.2.0"}}, [], {"version": "1.2.0", "runtime": True}),
        ({"scripts": {"start": "bun index.ts"}}, ["bun.lock"], {"version": "", "runtime": True}),
        ({"scripts": {"start": "bun index.ts"}, "dependencies": {"bun": "1"}}, [], {"version": "", "runtime": True}),
        ({"scripts": {"start": "node bun.js", "dev": "bun --watch a"}}, [], {"version": "", "runtime": False}),
    ],
)  # fmt: skip
def test_bun_is_there_where_scripts_call_it_under_another_manager(plan, package, files, expected):
    assert plan(package, files)["bun"] == expected


@pytest.mark.parametrize(
    "config", [{"NODE_ENV": "test"}, {"NPM_CONFIG_PRODUCTION": "false"}, {"PNPM_SKIP_PRUNING": "true"}]
)
def test_a_config_var_keeps_development_dependencies(plan, config):
    assert "npm prune --omit=dev" not in plan(DEVELOPMENT, ["package-lock.json"], **config)["steps"]


@pytest.mark.parametrize(
    ("node", "start", "taken"),
    [("14.x", "npm start", True), ("24.x", "npm start", False), ("14.x", "node .", False), ("14.x", "npx serve", True)],
)
def test_an_npm_for_an_old_node_is_taken_along_where_a_process_calls_it(plan, node, start, taken):
    assert plan({"engines": {"node": node}}, {"Procfile": f"web: {start}\n"})["runtime"] is taken


def test_the_linker_is_told_where_yarn_has_one(plan):
    assert plan({}, berry(8))["manager"]["linker"] == "pnp"
    assert plan({}, {".yarnrc.yml": "nodeLinker: node-modules\n"})["manager"]["linker"] == "node-modules"
    assert "linker" not in plan({}, CLASSIC | {".yarnrc.yml": ""})["manager"]


def test_a_config_var_that_leaves_them_out_is_not_overruled(plan):
    assert plan({}, ["package-lock.json"], NPM_CONFIG_OMIT="dev")["steps"] == ["npm ci"]


@pytest.mark.parametrize(
    ("version", "text", "expected"),
    [
        ("20.1.0", "^20", True), ("21.0.0", "^20", False), ("0.2.9", "^0.2.3", True), ("0.3.0", "^0.2.3", False), ("0.0.4", "^0.0.3", False),
        ("20.9.9", "~20.9.0", True), ("20.10.0", "~20.9", False), ("20.5.0", "18 - 20", True), ("21.0.0", "18 - 20", False),
        ("22.0.0", ">=18 <22 || >=23", False), ("23.1.0", ">= 18 < 22 || >= 23", True), ("20.0.0", ">20", False), ("21.0.0", ">20", True),
        ("20.5.0", "<=20", True), ("24.1.0", "24.x", True), ("24.1.0", "24.1", True), ("24.1.0", "=24.1.0", True), ("24.1.0", "v24", True),
        ("24.1.0", "*", True), ("24.1.0", "", True), ("24.1.0", "banana", False), ("20.0.0", ">=18, <21", True), ("1.2.3", "^1.x", True),
    ],
)  # fmt: skip
def test_ranges_are_read_as_npm_reads_them(planner, version, text, expected):
    assert sys.modules["ranges"].satisfies(version, text) is expected


@pytest.mark.parametrize(
    ("package", "files", "patches"),
    [
        ({"patchedDependencies": {"a@1.0.0": "fixes/a.patch"}}, {}, ["fixes/a.patch"]),
        ({"pnpm": {"patchedDependencies": {"a": "fixes/a.patch", "b": "fixes/none.patch"}}}, {}, ["fixes/a.patch"]),
        ({}, {"pnpm-workspace.yaml": "patchedDependencies:\n  a@1.0.0: 'fixes/a.patch'\n"}, ["fixes/a.patch"]),
        ({"dependencies": {"a": "patch:a@npm%3A1.0.0#~/fixes/a.patch"}}, {}, ["fixes/a.patch"]),
        (
            {"resolutions": {"a": "patch:a@1#optional!./fixes/a.patch&./b.patch::version=1"}},
            {},
            ["b.patch", "fixes/a.patch"],
        ),
        (
            {"workspaces": ["shop"]},
            {"shop/package.json": '{"dependencies": {"a": "patch:a@1#./own.patch"}}', "shop/own.patch": ""},
            ["shop/own.patch"],
        ),
        ({"dependencies": {"a": "patch:a@1", "b": 3}, "patchedDependencies": ["x"], "pnpm": 1}, {}, []),
    ],
)
def test_the_apps_own_patches_are_part_of_the_key(plan, package, files, patches):
    made = plan(package, {"fixes/a.patch": "", "b.patch": "", **files})
    assert [name for name in made["install"]["inputs"] if name.endswith(".patch")] == patches
