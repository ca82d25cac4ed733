"""Plans of the buildpacks for Go, C and C++, Rust, Deno, shell scripts and static sites: files in, decisions out."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
BUILDPACKS = ROOT / "images/buildpacks"
LIBRARY = ROOT / "images/builder/root/usr/lib/buildfarm"
MAIN = "package main\n\nfunc main() {}\n"
GO_MOD = "module example.com/shop\n\ngo 1.22\n"
CRATE = '[package]\nname = "shop"\nversion = "0.1.0"\n'
SERVE = "/usr/lib/buildfarm/serve-static"


@pytest.fixture
def app(tmp_path):
    return App(tmp_path)


class App:
    """An app's folder, and what buildpacks say of it."""

    def __init__(self, folder: Path) -> None:
        self.root, self.config = folder / "app", folder / "env"
        self.root.mkdir()
        self.config.mkdir()

    def write(self, files: dict[str, str]) -> App:
        for name, content in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return self

    def plan(self, buildpack: str, **config: str) -> dict[str, Any]:
        """What bin/plan prints; in this process, since there are a hundred."""
        planning, module = load_plan(buildpack)
        return planning.plan_of(buildpack, module.make, self.root, config)

    def printed_plan(self, buildpack: str, **config: str) -> dict[str, Any]:
        for name, value in config.items():
            (self.config / name).write_text(value)
        command = ["bash", str(BUILDPACKS / buildpack / "bin/plan"), str(self.root), str(self.config)]
        variables = {"PATH": os.environ["PATH"], "BUILDFARM_LIBRARY": str(LIBRARY)}
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def taken_by(self) -> str:
        order = [line for line in (BUILDPACKS / "order.txt").read_text().splitlines() if not line.startswith("#")]
        takes = '(set -- "$app"; source "$name/bin/detect") >/dev/null'
        first = f'app=$1; shift; for name; do if {takes}; then echo "$name"; exit; fi; done'
        command = ["bash", "-c", first, "bash", str(self.root), *order]
        return subprocess.run(command, cwd=BUILDPACKS, capture_output=True, text=True, check=False).stdout.strip()


@functools.cache
def load_plan(buildpack: str) -> tuple[ModuleType, ModuleType]:
    """The module that buildpacks share, and lib/plan.py of this one, which changes sys.path as a program may."""
    path, names = list(sys.path), ("planning", "static_site.site_files", "static_site")
    os.environ["BUILDFARM_LIBRARY"] = str(LIBRARY)
    try:
        spec = importlib.util.spec_from_file_location(f"plan_of_{buildpack}", BUILDPACKS / buildpack / "lib/plan.py")
        assert spec and spec.loader
        module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # dataclasses look it up there
        spec.loader.exec_module(module)
        return sys.modules["planning"], module
    finally:
        sys.path[:] = path
        del os.environ["BUILDFARM_LIBRARY"]
        for name in names:
            sys.modules.pop(name, None)


DETECTED = {
    "a Go app with front-end tools": ({"go.mod": GO_MOD, "package.json": "{}"}, "go"),
    "a Go file without a module": ({"main.go": MAIN}, "go"),
    "a Go file of another name": ({"web.go": MAIN}, "go"),
    "a Go file beside another language": ({"web.go": MAIN, "package.json": "{}"}, "nodejs"),
    "a part of a Go program": ({"web.go": "package web\n"}, ""),
    "a Node program without a package.json": ({"server.js": ""}, "nodejs"),
    "a program that a Procfile starts": ({"Procfile": "web: ./serve\n"}, "procfile"),
    "a program in a language that is built elsewhere": ({"Procfile": "web: lein run\n", "project.clj": ""}, ""),
    "the same, which brings its program": ({"Procfile": "web: bin/x y\n", "mix.exs": "", "bin/x": ""}, "procfile"),
    "the same, whose program the builder has": ({"Procfile": "web: bash x\n", "a.csproj": ""}, "procfile"),
    "a page in Apache's folder": ({"htdocs/index.html": ""}, "static"),
    "a Go workspace": ({"go.work": "go 1.22\n"}, "go"),
    "a Python app with a CMakeLists.txt": ({"requirements.txt": "", "CMakeLists.txt": ""}, "python"),
    "a Node app with a crate for a native part": (
        {"package.json": "{}", "Cargo.toml": CRATE, "src/lib.rs": ""},
        "nodejs",
    ),
    "a Rust app with front-end tools": ({"package.json": "{}", "Cargo.toml": CRATE, "src/main.rs": ""}, "rust"),
    "a Rust workspace": ({"Cargo.toml": '[workspace]\nmembers = ["a"]\n'}, "rust"),
    "a Deno app": ({"deno.jsonc": "{}"}, "deno"),
    "a Deno file below src": ({"src/index.ts": "Deno.serve(() => new Response())"}, "deno"),
    "a file for another TypeScript": ({"src/index.ts": "console.log(1)"}, ""),
    "a Deno file": ({"main.ts": ""}, "deno"),
    "a Deno app with a package.json of tools": ({"deno.json": "{}", "package.json": "{}"}, "deno"),
    "a Node app that Deno's tools format": (
        {"deno.json": "{}", "package.json": '{"scripts": {"start": "node ."}}'},
        "nodejs",
    ),
    "a bun app": ({"package.json": "{}", "bun.lock": "{}", "main.ts": ""}, "nodejs"),
    "a CMake project": ({"CMakeLists.txt": ""}, "cpp"),
    "a Makefile with a program in C": ({"Makefile": "", "src/main.c": ""}, "cpp"),
    "a Makefile alone": ({"Makefile": "", "index.html": ""}, "static"),
    "a script beside a page": ({"start.sh": "", "index.html": ""}, "shell"),
    "a page in dist": ({"dist/index.html": ""}, "static"),
    "a Staticfile": ({"Staticfile": ""}, "static"),
    "an app with its own buildpack": ({"bin/detect": "echo x", "bin/compile": "", "go.mod": GO_MOD}, "inline"),
    "nothing that is known": ({"README": ""}, ""),
    # Helpers in another language beside an app
    "a page and a server for its author": ({"index.html": "", "serve.go": "package main\nfunc main() {}\n"}, "static"),
    "a script and tools": ({"start.sh": "", "tool.go": "package main\n", "run.py": ""}, "shell"),
    "PHP and a worker": ({"index.php": "", "worker.go": "package main\n", "bot.py": ""}, "php"),
    "Python and a Go file": ({"main.py": "", "w.go": "package main\n"}, "python"),
    "C and a script in Python": ({"Makefile": "", "main.c": "", "run.py": ""}, "cpp"),
    "C and a program of Node": ({"Makefile": "", "main.c": "", "main.js": ""}, "cpp"),
    "a page in public and a script": ({"public/index.html": "", "run.py": ""}, "static"),
    "a lone Go file": ({"web.go": "package main\n"}, "go"),
    "a lone bot": ({"bot.py": ""}, "python"),
    "a lone program of Node": ({"server.js": ""}, "nodejs"),
}


@pytest.mark.parametrize(("files", "buildpack"), DETECTED.values(), ids=DETECTED)
def test_the_first_in_the_order_takes_an_app(app, files, buildpack):
    app.write(files)
    for name in ("bin/detect", "bin/compile"):
        if name in files:
            (app.root / name).chmod(0o755)
    assert app.taken_by() == buildpack


GO_VERSIONS = {
    "the go line": ({"go.mod": "module x\n\ngo 1.22\n"}, {}, "1.22", [">=1.22.0,<1.23", ">=1.22.0"]),
    "the toolchain line wins": (
        {"go.mod": "module x\n\ngo 1.22\n\ntoolchain go1.24.3\n"},
        {},
        "1.24.3",
        [">=1.24.3,<1.25", ">=1.24.3"],
    ),
    "a config var wins": (
        {"go.mod": "module x\n\ngo 1.22\ntoolchain go1.24.3\n"},
        {"GOVERSION": "go1.25"},
        "1.25",
        [">=1.25.0,<1.26", ">=1.25.0"],
    ),
    "an old language version": ({"go.mod": "module x\n\ngo 1.16\n"}, {}, "1.16", [">=1.21"]),
    "no go line": ({"go.mod": "module x\n"}, {}, "", [">=1.21"]),
    "Heroku's comment": (
        {"go.mod": "module x\n// +heroku goVersion go1.23\ngo 1.22\n"},
        {},
        "1.23",
        [">=1.23.0,<1.24", ">=1.23.0"],
    ),
    "asdf's file": (
        {"go.mod": "module x\n", ".tool-versions": "nodejs 20.0.0\ngolang 1.23.2\n"},
        {},
        "1.23.2",
        [">=1.23.2,<1.24", ">=1.23.2"],
    ),
    "the newest of a workspace": (
        {
            "go.work": "go 1.22\nuse (\n\t./a\n\t./b\n)\n",
            "a/go.mod": "module a\ngo 1.22\n",
            "b/go.mod": "module b\ngo 1.23.1\n",
            "a/main.go": MAIN,
        },
        {},
        "1.23.1",
        [">=1.23.1,<1.24", ">=1.23.1"],
    ),
}


@pytest.mark.parametrize(("files", "config", "version", "ranges"), GO_VERSIONS.values(), ids=GO_VERSIONS)
def test_go_is_of_the_version_that_the_app_asks_for(app, files, config, version, ranges):
    plan = app.write({"main.go": MAIN, **files}).plan("go", **config)
    assert (plan["language"]["version"], plan["ranges"], plan["problems"]) == (version, ranges, [])


GO_PROGRAMS = {
    "the module itself": ({"main.go": MAIN}, {}, ["go build -o bin/shop ."], {"web": "bin/shop"}),
    "a major version is no name": (
        {"go.mod": "module example.com/shop/v2\n", "main.go": MAIN},
        {},
        ["go build -o bin/shop ."],
        {"web": "bin/shop"},
    ),
    "commands": (
        {"cmd/server/main.go": MAIN, "cmd/worker/main.go": MAIN, "internal/x/x.go": "package x\n"},
        {},
        ["go build -o bin/server ./cmd/server", "go build -o bin/worker ./cmd/worker"],
        {"web": "bin/server", "server": None, "worker": "bin/worker"},
    ),
    "the one that a config var names": (
        {"cmd/a/main.go": MAIN, "cmd/b/main.go": MAIN},
        {"GO_INSTALL_PACKAGE_SPEC": "./cmd/b"},
        ["go build -o bin/b ./cmd/b"],
        {"web": "bin/b"},
    ),
    "not what is ignored, vendored, tested or another module's": (
        {
            "main.go": MAIN,
            "gen.go": "//go:build ignore\n\n" + MAIN,
            "vendor/a/main.go": MAIN,
            "testdata/main.go": MAIN,
            "tools/go.mod": "module tools\n",
            "tools/main.go": MAIN,
            "win/main_windows.go": MAIN,
            "notes/notes.go": "package notes\n/*\npackage main\nfunc main() {}\n*/\n",
        },
        {},
        ["go build -o bin/shop ."],
        {"web": "bin/shop"},
    ),
}


@pytest.mark.parametrize(("files", "config", "steps", "processes"), GO_PROGRAMS.values(), ids=GO_PROGRAMS)
def test_each_go_program_is_built_and_started(app, files, config, steps, processes):
    plan = app.write({"go.mod": GO_MOD, **files}).plan("go", **config)
    assert (plan["steps"], plan["processes"]) == (
        steps,
        {name: command for name, command in processes.items() if command},
    )


def test_a_go_program_without_a_module_has_the_name_that_herokus_file_gives_it(app):
    plan = app.write({"web.go": MAIN, "other_test.go": MAIN, ".godir": "example.com/shop/web\n"}).plan("go")
    assert (plan["steps"], plan["processes"]) == (["go build -o bin/web web.go"], {"web": "bin/web"})


def test_a_go_app_from_before_modules_needs_no_vendor_folder_where_its_list_is_empty(app):
    plan = app.write({"main.go": MAIN, "Godeps/Godeps.json": '{"ImportPath": "a/shop", "Deps": []}'}).plan("go")
    assert (plan["steps"], plan["problems"]) == ([OLD.format("a/shop", "shop", ".")], [])


OLD = "cd $GOPATH/src/{} && go build -o bin/{} {}"
OLD_GO = {
    "godep": (
        {"Godeps/Godeps.json": '{"ImportPath": "example.com/shop"}'},
        [OLD.format("example.com/shop", "shop", ".")],
    ),
    "glide": ({"glide.yaml": "package: shop\nimport: []\n"}, [OLD.format("shop", "shop", ".")]),
    "govendor": ({"vendor/vendor.json": '{"rootPath": "a/b"}'}, [OLD.format("a/b", "b", ".")]),
    "dep": (
        {"Gopkg.lock": "", "Gopkg.toml": '[metadata.heroku]\n  root-package = "a/shop"\n'},
        [OLD.format("a/shop", "shop", ".")],
    ),
    "no tool": ({}, [OLD.format("app", "app", ".")]),
    "two programs": (
        {".godir": "x/shop\n", "cmd/worker/main.go": MAIN},
        [OLD.format("x/shop", "shop", "."), OLD.format("x/shop", "worker", "./cmd/worker")],
    ),
}


@pytest.mark.parametrize(("files", "steps"), OLD_GO.values(), ids=OLD_GO)
def test_a_go_app_from_before_modules_is_built_from_its_vendor_folder(app, files, steps):
    plan = app.write({"main.go": MAIN, "vendor/example.com/lib/lib.go": "package lib\n", **files}).plan("go")
    assert (plan["steps"], plan["problems"]) == (steps, [])
    assert plan["warnings"][0].startswith("There is no go.mod, so the app is built from its folder vendor.")


def test_hooks_of_a_go_app_are_steps(app):
    app.write(
        {"go.mod": GO_MOD, "main.go": MAIN, "bin/go-pre-compile": "#!/bin/sh\n", "bin/go-post-compile": "#!/bin/sh\n"}
    )
    for name in ("pre", "post"):
        (app.root / f"bin/go-{name}-compile").chmod(0o755)
    assert app.plan("go")["steps"] == ["bin/go-pre-compile", "go build -o bin/shop .", "bin/go-post-compile"]


def test_several_go_programs_without_a_web_server_are_named(app):
    plan = app.write({"go.mod": GO_MOD, "cmd/a/main.go": MAIN, "cmd/b/main.go": MAIN}).plan("go")
    assert plan["processes"] == {"a": "bin/a", "b": "bin/b"}
    assert "Which of the programs a, b is the web server is unknown." in plan["warnings"][0]


CMAKE = "cmake_minimum_required(VERSION {})\nproject(shop)\nadd_executable(${{PROJECT_NAME}} main.cpp)\n"
CPP = {
    "CMake": ({"CMakeLists.txt": CMAKE.format("3.10")}, "cmake", ["==3.31.10"], ["shop"], {"web": "bin/shop"}),
    "a CMake newer than ours": (
        {"CMakeLists.txt": CMAKE.format("4.1")},
        "cmake",
        [">=4.1"],
        ["shop"],
        {"web": "bin/shop"},
    ),
    "tests are no programs": (
        {
            "CMakeLists.txt": CMAKE.format("3.10") + "add_executable(shop_tests t.cpp)\n",
            "tests/CMakeLists.txt": "add_executable(x x.cpp)\n",
        },
        "cmake",
        ["==3.31.10"],
        ["shop"],
        {"web": "bin/shop"},
    ),
    "programs in folders": (
        {
            "CMakeLists.txt": "set(MY server)\nadd_subdirectory(src)\n",
            "src/CMakeLists.txt": "add_executable(${MY} a.c) # add_executable(no)\nadd_executable(tool b.c)\n",
        },
        "cmake",
        ["==3.31.10"],
        ["server", "tool"],
        {"web": "bin/server"},
    ),
    "Meson": (
        {"meson.build": "project('shop', 'c')\nexecutable('web', 'a.c')\nexecutable('cli', 'b.c')\n"},
        "meson",
        ["==1.9.2"],
        ["web", "cli"],
        {"web": "bin/web"},
    ),
    "make with a named target": (
        {"Makefile": "NAME = shop\nTARGET := out/$(NAME)\nall: $(TARGET)\n$(TARGET): a.o\n\tcc -o $@ a.o\n"},
        "make",
        None,
        ["out/shop"],
        {"web": "./out/shop"},
    ),
    "make with -o": ({"Makefile": "all:\n\tcc main.c -o server\n"}, "make", None, ["server"], {"web": "./server"}),
    "make that says nothing": ({"Makefile": "all:\n\t./do-it\n"}, "make", None, [], {}),
}


@pytest.mark.parametrize(("files", "manager", "tool", "programs", "processes"), CPP.values(), ids=CPP)
def test_programs_in_c_are_found_in_their_build_files(  # noqa: PLR0917 - columns of the table
    app, files, manager, tool, programs, processes
):
    plan = app.write({"main.c": "", **files}).plan("cpp")
    assert (plan["manager"]["name"], plan["tools"].get(manager), plan["programs"], plan["processes"]) == (
        manager,
        tool,
        programs,
        processes,
    )
    assert bool(plan["warnings"]) == (not processes)


def test_a_committed_build_folder_is_left_alone(app):
    plan = app.write({"CMakeLists.txt": CMAKE.format("3.10"), "build/index.html": "kept"}).plan(
        "cpp", CMAKE_ARGS="-DX=1"
    )
    assert plan["steps"][0] == "cmake -S . -B .build -G Ninja -DCMAKE_BUILD_TYPE=Release -DX=1"


RUST = {
    "a program": (
        {"Cargo.toml": CRATE, "src/main.rs": "", "Cargo.lock": ""},
        "cargo build --release --locked",
        {"web": "target/release/shop"},
    ),
    "programs below src/bin": (
        {"Cargo.toml": CRATE, "src/bin/web.rs": "", "src/bin/job/main.rs": ""},
        "cargo build --release",
        {"web": "target/release/web", "job": "target/release/job"},
    ),
    "a named program": (
        {"Cargo.toml": CRATE + '[[bin]]\nname = "api"\npath = "src/main.rs"\n', "src/main.rs": ""},
        "cargo build --release",
        {"web": "target/release/api"},
    ),
    "a workspace": (
        {
            "Cargo.toml": '[workspace]\nmembers = ["crates/*"]\n',
            "crates/api/Cargo.toml": CRATE.replace("shop", "api"),
            "crates/api/src/main.rs": "",
            "crates/lib/Cargo.toml": CRATE,
        },
        "cargo build --release",
        {"web": "target/release/api"},
    ),
}


@pytest.mark.parametrize(("files", "step", "processes"), RUST.values(), ids=RUST)
def test_rust_programs_are_processes(app, files, step, processes):
    plan = app.write(files).plan("rust")
    assert (plan["steps"], plan["processes"], plan["problems"]) == ([step], processes, [])


def test_a_pinned_rust_is_warned_of(app):
    plan = app.write(
        {"Cargo.toml": CRATE, "src/main.rs": "", "rust-toolchain.toml": '[toolchain]\nchannel = "nightly"\n'}
    ).plan("rust")
    assert plan["warnings"] == ["rust-toolchain.toml asks for Rust nightly; it is built with the distribution's."]


DENO = {
    "a task": (
        {"deno.json": '{"tasks": {"start": "deno run -A ./app/main.ts"}}', "app/main.ts": ""},
        ["deno install --entrypoint app/main.ts"],
        "deno task start",
    ),
    "a task with a description": (
        {"deno.json": '{"tasks": {"start": {"command": "deno run x.ts"}}}', "x.ts": ""},
        ["deno install --entrypoint x.ts"],
        "deno task start",
    ),
    "a file, and a lock file": (
        {"main.ts": "Deno.serve(x)", "deno.lock": "{}"},
        ["deno install --frozen --entrypoint main.ts"],
        "deno run --allow-all main.ts",
    ),
    "comments, and a build": (
        {"deno.jsonc": '{ // x\n "tasks": {"build": "x",}, }', "main.ts": ""},
        ["deno install --entrypoint main.ts", "deno task build"],
        "deno run --allow-all main.ts",
    ),
    "a file that exports a server": (
        {"server.ts": "export default { fetch() {} };"},
        ["deno install --entrypoint server.ts"],
        "deno serve --allow-all --host 0.0.0.0 --port $PORT server.ts",
    ),
}


@pytest.mark.parametrize(("files", "steps", "web"), DENO.values(), ids=DENO)
def test_how_deno_apps_are_installed_and_started(app, files, steps, web):
    plan = app.write(files).plan("deno")
    assert (plan["steps"], plan["processes"], plan["problems"]) == (steps, {"web": web}, [])


@pytest.mark.parametrize(
    ("files", "version"),
    [
        ({}, "2.x"),
        ({".deno-version": "v2.1.4\n"}, "2.1.4"),
        ({".tool-versions": "deno 2.3\n"}, "2.3"),
        ({"mise.toml": '[tools]\ndeno = "2.2.0"\n'}, "2.2.0"),
        ({"mise.toml": '[tools]\ndeno = "latest"\n'}, "2.x"),
        ({"package.json": '{"engines": {"deno": ">= 2.1"}}'}, ">=2.1"),
    ],
)
def test_deno_is_of_the_version_that_the_app_asks_for(app, files, version):
    assert app.write({"main.ts": "", **files}).plan("deno")["language"]["version"] == version


@pytest.mark.parametrize(
    ("settings", "files", "locked", "inputs"),
    [
        ({}, {"deno.lock": "{}"}, True, ["deno.lock"]),
        ({}, {}, False, ["deno.lock"]),
        ({"lock": False, "importMap": "names.json"}, {"deno.lock": "{}"}, False, ["names.json"]),
        ({"lock": "locks/a.lock"}, {"locks/a.lock": "{}"}, True, ["locks/a.lock"]),
        ({"lock": {"path": "a.lock", "frozen": True}}, {"deno.lock": "{}"}, False, ["a.lock"]),
        ({"lock": {"frozen": True}}, {"deno.lock": "{}"}, True, ["deno.lock"]),
    ],
)
def test_the_files_that_say_which_modules_deno_installs(app, settings, files, locked, inputs):
    plan = app.write({"main.ts": "", "deno.json": json.dumps(settings), **files}).plan("deno")
    assert (plan["locked"], plan["inputs"]) == (locked, inputs)
    assert ("--frozen" in plan["steps"][0]) is locked


@pytest.mark.parametrize(
    ("script", "command"),
    [
        ("echo", "exec bash start.sh"),
        ("#!/bin/sh -e\n", "exec sh -e start.sh"),
        ("#!/usr/bin/env bash\n", "exec bash start.sh"),
        ("#!/usr/bin/env -S bash -eu\n", "exec bash -eu start.sh"),
        ("\ufeffecho", "exec bash start.sh"),
    ],
)
def test_a_script_is_run_by_what_its_first_line_names(app, script, command):
    assert app.write({"start.sh": script}).plan("shell")["processes"] == {"web": command}


STATIC = {
    "the app's own folder": ({"index.html": ""}, ".", {}),
    "public before it": ({"index.html": "", "public/index.html": ""}, "public", {}),
    "dist": ({"dist/index.html": ""}, "dist", {}),
    "Apache's folder": ({"htdocs/index.html": ""}, "htdocs", {}),
    "a Staticfile's root and single page": (
        {"Staticfile": "---\nroot: site\npushstate: enabled\n", "site/index.html": ""},
        "site",
        {"fallback": "index.html"},
    ),
    "a Staticfile's switches": (
        {
            "Staticfile": "force_https: true\nhost_dot_files: true\ndirectory: visible\n"
            "status_codes:\n  500: /x\n  404: /gone.html\n"
        },
        ".",
        {"https_only": True, "dot_files": True, "listing": True, "error_page": "gone.html"},
    ),
    "passwords": ({"index.html": "", "Staticfile.auth": "a:b"}, ".", {"passwords": "Staticfile.auth"}),
    "static.json": (
        {
            "static.json": '{"root": "web/", "clean_urls": false, "routes": {"/a/*": "a.html", "/**": "index.html"},'
            ' "redirects": {"/o/**": {"url": "/n"}}}',
            "web/index.html": "",
        },
        "web",
        {
            "clean": False,
            "fallback": "index.html",
            "rules": [
                {"source": "/o/*", "target": "/n", "status": 301, "force": True},
                {"source": "/a/:one", "target": "/a.html", "status": 200, "force": False},
            ],
        },
    ),
    "Heroku's folder": ({"static.json": "{}", "public_html/index.html": ""}, "public_html", {}),
}


@pytest.mark.parametrize(("files", "root", "settings"), STATIC.values(), ids=STATIC)
def test_what_is_served_and_how(app, files, root, settings):
    plan = app.write(files).plan("static")
    assert (plan["root"], plan["settings"], plan["problems"], plan["warnings"]) == (root, settings, [], [])
    assert plan["processes"] == {"web": f"{SERVE} {root} --settings .static/site.json"}


PROBLEMS = {
    "no program in Go": (
        "go",
        {"go.mod": GO_MOD, "a.go": "package a\n"},
        "No package main with a func main was found.",
    ),
    "a tool from before modules": (
        "go",
        {"Gopkg.lock": "", "main.go": MAIN, "vendor/README": ""},
        "Gopkg.lock belongs to a tool from before Go modules.",
    ),
    "a go.mod without a module": ("go", {"go.mod": "go 1.22\n", "main.go": MAIN}, "go.mod has no module line."),
    "a workspace outside of the app": ("go", {"go.work": "use ../x\n"}, "go.work uses ../x, which is not in the app."),
    "a missing module of a workspace": ("go", {"go.work": "use ./x\n"}, "go.work uses x, which has no go.mod."),
    "two programs of one name": (
        "go",
        {"go.mod": GO_MOD, "a/web/m.go": MAIN, "b/web/m.go": MAIN},
        "Two programs are called web.",
    ),
    "no version of Go": (
        "go",
        {"go.mod": GO_MOD, "main.go": MAIN, ".go-version": "newest"},
        "'newest' in .go-version is not a version of Go.",
    ),
    "a library in Rust": ("rust", {"Cargo.toml": CRATE, "src/lib.rs": ""}, "Cargo.toml has no program"),
    "wrong TOML": ("rust", {"Cargo.toml": "["}, "Cargo.toml is not valid TOML"),
    "no start of Deno": ("deno", {"deno.json": "{}"}, "How to start the app is unknown."),
    "a workspace that is a word": (
        "rust",
        {"Cargo.toml": 'workspace = "x"'},
        "'workspace' of Cargo.toml is not a table.",
    ),
    "wrong JSON": ("deno", {"deno.json": "{", "main.ts": ""}, "deno.json is not valid JSON"),
    "no version of Deno": (
        "deno",
        {"main.ts": "", ".deno-version": "new"},
        "'new' in .deno-version is not a version of Deno.",
    ),
    "an empty script": ("shell", {"start.sh": "\n"}, "start.sh is empty."),
    "a script of Windows": ("shell", {"start.sh": "echo\r\n"}, "start.sh has Windows line endings"),
    "an unknown interpreter": (
        "shell",
        {"start.sh": "#!/bin/nosuchshell\n"},
        "start.sh names nosuchshell in its first line",
    ),
    "a folder that is missing": (
        "static",
        {"Staticfile": "root: site\n"},
        "The folder 'site', which Staticfile or static.json names as its root, is not in the app.",
    ),
    "a folder outside of the app": ("static", {"Staticfile": "root: a/../..\n"}, "The folder 'a/../..', which"),
    "no page": ("static", {"Staticfile": ""}, "There is no index.html in the app's own folder, nor in public"),
    "passwords that would be ignored": (
        "static",
        {"static.json": '{"basic_auth": true}', "index.html": ""},
        "basic_auth of static.json is not supported",
    ),
    "redirects that are a list": ("static", {"static.json": '{"redirects": []}', "index.html": ""}, ""),
    "redirects that are words": (
        "static",
        {"static.json": '{"redirects": {"/a": "/b"}}', "index.html": ""},
        "'redirects' of static.json is not an object of objects.",
    ),
}


@pytest.mark.parametrize(("buildpack", "files", "sentence"), PROBLEMS.values(), ids=PROBLEMS)
def test_a_fault_of_the_app_is_a_problem_of_the_plan(app, buildpack, files, sentence):
    plan = app.write(files).plan(buildpack)
    assert plan["problems"][0].startswith(sentence) if sentence else not plan["problems"]


def test_lines_of_a_static_site_that_are_not_followed_are_warned_of(app):
    app.write(
        {
            "index.html": "",
            "_redirects": "/a /b\n/c /d 302 Country=de\n",
            "_headers": "/*\n  No colon\n",
            "static.json": '{"proxies": {"/api": {}}, "routes": {"/**": {"path": "a.html", "excepts": ["/b"]}}}',
        }
    )
    plan = app.plan("static")
    assert plan["settings"]["fallback"] == "a.html"
    assert [line.split(":")[0] for line in plan["warnings"]] == [
        "static.json",
        "'proxies' of static.json is not supported and has no effect here.",
        "_redirects, line 2",
        "_headers, line 2",
    ]


@pytest.mark.parametrize("buildpack", ["cpp", "deno", "go", "rust", "shell", "static"])
def test_the_program_prints_the_plan_and_writes_nothing(app, buildpack):
    app.write(
        {
            "CMakeLists.txt": "",
            "go.mod": GO_MOD,
            "main.go": MAIN,
            "main.ts": "",
            "Cargo.toml": CRATE,
            "src/main.rs": "",
            "start.sh": "a",
            "index.html": "",
        }
    )
    before = sorted(app.root.rglob("*"))
    printed = app.printed_plan(buildpack, GOVERSION="1.23")
    assert printed == app.plan(buildpack, GOVERSION="1.23")
    assert sorted(app.root.rglob("*")) == before


def test_release_gives_the_processes_of_the_plan(app, tmp_path):
    folder = tmp_path / "buildpack"
    folder.mkdir()
    (folder / "plan.json").write_text(json.dumps(app.write({"go.mod": GO_MOD, "main.go": MAIN}).plan("go")))
    done = subprocess.run(
        ["bash", str(LIBRARY / "planned-release"), str(folder), str(app.root)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == 'default_process_types:\n  web: "bin/shop"\n'


@pytest.mark.parametrize(
    ("ranges", "version"),
    [
        (["==3.31.10"], "3.31.10"),
        ([">=3.31.2,<4"], "3.31.10"),
        ([">=3.31.11,<4", ">=3.31.11"], "4.1.0"),
        ([">=5"], None),
        (["==3.31"], None),
        (["~=3.31"], None),
    ],
)
def test_a_tool_is_the_newest_of_the_first_range_that_has_one(load_program, ranges, version):
    fetch_wheel = load_program(LIBRARY / "fetch-wheel")
    assert fetch_wheel.choose(["3.31.2", "3.31.10", "3.31.9", "4.1.0"], tuple(ranges)) == version
