"""The plans of the buildpacks ruby, php, java and perl, and what their compile does with them; languages' programs are stubs."""

# ruff: noqa: E501 - a case a line reads as a table
from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
import urllib.parse
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planning.app import App
from planning.front_end import FrontEnd
from planning.ranges import WrongRangeError, meets

ROOT = Path(__file__).parents[3]
BUILDPACKS = ROOT / "images" / "buildpacks"
LIBRARY = ROOT / "images" / "builder" / "root" / "usr" / "lib" / "buildfarm"
FRONT = FrontEnd(["npm ci", "npm run build"])

sys.path[:0] = [
    *(str(BUILDPACKS / name / "lib") for name in ("ruby", "php", "java", "perl")),
    str(LIBRARY / "static_site"),
]
ruby_plan, php_plan, java_plan, perl_plan = (
    importlib.import_module(f"{name}_plan") for name in ("ruby", "php", "java", "perl")
)
gemfile, java_version, choose_jar, php_site, php_builder, index_snapshot = map(
    importlib.import_module, ("gemfile", "java_version", "choose_jar", "php_site", "php_builder", "index_snapshot")
)
read_tree = importlib.import_module("tree").read_tree


@pytest.fixture
def app(tmp_path):
    def make(config: dict[str, str] | None = None, /, **files: str) -> App:
        for name, content in files.items():
            path = tmp_path / name.replace("__", ".").replace("_slash_", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return App(tmp_path, config or {})

    return make


# Ranges


@pytest.mark.parametrize(
    ("wanted", "met"),
    [
        ("~> 3.2", True), ("~> 3.3.0", True), ("~> 3.2.0", False), (">= 3.1, < 3.4", True), ("3.3.14", True), ("3.3", False),
        ("^3.1", True), ("^2.7 || ^3.0", True), ("^2.7|^4", False), ("3.3.*", True), ("3.*", True), ("3.2.*", False), (">=3.1 <3.3", False),
        ("*", True), ("3.1 - 3.3", True), ("3.1 - 3.2", False), ("!= 3.3.14", False), ("~3.2", True), ("^3.3@dev", True), (">3.3.13", True), ("^0.3", False),
    ],
)  # fmt: skip
def test_a_range_is_a_range(wanted, met):
    assert meets("3.3.14", wanted) is met


@pytest.mark.parametrize("wanted", ["newest", "3.3 please", ">=", "~> x.y"])
def test_what_is_no_range_is_said_to_be_none(wanted):
    with pytest.raises(WrongRangeError):
        meets("3.3.14", wanted)


VERSION = st.tuples(*[st.integers(0, 30)] * 3)


@given(VERSION, VERSION)
def test_a_range_holds_what_lies_between_its_ends(have, low):
    def text(version):
        return ".".join(map(str, version))

    assert meets(text(have), f">= {text(low)}") is (have >= low)
    assert meets(text(have), f"~> {text(low)}") is (have >= low and have[:2] == low[:2])
    assert meets(text(have), f"~> {text(low[:2])}") is (have[:2] >= low[:2] and have[0] == low[0])
    assert meets(text(have), text(low)) is (have == low)


# Ruby


def ruby(app: App, machine: str = "x86_64", front: FrontEnd | None = None) -> dict:
    return ruby_plan.make(app, "3.3.14", machine, front or FrontEnd())


def lock(*platforms: str, gems: str = "rack (3.1.0)", ruby: str = "", paths: str = "") -> str:
    end = f"\nRUBY VERSION\n   ruby {ruby}\n" if ruby else ""
    names = "".join(f"  {name}\n" for name in platforms)
    return f"{paths}GEM\n  remote: https://rubygems.org/\n  specs:\n    {gems}\n\nPLATFORMS\n{names}\nDEPENDENCIES\n  rack\n{end}\nBUNDLED WITH\n   2.4.9\n"


@pytest.mark.parametrize(
    "platforms",
    [
        ["x86_64-linux"],
        ["x86_64-linux-gnu"],
        ["ruby"],
        ["arm64-darwin-22", "x86_64-linux"],
        ["aarch64-linux", "x86_64-linux"],
    ],
)
def test_a_lock_file_with_this_machine_is_followed_as_it_is(app, platforms):
    assert ruby(app(Gemfile="", Gemfile__lock=lock(*platforms)))["steps"] == ["bundle install"]


@pytest.mark.parametrize(
    ("platforms", "machine"),
    [(["arm64-darwin-22"], "x86_64"), (["x86_64-linux-musl"], "x86_64"), (["x86_64-linux"], "aarch64")],
)
def test_a_lock_file_of_other_machines_gets_this_one(app, platforms, machine):
    plan = ruby(app(Gemfile="", Gemfile__lock=lock(*platforms)), machine)
    assert plan["steps"] == [f"bundle lock --add-platform {machine}-linux", "bundle install"]
    assert platforms[0] in plan["warnings"][0]


@pytest.mark.parametrize(
    ("files", "version", "fetched"),
    [
        ({"Gemfile": 'ruby "~> 3.2"'}, "3.3.14", False),
        ({"Gemfile": 'ruby ">= 3.1", "< 3.4"'}, "3.3.14", False),
        ({"Gemfile": "# ruby '2.7.1'\n"}, "3.3.14", False),
        ({"Gemfile": "ruby '3.4.7'"}, "3.4.7", True),
        ({"Gemfile": "ruby file: '.ruby-version'", "__ruby-version": "ruby-3.4.7\n"}, "3.4.7", True),
        ({"Gemfile": "", "__ruby-version": "3.3\n"}, "3.3.14", False),
        ({"Gemfile": "", "__ruby-version": "3.3.1\n"}, "3.3.14", False),
        ({"Gemfile": "", "__ruby-version": "3.3.99\n"}, "3.3.99", True),
        ({"Gemfile": "", "__tool-versions": "nodejs 20\nruby 3.2.4\n"}, "3.2.4", True),
        ({"Gemfile": 'ruby "~> 3.4"', "Gemfile__lock": lock("ruby", ruby="3.4.2p100")}, "3.4.2", True),
        ({"Gemfile": 'ruby "~> 3.2"', "Gemfile__lock": lock("ruby", ruby="3.2.4p170")}, "3.3.14", False),
    ],
)
def test_the_ruby_that_an_app_asks_for(app, files, version, fetched):
    plan = ruby(app(**files))
    assert (plan["language"]["version"], plan["language"]["fetched"], plan["problems"]) == (version, fetched, [])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('"~> 2.7"', "asks for Ruby ~> 2.7"),
        ('"3.3"', "Write ~> 3.3.0"),
        ('"newest"', "which is not a version"),
        ('"jruby-9.4"', "only Ruby itself"),
    ],
)
def test_a_ruby_that_is_not_to_be_had_is_named(app, line, words):
    (problem,) = ruby(app(Gemfile=f"ruby {line}\n"))["problems"]
    assert words in problem


def test_the_front_end_comes_before_the_gems_and_the_assets_after(app):
    rails = app(
        Gemfile="gem 'rails'\ngem 'propshaft'\n",
        Rakefile="",
        config_slash_application__rb="",
        config_slash_environment__rb="",
        bin_slash_rails="",
    )
    plan = ruby(rails, front=FRONT)
    assert plan["steps"] == ["npm ci", "npm run build", "bundle install", "bin/rails assets:precompile"]
    assert plan["processes"]["web"] == "bin/rails server -b 0.0.0.0 -p $PORT -e $RAILS_ENV"


def test_assets_are_compiled_where_there_is_a_task_and_none_are_yet(app):
    assert ruby(app(Gemfile="gem 'rake'\n", Rakefile="# assets:precompile\n"))["steps"] == ["bundle install"]
    made = app(Rakefile="namespace :assets do\nend\n")
    assert ruby(made)["steps"][-1] == "bundle exec rake assets:precompile"
    (made.root / "public/assets").mkdir(parents=True)
    (made.root / "public/assets/.manifest.json").write_text("{}")
    assert ruby(made)["steps"] == ["bundle install"]


@pytest.mark.parametrize(
    ("gem", "web"),
    [
        ("puma", "bundle exec puma -p $PORT -e $RACK_ENV"),
        ("rackup", "bundle exec rackup --host 0.0.0.0 --port $PORT config.ru"),
    ],
)
def test_config_ru_is_served_by_what_the_app_brings(app, gem, web):
    assert (
        ruby(app(Gemfile="", config__ru="", Gemfile__lock=lock("ruby", gems=f"{gem} (1.0)")))["processes"]["web"] == web
    )


def test_gems_of_the_whole_app_are_not_kept_and_folders_are_part_of_the_key(app):
    assert (
        ruby(app(Gemfile="", Gemfile__lock=lock("ruby", paths="PATH\n  remote: .\n  specs:\n    own (0.1)\n\n")))[
            "kept"
        ]
        is False
    )
    plan = ruby(
        app(Gemfile="", Gemfile__lock=lock("ruby", paths="PATH\n  remote: lib/own\n  specs:\n    own (0.1)\n\n"))
    )
    assert plan["kept"] and "lib/own" in plan["inputs"]


@pytest.mark.parametrize(
    ("line", "kept"),
    [("gem 'rack'", True), ("gem 'own', path: 'own'", False), ("gem 'x', github: 'x/x'", False), ("gemspec", False)],
)
def test_without_a_lock_file_gems_are_kept_for_a_day_where_they_cannot_change(app, line, kept):
    plan = ruby(app(Gemfile=f"source 'https://rubygems.org'\n{line}\n"))
    assert (plan["kept"], plan["daily"]) == (kept, True)


# PHP


def php(app: App, front: FrontEnd | None = None) -> dict:
    return php_plan.make(
        app, "8.4.28", ["Core", "json", "PDO", "pdo_mysql", "Zend OPcache", "SimpleXML"], front or FrontEnd()
    )


def test_extensions_that_are_missing_are_named_with_their_package(app):
    packages = [{"name": "x/y", "require": {"ext-gd": "*", "ext-simplexml": "*"}, "provide": {"ext-apcu": "1"}}]
    manifest = {
        "require": {"ext-json": "*", "ext-pdo_sqlite": "*", "ext-apcu": "*", "ext-ionice": "*", "ext-zend-opcache": "*"}
    }
    problems = php(app(composer__json=json.dumps(manifest), composer__lock=json.dumps({"packages": packages})))[
        "problems"
    ]
    assert [problem.split(",")[0] for problem in problems] == [
        "x/y asks for ext-gd",
        "composer.json asks for ext-ionice",
        "composer.json asks for ext-pdo_sqlite",
    ]
    assert "php8.4-gd into an Aptfile" in problems[0] and "php8.4-sqlite3 into an Aptfile" in problems[2]
    assert "nor its distribution" in problems[1]
    assert php(app(Aptfile="php8.4-gd\nphp8.4-sqlite3\n"))["problems"] == [problems[1]]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not valid JSON"),
        ("[]", "not a JSON object"),
        ('{"require": {"php": "~7.4"}}', "asks for PHP ~7.4, and the builder has 8.4.28"),
    ],
)
def test_a_composer_json_that_cannot_be_followed_is_explained(app, content, words):
    (problem,) = php(app(composer__json=content))["problems"]
    assert words in problem


@pytest.mark.parametrize("wanted", ["^8.1", ">=7.4", "8.4.*", "^7.4 || ^8.0", "something that Composer may know"])
def test_a_php_that_fits_is_no_problem(app, wanted):
    assert php(app(composer__json=json.dumps({"require": {"php": wanted}})))["problems"] == []


@pytest.mark.parametrize(
    ("files", "root"),
    [
        ({"index__php": ""}, ""), ({"index__php": "", "public_slash_index__php": ""}, "public"), ({"web_slash_index__php": ""}, "web"),
        ({"public_slash_index__html": "", "index__php": ""}, ""),
        ({"htm_slash_index__php": "", "composer__json": '{"extra": {"paas": {"document-root": "htm"}}}'}, "htm"),
    ],
)  # fmt: skip
def test_the_folder_that_is_served(app, files, root):
    assert php(app(**files))["document_root"] == root


def test_a_laravel_app_builds_its_front_end_first(app):
    plan = php(
        app(
            artisan="",
            composer__json='{"scripts": {"compile": "x"}, "extra": {"paas": {"compile": ["php artisan y"]}}}',
        ),
        FRONT,
    )
    assert plan["steps"] == [
        "npm ci",
        "npm run build",
        "composer install",
        "composer run-script compile",
        "php artisan y",
    ]
    assert plan["laravel"] is True


def test_packages_from_folders_of_the_app_are_part_of_the_key(app):
    for dist, kept, inputs in (
        ({"type": "zip"}, True, []),
        ({"type": "path", "url": "./packages/y"}, True, ["packages/y"]),
        ({"type": "path", "url": "../y"}, False, ["../y"]),
        ({"type": "path", "url": "/srv/y"}, False, ["/srv/y"]),
        ({"type": "path", "url": "."}, False, ["."]),
        ({"type": "zip", "url": "https://example.org/a.zip"}, True, []),
        ({"type": "zip", "url": "lib/a.zip"}, True, ["lib/a.zip"]),
        ({"type": "zip", "url": "file:///app/lib/a.zip"}, False, [".."]),
        ({"type": "zip", "url": "/srv/a.zip"}, False, ["/srv/a.zip"]),
    ):
        packages = json.dumps({"packages": [{"name": "x/y", "dist": dist}]})
        plan = php(app(composer__json="{}", composer__lock=packages))
        assert (plan["kept"], plan["whole"], plan["inputs"]) == (kept, kept, inputs)


@pytest.mark.parametrize(
    ("manifest", "package", "files", "whole"),
    [
        ({}, {}, {}, True),
        ({"scripts": {"test": "phpunit", "compile": "x"}}, {}, {}, True),
        ({"scripts": {"post-install-cmd": "x"}}, {}, {}, False),
        ({"scripts": {"post-autoload-dump": ["x"]}}, {}, {}, False),
        ({}, {"type": "composer-plugin"}, {}, False),
        ({"config": {"bin-dir": "bin"}}, {}, {}, False),
        ({"config": {"vendor-dir": "../vendor"}}, {}, {}, False),
        ({}, {}, {"__git_slash_HEAD": "ref: refs/heads/main"}, False),
        ({}, {}, {"vendor_slash_patched__php": ""}, False),
        ({"autoload": {"psr-4": {"App\\": ["src/", "lib"]}, "files": ["a.php"]}}, {}, {}, True),
        ({"autoload": {"psr-4": {"": ""}}}, {}, {}, False),
        ({"autoload": {"classmap": ["src/*/x"]}}, {}, {}, False),
    ],
)
def test_composer_is_not_started_where_it_runs_nothing_of_the_apps_own(app, manifest, package, files, whole):
    lock = json.dumps({"packages": [{"name": "x/y", **package}]})
    plan = php(app(composer__json=json.dumps(manifest), composer__lock=lock, **files))
    assert plan["whole"] is whole


def test_what_plugins_read_of_the_app_is_part_of_the_key(app):
    """Such as cweagans/composer-patches: what it installs is the package and a patch."""
    extra = {
        "patches": {"x/y": {"one": "fixes/one.patch", "two": "https://example.org/two.patch", "out": "../out.patch"}},
        "patches-file": "all.json",
    }
    files = {
        "fixes_slash_one__patch": "",
        "fixes_slash_three__patch": "",
        "patches__lock__json": "{",
        "other__patch": "",
    }
    root = app(
        composer__json=json.dumps({"extra": extra}),
        composer__lock=json.dumps({"packages": [{"name": "x/y", "type": "composer-plugin"}]}),
        all__json=json.dumps({"patches": {"x/z": {"three": "./fixes/three.patch"}}}),
        **files,
    )
    (root.root / "../out.patch").write_text("")
    assert php(root)["inputs"] == ["all.json", "fixes/one.patch", "fixes/three.patch", "patches.lock.json"]
    (root.root / "composer.lock").write_text(json.dumps({"packages": [{"name": "x/y"}]}))
    assert php(root)["inputs"] == []


@pytest.mark.parametrize(
    ("said", "command", "words"),
    [
        ("require(a.php): Failed to open stream\nScript php a handling the post-install-cmd event returned with error code 1", "composer install", "A script of composer.json failed"),
        ("  - Downloading x/y (1.403.0)\n- Required package \"x/y\" is not present in the lock file.", "composer install", "composer.lock is out of step"),
        ("Warning: The lock file is not up to date with the latest changes\nfailed (HTTP/2 403 )", "composer install", "refused this build"),
        ("The lock file is not up to date\ncurl error 6: Could not resolve host", "composer install", "cannot be reached"),
        ("Your lock file does not contain a compatible set of packages. Please run composer update.\n x/y requires ext-gd * -> it is missing from your system", "composer install", "An extension of PHP is missing"),
        ("Your lock file does not contain a compatible set of packages. Please run composer update.", "composer install", "composer.lock is out of step"),
        ("The checksum verification of the file failed (downloaded from https://x)", "composer install", "is not the one whose checksum"),
        ("x/y contains a Composer plugin which is blocked by your allow-plugins config.", "composer install", "config.allow-plugins"),
        ("no", "composer run-script compile", "without a database and secrets"),
        ("no", "php artisan x", "It comes from extra in composer.json"),
    ],
)  # fmt: skip
def test_why_composer_failed_and_what_to_do(tmp_path, said, command, words):
    (tmp_path / "log").write_text(said)
    program = str(BUILDPACKS / "php/lib/explain")
    path = f"{tmp_path}:{os.environ['PATH']}"
    (tmp_path / "php").write_text("#!/bin/sh\necho 8.4\n")
    (tmp_path / "php").chmod(0o755)
    done = subprocess.run(
        ["bash", program, str(tmp_path / "log"), command],
        env={"PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert words in done.stdout


@pytest.mark.parametrize(
    "repositories",
    [
        [{"type": "path", "url": "packages/*"}],
        {"own": {"type": "path", "url": "./packages/a"}},
        [{"type": "artifact", "url": "archives"}],
        [{"type": "composer", "url": "mirror"}],
        [{"type": "vcs", "url": "file:///app/lib/a"}],
        [{"type": "package", "package": [{"name": "x/y", "dist": {"type": "zip", "url": "a.zip"}}]}],
    ],
)
def test_without_a_lock_file_packages_of_the_app_itself_are_not_kept(app, repositories):
    plan = php(app(composer__json=json.dumps({"repositories": repositories})))
    assert (plan["whole"], plan["daily"]) == (False, True)


@pytest.mark.parametrize(
    "repositories",
    [
        None,
        [{"packagist.org": False}],
        {"packagist.org": False},
        [{"type": "vcs", "url": "git@example.org:x/y.git"}, {"type": "composer", "url": "https://example.org"}],
        [{"type": "package", "package": {"name": "x/y", "dist": {"type": "zip", "url": "https://example.org/a.zip"}}}],
    ],
)
def test_without_a_lock_file_packages_from_elsewhere_are_kept_for_a_day(app, repositories):
    plan = php(app(composer__json=json.dumps({"repositories": repositories})))
    assert (plan["whole"], plan["daily"]) == (True, True)


@pytest.mark.parametrize(
    ("name", "kept"), [("COMPOSER", False), ("COMPOSER_VENDOR_DIR", False), ("COMPOSER_BIN_DIR", True)]
)
def test_a_config_var_that_moves_the_packages_starts_composer(app, name, kept):
    root = app(composer__json="{}", composer__lock='{"packages": [{"name": "x/y"}]}')
    assert php(root)["whole"]
    root.config[name] = "lib"
    plan = php(root)
    assert (plan["whole"], plan["kept"]) == (False, kept)


@pytest.fixture
def builders_php(tmp_path, monkeypatch):
    """A builder whose PHP says something else than what was written down of it."""
    for name, lines in {
        "usr/bin/php": "",
        "facts": "#!/bin/sh\nprintf '11\\n8.4.2\\njson\\n'",
        "status": "Package: a",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(lines)
        (tmp_path / name).chmod(0o755)
    for name, place in {"PROGRAM": "usr/bin/php", "ASK": "facts", "PACKAGES": "status", "FACTS": "php.txt"}.items():
        monkeypatch.setattr(php_builder, name, tmp_path / place)
    monkeypatch.setenv("PATH", f"{tmp_path}/usr/bin:{os.environ['PATH']}")
    for name in ("PHPRC", "PHP_INI_SCAN_DIR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "php.txt").write_text("10\n8.4.1\nCore\nZend OPcache\n")
    return tmp_path


def test_php_is_not_started_where_the_builder_says_what_it_is(builders_php):
    assert php_builder.read_php() == ["8.4.1", "Core", "Zend OPcache"]


@pytest.mark.parametrize("other", ["a package more", "nothing written down", "another PHP", "settings of the app"])
def test_php_is_asked_where_it_can_be_another(builders_php, monkeypatch, other):
    match other:
        case "a package more":
            (builders_php / "status").write_text("Package: a\n\nPackage: b")
        case "nothing written down":
            (builders_php / "php.txt").unlink()
        case "another PHP":
            own = builders_php / "own/php"
            own.parent.mkdir()
            own.symlink_to("/bin/true")
            monkeypatch.setenv("PATH", f"{own.parent}:{os.environ['PATH']}")
        case "settings of the app":
            monkeypatch.setenv("PHP_INI_SCAN_DIR", ":/app/php")
    assert php_builder.read_php() == ["8.4.2", "json"]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_files_address_is_written_as_browsers_do(name):
    assert php_site._quote(name, "/") == urllib.parse.quote(name)


def test_a_file_whose_name_is_not_utf_8_is_served(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.css")).write_text("")
    assert "caf%E9\\x2ecss" in php_site.configure("/app", tmp_path, read_tree(tmp_path))


def test_the_files_that_an_autoloader_is_made_of(app):
    autoload = {"psr-4": {"App\\": ["src/", "./lib"]}, "psr-0": {"Old": "old"}, "classmap": ["c"], "files": ["a.php"]}
    plan = php(app(composer__json=json.dumps({"autoload": autoload})))
    assert plan["code"] == ["a.php", "c", "lib", "old", "src"]


def test_the_validator_of_files_changes_with_any_of_them(app):
    root = app(index__php="", a__css="1", blog_slash_index__php="").root
    first = php_site.configure("/app", root, read_tree(root))
    assert first == php_site.configure("/app", root, read_tree(root))
    (root / "a.css").write_text("2")
    assert php_site.configure("/app", root, read_tree(root)) != first
    assert '"^/blog/(\\?.*)?$" => "/blog/index.php$1"' in first


# Java


@pytest.mark.parametrize(
    ("files", "version", "fetched"),
    [
        ({"Main__java": ""}, "21.0.13", False),
        ({"system__properties": "java.runtime.version=17\n", "__java-version": "21\n"}, "17", True),
        ({"__java-version": "1.8\n"}, "8", True), ({"__tool-versions": "java temurin-21.0.4+7\n"}, "21.0.13", False), ({"__sdkmanrc": "java=25.0.1-tem\n"}, "25", True),
        ({"pom__xml": "<properties><java.version>17</java.version></properties>"}, "21.0.13", False),
        ({"pom__xml": "<properties><!-- <java.version>25</java.version> --><maven.compiler.source>1.8</maven.compiler.source></properties>"}, "21.0.13", False),
        ({"pom__xml": "<properties><maven.compiler.release>25</maven.compiler.release><java.version>17</java.version></properties>"}, "25", True),
        ({"build__gradle": "java { toolchain { languageVersion = JavaLanguageVersion.of(17) } }", "gradlew": ""}, "17", True),
        ({"build__gradle": "sourceCompatibility = JavaVersion.VERSION_1_8", "gradlew": ""}, "21.0.13", False),
    ],
)  # fmt: skip
def test_the_java_that_an_app_asks_for(app, files, version, fetched):
    language = java_plan.make(app(**files), "21.0.13")["language"]
    assert (language["version"], language["fetched"]) == (version, fetched)


def test_a_java_that_is_none_is_named(app):
    assert (
        "asks for Java '99'"
        in java_plan.make(app(system__properties="java.runtime.version=99\n"), "21.0.13")["problems"][0]
    )


@pytest.mark.parametrize(
    ("files", "step"),
    [
        ({"pom__xml": ""}, "mvn --batch-mode --no-transfer-progress -DskipTests clean package"),
        ({"pom__xml": "", "mvnw": "", "__mvn_slash_wrapper_slash_maven-wrapper__properties": ""}, "./mvnw --batch-mode --no-transfer-progress -DskipTests clean package"),
        ({"pom__xml": "", "mvnw": "", "settings__xml": ""}, "mvn --batch-mode --no-transfer-progress --settings settings.xml -DskipTests clean package"),
        ({"gradlew": "", "build__gradle": "task stage {}"}, "./gradlew --no-daemon --console=plain stage"),
        ({"gradlew": "", "build__gradle__kts": "plugins {\n  id(\"application\")\n}"}, "./gradlew --no-daemon --console=plain build installDist -x check"),
    ],
)  # fmt: skip
def test_the_tool_that_builds(app, files, step):
    assert java_plan.make(app(**files), "21")["steps"] == [step]


def test_config_vars_choose_goals_and_tasks(app):
    assert java_plan.make(app({"MAVEN_CUSTOM_GOALS": "install", "MAVEN_CUSTOM_OPTS": "-Pprod"}, pom__xml=""), "21")[
        "steps"
    ][0].endswith("-Pprod install")


def test_wrappers_that_lack_a_part_are_explained(app):
    assert "no gradlew" in java_plan.make(app(build__gradle=""), "21")["problems"][0]
    assert "gradle/wrapper" in java_plan.make(app(gradlew=""), "21")["problems"][0]


def test_a_class_with_a_main_method_is_started(app):
    main = "public static void main(String[] a) {}"
    plan = java_plan.make(
        app(
            Other__java=f"class Other {{ {main} }}",
            src_slash_Main__java=f"package x.y;\nclass Main {{ {main} }}",
            No__java="class No {}",
        ),
        "21",
    )
    assert (plan["classes"], plan["warnings"]) == (["x.y.Main", "Other"], [])


def jar(root: Path, name: str, **manifest: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "META-INF/MANIFEST.MF", "".join(f"{key.replace('_', '-')}: {value}\r\n" for key, value in manifest.items())
        )


@pytest.mark.parametrize(
    ("jars", "command"),
    [
        ({"target/a-1.jar": "Main-Class", "target/a-1-sources.jar": "Main-Class", "target/original-a-1.jar": "Main-Class"}, "java $JAVA_OPTS -jar target/a-1.jar"),
        ({"target/a.jar": "", "target/a-jar-with-dependencies.jar": "Main-Class"}, "java $JAVA_OPTS -jar target/a-jar-with-dependencies.jar"),
        ({"web/target/b.jar": "Start-Class", "tool/target/t.jar": "Main-Class"}, "java -Dserver.port=$PORT $JAVA_OPTS -jar web/target/b.jar"),
        ({"target/shop.war": "Start-Class"}, "java -Dserver.port=$PORT $JAVA_OPTS -jar target/shop.war"),
        ({"build/libs/a-plain.jar": "Main-Class", "build/libs/a.jar": "Start-Class"}, "java -Dserver.port=$PORT $JAVA_OPTS -jar build/libs/a.jar"),
        ({"target/a.jar": "Main-Class", "part/target/a.jar": "Main-Class"}, "java $JAVA_OPTS -jar target/a.jar"),
    ],
)  # fmt: skip
def test_the_jar_that_is_started(tmp_path, jars, command):
    for name, key in jars.items():
        jar(
            tmp_path,
            name,
            **({"Main_Class": "x.Y"} if key else {}),
            **({"Start_Class": "x.Z"} if key == "Start-Class" else {}),
        )
    assert choose_jar.choose(tmp_path) == (command, "")


def test_where_no_jar_or_more_than_one_could_be_started_a_sentence_says_so(tmp_path):
    jar(tmp_path, "target/a.jar")
    assert "no jar with a Main-Class" in choose_jar.choose(tmp_path)[1]
    for name in "bc":
        jar(tmp_path, f"{name}/target/{name}.jar", Main_Class="x.Y")
    assert "2 jars that can be started: b/target/b.jar, c/target/c.jar" in choose_jar.choose(tmp_path)[1]
    (tmp_path / "build/install/d/bin").mkdir(parents=True)
    (tmp_path / "build/install/d/bin/d").touch()
    assert choose_jar.choose(tmp_path) == ("./build/install/d/bin/d", "")


# Perl


@pytest.mark.parametrize(
    ("asked", "least", "fits"),
    [
        ("'5.036'", "5.36", True),
        ("'v5.42.0'", "5.42.0", False),
        ("'5.40.1'", "5.40.1", True),
        ("'5.041003'", "5.41.3", False),
        ("'>= 5.10'", "5.100", False),
    ],
)
def test_the_perl_that_an_app_asks_for(app, asked, least, fits):
    plan = perl_plan.make(app(cpanfile=f"requires 'perl', {asked};\n"), "5.40.1")
    assert plan["language"]["because"] == f"{least} or later in cpanfile"
    assert (plan["problems"] == []) is fits


def test_a_psgi_app_is_served_by_the_server_that_it_brings(app):
    made = app(cpanfile="requires 'Starman';\n", app__psgi="")
    assert perl_plan.make(made, "5.40.1")["processes"] == {
        "web": "plackup -s Starman --host 0.0.0.0 --port $PORT app.psgi"
    }


def test_a_snapshot_becomes_an_index_of_its_versions_alone():
    snapshot = "# carton snapshot format: version 1.0\nDISTRIBUTIONS\n  A-1.0\n    pathname: X/XY/XYZ/A-1.0.tar.gz\n    provides:\n      A 1.0\n      A::B undef\n    requirements:\n      perl 5.010\n"
    lines = index_snapshot.index(snapshot).split("\n\n")[1].splitlines()
    assert lines == ["A 1.0 X/XY/XYZ/A-1.0.tar.gz", "A::B undef X/XY/XYZ/A-1.0.tar.gz"]


# What compile does with a plan, and its cache

BUNDLE = """
case "$*" in
  --version) echo "Bundler version 2.6.7" ;;
  "lock "*) echo "$*" >>bundled; sed -i 's/^PLATFORMS$/&\\n  x86_64-linux/' Gemfile.lock ;;
  install) mkdir -p "$BUNDLE_PATH"; cat Gemfile.lock >>"$BUNDLE_PATH/installed"; sort -uo "$BUNDLE_PATH/installed" "$BUNDLE_PATH/installed" ;;
  "exec rake assets:precompile") echo "$RAILS_ENV"; exit "${ASSETS_END:-0}" ;;
esac
"""


@pytest.fixture
def compile_ruby(tmp_path):
    if shutil.which("jq") is None:
        pytest.skip("the buildpack needs jq")
    programs = {"ruby": 'case "$*" in *RUBY_VERSION*) echo 3.3.14 ;; *) echo "ruby 3.3.14" ;; esac', "bundle": BUNDLE}
    (tmp_path / "programs").mkdir()
    for name, body in programs.items():
        (tmp_path / "programs" / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / "programs" / name).chmod(0o755)
    library, buildpack = tmp_path / "library", tmp_path / "buildpack"
    shutil.copytree(LIBRARY, library, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(BUILDPACKS / "ruby", buildpack, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "tmp").mkdir()
    (tmp_path / "status").write_text("Package: libc6\n")
    for path in [path for folder in (library, buildpack) for path in folder.rglob("*") if path.is_file()]:
        text = path.read_text().replace("/tmp/", f"{tmp_path}/tmp/").replace("/usr/lib/buildfarm", str(library))
        path.write_text(text)

    def compiled(
        kept: str, files: dict[str, str], code: int = 0, packages: str = "Package: libc6\n", **config: str
    ) -> tuple[str, str]:
        build, env = tmp_path / "app", tmp_path / "env"
        for folder in (build, env):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        (tmp_path / kept).mkdir(exist_ok=True)
        (tmp_path / "status").write_text(packages)
        for folder, content in ((build, files), (env, config)):
            for name, text in content.items():
                (folder / name).write_text(text)
        variables = {
            "PATH": f"{tmp_path / 'programs'}:{os.environ['PATH']}",
            "BUILDFARM_PACKAGES": str(tmp_path / "status"),
            "TMPDIR": str(tmp_path / "tmp"),
        }
        command = [str(buildpack / "bin" / "compile"), str(build), str(tmp_path / kept), str(env)]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        tree = build / "vendor/bundle/installed"
        return done.stdout, tree.read_text() if tree.exists() else ""

    return compiled


def test_a_failing_assets_task_fails_the_build(compile_ruby):
    files = {"Gemfile": "gem 'rake'\n", "Rakefile": "namespace :assets do\nend\n", "Gemfile.lock": lock("ruby")}
    assert "       production\n" in compile_ruby("cache", files)[0]
    told, _ = compile_ruby("cache", files, code=1, ASSETS_END="3")
    assert " !     The task assets:precompile failed." in told


def test_config_vars_may_have_the_names_of_our_variables(compile_ruby):
    files = {"Gemfile": "", "Gemfile.lock": lock("ruby")}
    assert (
        "vendor/bundle"
        not in compile_ruby(
            "cache", files, build="prod", cache="redis", here="x", name="y", UID="1000", plan="z", log="l"
        )[0]
    )


def test_the_same_gems_come_out_of_the_cache_unless_the_builder_is_another(compile_ruby):
    files = {"Gemfile": "", "Gemfile.lock": lock("ruby")}
    restored = "Restored from the cache: nothing changed"
    assert restored not in compile_ruby("cache", files)[0]
    assert restored in compile_ruby("cache", files)[0]
    assert restored not in compile_ruby("cache", files, packages="Package: libpq5\n")[0]


def test_a_lock_file_from_elsewhere_is_completed_once(compile_ruby, tmp_path):
    files = {"Gemfile": "", "Gemfile.lock": lock("arm64-darwin-22")}
    compile_ruby("cache", files)
    completed = (tmp_path / "app/Gemfile.lock").read_text()
    assert (tmp_path / "app/bundled").exists()
    told = compile_ruby("cache", files)[0]
    assert told.count("Restored from the cache: nothing changed") == 2
    assert "Bundler 2.6.7" not in told, "it was started for nothing"
    assert not (tmp_path / "app/bundled").exists()
    assert (tmp_path / "app/Gemfile.lock").read_text() == completed != files["Gemfile.lock"]
    compile_ruby("cache", {**files, "Gemfile.lock": lock("arm64-darwin-22", gems="rack (3.2.0)")})
    assert (tmp_path / "app/bundled").exists()


@pytest.mark.parametrize("before", ["rack (3.0.0)", "puma (6.0)", "rack (3.1.0)"])
def test_a_build_on_another_builds_cache_leaves_the_tree_of_one_without(compile_ruby, before):
    files = {"Gemfile": "", "Gemfile.lock": lock("ruby", gems="rack (3.1.0)")}
    compile_ruby("used", {**files, "Gemfile.lock": lock("ruby", gems=before)})
    assert compile_ruby("used", files)[1] == compile_ruby("empty", files)[1] != ""
