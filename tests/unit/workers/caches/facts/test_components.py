"""What the inspector lists of each ecosystem, and that hostile files cost bounded time and lose no other component."""

from __future__ import annotations

import io
import json
import subprocess
import zipfile
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from buildfarm.releases.facts.components.layer import decode
from workers.caches.facts.inspector.components import inventory, node
from workers.caches.facts.inspector.components.inventory import Inventory

METADATA = b"Metadata-Version: 2.4\nName: Flask_Login\nVersion: 0.6.3\nLicense-Expression: MIT\n\nName: other\n"
GEMSPEC = (
    b"# -*- encoding: utf-8 -*-\n# stub: rack 3.1.8 ruby lib\n\nGem::Specification.new do |s|\n s.licenses = ['MIT']\n"
)
STATUS = (
    b"Package: libssl3t64\nStatus: install ok installed\nArchitecture: amd64\nSource: openssl (3.5.1-1)\n"
    b"Version: 3.5.1-1+b1\nDescription: x\n .\n more\n\n"
    b"Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n"
)
PNP = b"""const RAW_RUNTIME_STATE =
'{"packageRegistryData": [\\
  [null, [[null, {"packageLocation": "./"}]]],\\
  ["ms", [["npm:2.0.0", {}]]],\\
  ["alias", [["virtual:0a#npm:@babel/core@7.0.0", {}]]],\\
  ["shop", [["workspace:.", {}]]]\\
]}';
"""


def package(name, version, **more):
    return json.dumps({"name": name, "version": version, **more}).encode()


def jar(files):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return content.getvalue()


def pom(group, artifact, version):
    text = f"groupId={group}\nartifactId={artifact}\nversion={version}\n"
    return {f"META-INF/maven/{group}/{artifact}/pom.properties": text}


def found_in(name, content):
    parts = Inventory()
    parts.text(name, content)
    return [tuple(one) for found in parts.files.values() for one in found], parts.unread


@pytest.mark.parametrize(
    ("name", "content", "component"),
    [
        ("app/.venv/lib/python3.13/site-packages/flask_login-0.6.3.dist-info/METADATA", METADATA,
         ("pypi", "flask-login", "0.6.3", "MIT", "")),
        ("app/lib/x.egg-info/PKG-INFO", b"Name: X.y\nVersion: 1.0\nLicense: BSD\n", ("pypi", "x-y", "1.0", "BSD", "")),
        ("app/node_modules/ms/package.json", package("ms", "2.1.3", license="MIT"), ("npm", "ms", "2.1.3", "MIT", "")),
        ("app/node_modules/@babel/core/package.json", package("@babel/core", "v7.1.0"),
         ("npm", "@babel/core", "7.1.0", "", "")),
        ("app/node_modules/.pnpm/ms@2.0.0/node_modules/ms/package.json", package("ms", "2.0.0"),
         ("npm", "ms", "2.0.0", "", "")),
        ("app/.deno/dir/npm/registry.npmjs.org/ms/2.0.0/package.json", package("ms", "2.0.0"),
         ("npm", "ms", "2.0.0", "", "")),
        ("app/vendor/bundle/ruby/3.3.0/specifications/rack-3.1.8.gemspec", GEMSPEC,
         ("gem", "rack", "3.1.8", "MIT", "")),
        ("app/vendor/bundle/ruby/3.3.0/specifications/x.gemspec", b's.name = "x".freeze\ns.version = "1.2"\n',
         ("gem", "x", "1.2", "", "")),
        ("app/vendor/composer/installed.json", json.dumps({"packages": [
            {"name": "Monolog/Monolog", "version": "v3.1.0", "license": ["MIT"]}]}).encode(),
         ("composer", "monolog/monolog", "3.1.0", "MIT", "")),
        ("app/local/lib/perl5/x/.meta/Foo-Bar-1.02/install.json",
         b'{"dist": "Foo-Bar-1.02", "pathname": "A/AU/AUTHOR/Foo-Bar-1.02.tar.gz"}',
         ("cpan", "AUTHOR/Foo-Bar", "1.02", "", "")),
        ("app/local/lib/perl5/x/.meta/Foo-2-v1.2-TRIAL/install.json", b'{"dist": "Foo-2-v1.2-TRIAL"}',
         ("cpan", "Foo-2", "v1.2-TRIAL", "", "")),
        ("var/lib/dpkg/status", STATUS,
         ("deb", "libssl3t64", "3.5.1-1+b1", "", "arch=amd64&upstream=openssl@3.5.1-1")),
        ("app/.apt/var/lib/dpkg/status.d/jq", b"Package: jq\nVersion: 1.7.1-6\nArchitecture: amd64\n",
         ("deb", "jq", "1.7.1-6", "", "arch=amd64")),
        ("app/.python/include/python3.12/patchlevel.h", b'#define PY_VERSION       "3.12.8"\n',
         ("generic", "python", "3.12.8", "", "")),
        ("app/.jdk/release", b'IMPLEMENTOR="x"\nJAVA_VERSION="21.0.5"\n', ("generic", "openjdk", "21.0.5", "", "")),
        ("app/.node/lib/bun/package.json", package("@oven/bun-linux-x64", "1.4.5"),
         ("generic", "bun", "1.4.5", "", "")),
    ],
)  # fmt: skip
def test_an_installed_package_is_a_component(name, content, component):
    assert found_in(name, content) == ([component], {})


def test_plug_n_play_lists_what_comes_from_a_registry():
    found, _ = found_in("app/.pnp.cjs", PNP)
    assert [one[:3] for one in found] == [("npm", "@babel/core", "7.0.0"), ("npm", "ms", "2.0.0")]


@pytest.mark.parametrize(
    "name",
    [
        "app/package.json",  # the app itself
        "app/node_modules/resolve/test/fixtures/package.json",
        "app/node_modules/x/dist/esm/package.json",
        "app/node_modules/.package-lock.json",
        "usr/lib/python3/dist-packages/apt-2.9.dist-info/METADATA",  # a package of dpkg
        "app/.apt/usr/lib/python3/dist-packages/yaml-6.dist-info/METADATA",
        "usr/share/nodejs/node_modules/ms/package.json",
    ],
)
def test_fixtures_and_what_dpkg_owns_are_not_components(name):
    assert Inventory().bytes_of(name) == 0


def test_a_stub_without_a_version_is_not_a_component():
    assert found_in("app/node_modules/x/package.json", b'{"type": "module"}') == ([], {})


@pytest.mark.parametrize(
    ("files", "components"),
    [
        (pom("org.slf4j", "slf4j-api", "2.0.9"), [("maven", "org.slf4j/slf4j-api", "2.0.9")]),
        ({**pom("a", "b", "1"), **pom("c", "d", "2")}, [("maven", "a/b", "1"), ("maven", "c/d", "2")]),
        (
            {"META-INF/MANIFEST.MF": "Bundle-SymbolicName: org.x.y;a=b\nBundle-Version: 1.2\n"},
            [("maven", "org.x.y", "1.2")],
        ),
        ({"BOOT-INF/lib/in.jar": jar(pom("g", "in", "3"))}, [("maven", "g/in", "3")]),
    ],
)
def test_a_jar_names_its_artifacts(files, components):
    parts = Inventory()
    parts.archive("app/target/x.jar", io.BytesIO(jar(files)))
    assert [tuple(one)[:3] for one in parts.files["app/target/x.jar"]] == components


def test_a_jar_that_names_nothing_is_declared():
    parts = Inventory()
    parts.archive("app/x.jar", io.BytesIO(jar({"a.class": b"\xca\xfe\xba\xbe"})))
    parts.archive("app/x-sources.jar", io.BytesIO(jar({"a.java": b""})))
    assert parts.unread == {"app/x.jar": "it names no artifact"}


def elf_with(folder, section, content):
    """A small program with a section of this content."""
    (folder / "content").write_bytes(content)
    (folder / "x.c").write_text("int main(void) { return 0; }\n")
    subprocess.run(["gcc", "-o", folder / "x", folder / "x.c"], check=True)
    command = ["objcopy", "--add-section", f"{section}={folder / 'content'}", folder / "x"]
    subprocess.run(command, check=True)
    return io.BytesIO((folder / "x").read_bytes())


def go_information(version, modules):
    def text(content):
        assert len(content) < 128 * 128
        return bytes([len(content) & 0x7F | 0x80, len(content) >> 7]) + content

    header = b"\xff Go buildinf:" + bytes([8, 2]) + bytes(16)
    return header + text(version) + text(b"0" * 16 + modules + b"1" * 16)


def test_a_go_program_lists_its_modules_and_the_standard_library(tmp_path):
    modules = (
        b"path\texample.com/shop\nmod\texample.com/shop\t(devel)\t\ndep\tgithub.com/a/b\tv1.2.3\th1:x=\n"
        b"dep\tgithub.com/c/d\tv1.0.0\n=>\tgithub.com/fork/d\tv1.0.1\th1:y=\nbuild\t-compiler=gc\n"
    )
    parts = Inventory()
    parts.program("app/bin/shop", elf_with(tmp_path, ".go.buildinfo", go_information(b"go1.25.5 X:none", modules)))
    assert [tuple(one)[1:3] for one in parts.files["app/bin/shop"]] == [
        ("github.com/a/b", "v1.2.3"), ("github.com/fork/d", "v1.0.1"), ("stdlib", "1.25.5"),
    ]  # fmt: skip
    assert parts.unread == {}


def test_a_rust_program_built_by_cargo_auditable_lists_its_crates(tmp_path):
    packages = [{"name": "serde", "version": "1.0.1"}, {"name": "cc", "version": "1.0.0", "kind": "build"}]
    content = zlib.compress(json.dumps({"packages": packages}).encode())
    parts = Inventory()
    parts.program("app/target/release/shop", elf_with(tmp_path, ".dep-v0", content))
    assert [tuple(one)[:3] for one in parts.files["app/target/release/shop"]] == [("cargo", "serde", "1.0.1")]


def test_a_program_that_lists_nothing_is_declared(tmp_path):
    program = elf_with(tmp_path, ".x", b"x")
    parts = Inventory()
    parts.program("app/target/release/shop", program)
    parts.program("app/.venv/lib/python3.13/site-packages/x.so", program)
    assert list(parts.unread) == ["app/target/release/shop"]


def test_a_runtime_is_found_by_the_text_that_its_program_has(tmp_path):
    program = elf_with(tmp_path, ".x", bytes(3_000_000) + b"https://node.js/v20.18.1/x")
    parts = Inventory()
    parts.program("app/.node/bin/node", program)
    assert [tuple(one)[:3] for one in parts.files["app/.node/bin/node"]] == [("generic", "node", "20.18.1")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("app/node_modules/x/package.json", b"{"),
        ("app/node_modules/x/package.json", b"[" * 200_000 + b"]" * 200_000),
        ("app/node_modules/x/package.json", package("x\x1b[31m", "1")),
        ("app/node_modules/x/package.json", b'{"name": "\\ud800", "version": "1"}'),
        ("app/node_modules/x/package.json", package("x", "1" * 500)),
        ("app/node_modules/x/package.json", b"{}" + b" " * node.BYTES_MAX),
        ("app/.venv/lib/x.dist-info/METADATA", b"Name: x\n"),
        ("app/vendor/composer/installed.json", b'{"packages": {}}'),
        ("app/.pnp.cjs", b"nothing"),
    ],
)
def test_a_damaged_file_is_declared_and_no_component(name, content):
    found, unread = found_in(name, content)
    assert (found, list(unread)) == ([], [name])


def test_paths_are_texts_that_a_terminal_can_show():
    name = "app/node_modules/\udcff\x1b[31m/package.json"
    parts = Inventory()
    parts.text(name, package("x", "1.0.0"))
    parts.text(f"{name}/node_modules/y/package.json", b"{")
    assert next(iter(parts.files)) == "app/node_modules/\\udcff\\x1b[31m/package.json"
    assert all(path.isprintable() for path in parts.unread)


def test_slow_files_are_bounded_and_the_rest_is_read(monkeypatch):
    def forever(content, path):
        while True:
            pass

    monkeypatch.setattr(inventory, "_FILE_SECONDS", 0.05)
    monkeypatch.setattr(inventory, "_LAYER_SECONDS", 0.12)
    monkeypatch.setattr(inventory, "_row", lambda name: (None, 10, forever))
    parts = Inventory()
    for number in range(5):
        parts.text(f"app/{number}", b"")
    assert list(parts.unread.values()) == ["to read it takes too long"] * 3 + ["the layer's files take too long"] * 2


def test_there_is_a_bound_for_a_layers_components(monkeypatch):
    monkeypatch.setattr(inventory, "COMPONENTS_MAX", 3)
    parts = Inventory()
    for number in range(5):
        parts.text(f"app/node_modules/x{number}/package.json", package(f"x{number}", "1.0.0"))
    assert len([found for found in parts.files.values() if found]) == 3
    assert set(parts.unread.values()) == {"the layer has more than 3 components"}


NAMES = [
    "app/node_modules/x/package.json", "app/x.dist-info/METADATA", "app/specifications/x.gemspec", "app/.pnp.cjs",
    "app/vendor/composer/installed.json", "var/lib/dpkg/status", "app/.meta/x/install.json", "app/.jdk/release",
]  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(some.lists(some.tuples(some.sampled_from(NAMES), some.binary(max_size=300)), max_size=5))
def test_whatever_is_in_files_the_farm_can_read_what_the_inspector_writes(files):
    parts = Inventory()
    for name, content in files:
        parts.entry(name)
        parts.text(name, content)
        parts.program("app/bin/x", io.BytesIO(b"\x7fELF" + content))
        parts.archive("app/x.jar", io.BytesIO(b"PK" + content))
    decoded = decode(parts.encode())
    assert set(decoded.files) == set(parts.files)
    assert decoded.unread == parts.unread


def test_equal_layers_have_equal_bytes_in_any_order():
    made = []
    for order in ((0, 1), (1, 0)):
        parts = Inventory()
        for number in order:
            parts.text(f"app/node_modules/x{number}/package.json", package(f"x{number}", "1.0.0"))
        made.append(parts.encode())
    assert made[0] == made[1]
