"""What the Node buildpack takes from the cache and what it does anew, with stubs of the programs that it calls."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

pytestmark = pytest.mark.usefixtures("jq")

ROOT = Path(__file__).parents[3]
RESTORED = "Restored from the cache: nothing changed"
# What is installed tells of every file that decides it, and of the version of each package of the app.
NPM = """
case "$1" in
  ci | install)
    for folder in . packages/*/; do
      if [ ! -f "$folder/package.json" ]; then continue; fi
      mkdir -p "$folder/node_modules/development" "$folder/node_modules/package"
      jq -c '[.dependencies, .version]' "$folder/package.json" >"$folder/node_modules/package/manifest"
      cat package-lock.json .npmrc patches/* >"$folder/node_modules/package/settings" 2>/dev/null
      touch "$folder/node_modules/development/file"
    done
    echo "$1" >node_modules/.package-lock.json
    for script in postinstall prepare; do
      bash -c "$(jq -r --arg script $script '.scripts[$script] // "true"' package.json)"
    done ;;
  prune)
    echo pruned >>pruned.log
    echo pruned >node_modules/.package-lock.json
    rm -rf node_modules/development packages/*/node_modules/development ;;
  run) bash -c "$(jq -r --arg script "$2" '.scripts[$script]' package.json)" ;;
  --version) echo 11.0.0 ;;
esac
"""

# Plug'n'Play: the archives are in the app, and a file that says where each is.
YARN = """#!/bin/bash
case "$1" in
  install)
    mkdir -p .yarn/cache && echo "$1" | tee .yarn/cache/{ms,left-pad}.zip >.pnp.cjs
    echo "$RANDOM" >.yarn/install-state.gz ;;
  workspaces) echo "$1" >.pnp.cjs && rm .yarn/cache/left-pad.zip ;;
esac
echo "$1" >>asked
"""


class Node:
    """The buildpack on one app, whose cache stays from build to build."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.app = folder, folder / "app"
        for name in ("app", "cache", "tmp", "programs"):
            (folder / name).mkdir()
        shutil.copytree(ROOT / "images/buildpacks/nodejs", folder / "buildpack")
        for path in (folder / "buildpack").rglob("*"):
            if path.is_file():
                text = path.read_text().replace("/tmp/", f"{folder}/tmp/")
                path.write_text(text.replace("/usr/lib/buildfarm/", f"{ROOT}/images/builder/root/usr/lib/buildfarm/"))
        self.program("npm", NPM)
        self.program("node", "echo v24.1.0")
        self.system("Package: libc6\n")

    def program(self, name: str, body: str) -> None:
        path = self.folder / "programs" / name
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)

    def system(self, packages: str) -> None:
        (self.folder / "status").write_text(packages)

    def files(self, files: dict[str, str]) -> None:
        for name, content in files.items():
            (self.app / name).parent.mkdir(parents=True, exist_ok=True)
            (self.app / name).write_text(content)

    def remove(self, name: str) -> None:
        path = self.app / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()

    def __call__(self, code: int = 0, **config_vars: str) -> str:
        config = self.folder / "env"
        shutil.rmtree(config, ignore_errors=True)
        config.mkdir()
        for name, value in config_vars.items():
            (config / name).write_text(value)
        command = [
            "bash",
            str(self.folder / "buildpack/bin/compile"),
            str(self.app),
            str(self.folder / "cache"),
            str(config),
        ]
        path = f"{self.folder / 'programs'}:{os.environ['PATH']}"
        variables = {"PATH": path, "BUILDFARM_PACKAGES": str(self.folder / "status")}
        done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path)


LOCK = json.dumps({"lockfileVersion": 3, "packages": {"node_modules/left-pad": {"version": "1.3.0"}}})
PLAIN = {"package.json": json.dumps({"scripts": {"start": "node ."}}), "package-lock.json": LOCK}


def package(**keys):
    return {**PLAIN, "package.json": json.dumps(keys)}


def test_packages_come_from_the_cache_until_something_changes(node):
    node.files(PLAIN)
    assert RESTORED not in node()
    assert RESTORED in node()
    assert RESTORED not in node(npm_config_registry="https://example.org/")
    node.files({".npmrc": "legacy-peer-deps=true\n"})
    assert RESTORED not in node(npm_config_registry="https://example.org/")
    node.system("Package: libc6\nPackage: libvips\n")
    assert RESTORED not in node(npm_config_registry="https://example.org/")
    node.files({"patches/left-pad.patch": "--- a\n"})
    assert RESTORED not in node(npm_config_registry="https://example.org/")
    assert RESTORED in node(npm_config_registry="https://example.org/")
    assert RESTORED not in node(npm_config_registry="https://example.org/", NODE_MODULES_CACHE="false")


def test_without_a_lock_file_packages_come_from_the_cache_for_a_day(node):
    node.files({"package.json": json.dumps({"scripts": {"start": "node .", "postinstall": "date >>told"}})})
    node.program("date", "echo 2026-01-01")
    assert RESTORED not in node()
    assert RESTORED in node()
    node.program("date", "echo 2026-01-02")
    assert RESTORED not in node()
    assert RESTORED in node()
    assert (node.app / "told").read_text().split() == ["2026-01-01"] * 2 + ["2026-01-02"] * 2


def test_without_a_lock_file_an_app_whose_tree_is_made_in_every_build_has_the_days_versions(node):
    # It says in its lock file what it takes, unless there is one already.
    node.program("npm", 'if [ "$1" = install ] && [ ! -f package-lock.json ]; then date +%N >package-lock.json; fi')
    node.program("date", 'if [ "$1" = -u ]; then echo 2026-01-01; else exec /bin/date "$@"; fi')
    node.files({"package.json": json.dumps({"scripts": {"start": "node .", "dependencies": "true"}})})
    node()
    first, kept = (node.app / "package-lock.json").read_text(), tree(node.folder / "cache")
    node.remove("package-lock.json")
    assert RESTORED not in node()
    assert (node.app / "package-lock.json").read_text() == first
    assert tree(node.folder / "cache") == kept, "the cache changed, and no snapshot is left for the next build"
    node.remove("package-lock.json")
    node.program("date", 'if [ "$1" = -u ]; then echo 2026-01-02; else exec /bin/date "$@"; fi')
    node()
    assert (node.app / "package-lock.json").read_text() != first


def test_an_apps_own_install_script_runs_in_every_build(node):
    node.files(package(scripts={"postinstall": "mkdir -p dist && cp source.ts dist/app.js"}) | {"source.ts": "one"})
    node()
    shutil.rmtree(node.app / "dist")
    node.files({"source.ts": "two"})
    assert RESTORED in node()
    assert (node.app / "dist/app.js").read_text() == "two"


def test_an_apps_own_install_scripts_find_the_tree_as_it_was_installed(node):
    made = "node_modules/package/made"
    scripts = {"preinstall": f"echo pre >>{made}", "postinstall": f"echo post >>{made}", "prepare": f"cat {made} >told"}
    node.files(package(scripts=scripts))
    manifest = node.app / "package.json"
    before = manifest.read_bytes(), manifest.stat().st_mtime
    node()
    assert (node.app / "told").read_text() == "pre\npost\n"
    assert RESTORED in node()
    assert (node.app / "told").read_text() == "pre\npost\n", "they ran on what they had made the last time"
    assert (manifest.read_bytes(), manifest.stat().st_mtime) == before


@pytest.mark.parametrize(
    ("others", "config"), [({".npmrc": "ignore-scripts=true\n"}, {}), ({}, {"npm_config_ignore_scripts": "true"})]
)
def test_scripts_that_npm_is_told_to_ignore_are_left_to_it(node, others, config):
    node.files(package(scripts={"postinstall": "true"}) | others)
    assert "npm run postinstall" not in node(**config)


@pytest.mark.parametrize(
    ("keys", "others"),
    [
        ({"scripts": {"dependencies": "true"}}, {}),
        ({"dependencies": {"a": "file:a"}}, {}),
        ({"dependencies": {"a": "./a"}}, {}),
        ({"workspaces": ["packages/*"]}, {"packages/a/package.json": '{"scripts": {"postinstall": "true"}}'}),
        ({"gypfile": False}, {"binding.gyp": "{}"}),
        ({"dependencies": {"@prisma/client": "6"}}, {"prisma/schema.prisma": ""}),
    ],
    ids=["dependencies", "file", "folder", "script of a workspace", "gyp", "Prisma"],
)
def test_where_installing_depends_on_other_files_it_is_done_in_every_build(node, keys, others):
    node.files(package(**keys) | others)
    node()
    assert RESTORED not in node()


def test_the_folders_of_workspaces_come_back(node):
    node.files(package(workspaces=["packages/*"]) | {"packages/a/package.json": '{"dependencies": {"ms": "1.0.0"}}'})
    node()
    shutil.rmtree(node.app / "packages/a/node_modules")
    assert RESTORED in node()
    assert "1.0.0" in (node.app / "packages/a/node_modules/package/manifest").read_text()


def test_what_was_pruned_once_is_pruned_again_without_asking(node):
    node.files(package(devDependencies={"tsc": "1"}))
    node()
    first = tree(node.app)
    assert "node_modules/development" not in first
    assert RESTORED in node()
    assert tree(node.app) == first, "npm was asked again, or left something else"


def test_what_plugnplay_runs_comes_from_the_cache_installed_and_pruned(node):
    node.files(package(devDependencies={"left-pad": "1"}) | {"yarn.lock": "__metadata:\n  version: 10\n"})
    (node.app / "package-lock.json").unlink()
    node.files({".yarnrc.yml": "yarnPath: .yarn/releases/yarn-4.9.1.cjs\n", ".yarn/releases/yarn-4.9.1.cjs": YARN})
    assert RESTORED not in node()
    first = tree(node.app)
    assert ".yarn/cache/ms.zip" in first
    assert ".yarn/cache/left-pad.zip" not in first
    assert first["asked"] == b"install\nworkspaces\n"
    for made in (".yarn/cache", ".pnp.cjs"):
        node.remove(made)
    assert RESTORED in node()
    assert tree(node.app) == first, "Yarn was asked again, or left something else"


def test_archives_that_the_app_brings_are_installed_from_in_every_build(node):
    node.files(package() | {"yarn.lock": "__metadata:\n  version: 10\n", ".yarn/cache/ms.zip": "its own"})
    (node.app / "package-lock.json").unlink()
    node.files({".yarnrc.yml": "yarnPath: .yarn/releases/yarn-4.9.1.cjs\n", ".yarn/releases/yarn-4.9.1.cjs": YARN})
    node()
    assert RESTORED not in node()


def test_what_programs_compiled_of_themselves_is_kept_from_the_first_build_for_any_user(node):
    compiled = node.folder / "tmp/node-compile-cache"
    user = node.folder / "user"
    user.write_text("10063")
    code = f"folder={compiled}/v24-$(<{user}); mkdir -p $folder && date >>$folder/npm"
    node.files(package(scripts={"build": code}))
    node()
    kept = tree(node.folder / "cache")
    assert "compiled/files/v24-10063/npm" in kept
    shutil.rmtree(compiled)  # every build has its own /tmp
    user.write_text(str(os.getuid()))
    node()
    assert (compiled / f"v24-{os.getuid()}/npm").read_bytes().startswith(kept["compiled/files/v24-10063/npm"])
    assert tree(node.folder / "cache") == kept, "the cache changed, and no snapshot is left for the next build"


def test_what_was_compiled_for_another_version_goes(node):
    compiled = node.folder / "tmp/node-compile-cache"
    node.files(package(scripts={"build": f"mkdir -p {compiled}/v24-1 && echo $WORD >{compiled}/v24-1/npm"}))
    node(WORD="one")
    shutil.rmtree(compiled)
    node.program("node", "echo v24.2.0")
    node(WORD="two")
    assert (node.folder / "cache/compiled/files/v24-1/npm").read_text() == "two\n"


def test_what_the_build_writes_into_node_modules_stays(node):
    script = "mkdir -p node_modules/.prisma && cp schema node_modules/.prisma/client"
    node.files(package(devDependencies={"tsc": "1"}, scripts={"build": script}) | {"schema": "one"})
    node()
    node.files({"schema": "two"})
    assert RESTORED in node()
    assert (node.app / "node_modules/.prisma/client").read_text() == "two"
    assert (node.app / "pruned.log").read_text() == "pruned\npruned\n"


def test_what_bundlers_keep_for_themselves_does_not_stay(node):
    script = "mkdir -p node_modules/.vite/deps && echo $RANDOM >node_modules/.vite/deps/_metadata.json"
    node.files(package(devDependencies={"tsc": "1"}, scripts={"build": script}))
    node()
    first = tree(node.app)
    assert RESTORED in node()
    assert tree(node.app) == first
    assert not (node.app / "node_modules/.vite").exists()
    assert (node.app / "pruned.log").read_text() == "pruned\n", "its writing counts as a change of the packages"


def test_config_vars_win_and_may_have_any_name(node):
    script = 'echo "$CI $NODE_ENV $NODE_OPTIONS $build $name $npm_config_loglevel" >told'
    node.files(package(scripts={"build": script}))
    node(
        CI="false",
        NODE_OPTIONS="--max-old-space-size=300",
        build="prod",
        name="shop",
        UID="1000",
        cache="redis",
        IFS="x",
    )
    assert (node.app / "told").read_text() == "false production --max-old-space-size=300 prod shop warn\n"
    node(NODE_ENV="test", NPM_CONFIG_LOGLEVEL="silent", key="k", plan="p", steps="s", tools="t")
    assert (node.app / "told").read_text() == "true test    \n"


def test_create_react_app_is_not_told_to_take_warnings_for_errors(node):
    node.files(package(devDependencies={"react-scripts": "5"}, scripts={"build": 'mkdir build && echo "${CI-}" >told'}))
    node()
    assert (node.app / "told").read_text() == "\n"


def test_npm_before_7_is_not_told_to_keep_no_logs(node):
    # It removes them then without a name, and fails.
    node.program("npm", '[ "$1" != --version ] || echo 6.14.18; [ -z "${npm_config_logs_max:-}" ]')
    node.files({"package.json": json.dumps({"packageManager": "npm@6.14.18", "scripts": {"start": "node ."}})})
    node.files({"package-lock.json": LOCK})
    node()


def test_what_node_options_loads_is_not_asked_of_what_installs_it(node):
    script = 'echo "$NODE_OPTIONS" >>told'
    node.files(package(scripts={"heroku-prebuild": script, "build": script}))
    node(NODE_OPTIONS="--require dd-trace/init")
    assert (node.app / "told").read_text() == "\n--require dd-trace/init\n"


def test_scripts_run_in_their_order(node):
    names = ("heroku-cleanup", "build", "heroku-postbuild", "heroku-prebuild")
    node.files(package(scripts={name: f"echo {name} >>told" for name in names}))
    node()
    assert (node.app / "told").read_text().split() == ["heroku-prebuild", "heroku-postbuild", "heroku-cleanup"]


def test_a_script_that_fails_is_told_with_its_own_words(node):
    node.files(package(scripts={"build": "echo its own words; exit 3"}))
    log = node(code=1)
    assert "       its own words\n" in log
    assert " !     'npm run build' failed: the words above are the script's own." in log


def test_a_static_output_that_is_not_there_fails_the_build(node):
    node.files(package(devDependencies={"vite": "6"}, scripts={"build": "mkdir out"}) | {"index.html": ""})
    assert "The build left no folder dist, which Vite makes." in node(code=1)


def tree(root):
    """Every file with its content, and every folder."""
    return {str(path.relative_to(root)): path.read_bytes() if path.is_file() else b"" for path in root.rglob("*")}


ONE_OR_TWO = some.sampled_from(["1", "2"])
SCRIPTS = {
    "postinstall": some.sampled_from(["cp source node_modules/package/made", "true"]),
    "build": some.sampled_from(["cp source node_modules/package/built", "cp source out"]),
}


@some.composite
def manifests(draw):
    return {
        "version": draw(ONE_OR_TWO),
        "dependencies": dict.fromkeys(draw(some.sets(some.sampled_from(["a", "b"]))), "1"),
        "devDependencies": {"tsc": "1"},
        "scripts": draw(some.fixed_dictionaries({}, optional=SCRIPTS)),
    }


@some.composite
def apps(draw):
    root, nested = draw(manifests()), draw(some.none() | manifests())
    if nested:
        root["workspaces"] = ["packages/*"]
    others = dict.fromkeys(("source", ".npmrc", "patches/a", "package-lock.json"), ONE_OR_TWO)
    files = {"package-lock.json": LOCK, "source": "0"} | draw(some.fixed_dictionaries({}, optional=others))
    if nested:
        files["packages/x/package.json"] = json.dumps(nested)
    return files | {"package.json": json.dumps(root)}


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(first=apps(), second=apps())
def test_a_build_on_the_cache_of_another_gives_what_one_without_a_cache_gives(tmp_path_factory, first, second):
    found = []
    for earlier in ((first,), ()):
        node = Node(tmp_path_factory.mktemp("node"))
        for files in (*earlier, second):
            shutil.rmtree(node.app)
            node.app.mkdir()
            node.files(files)
            node()
        (node.app / "pruned.log").unlink(missing_ok=True)
        found.append(tree(node.app))
    assert found[0] == found[1]
