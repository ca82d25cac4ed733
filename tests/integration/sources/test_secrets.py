"""The value of a marked secret in any file of the image ends the build, which names the file and not the value."""

from __future__ import annotations

import uuid

import pytest

from buildfarm.oci.digest import Digest
from buildfarm.seal import Seal
from buildfarm.store import ScannedLayers
from testkit.buildpacks import SHEBANG, failed, run_image, succeeded
from testkit.builds import write_files

KEY = "-----BEGIN KEY-----\n{}\n-----END KEY-----\n"

# Each is the body of a bin/compile, which gets the value of TOKEN in $value.
LEFT = {
    "a login file in HOME": ('printf "machine x\npassword %s\n" "$value" >$HOME/.netrc', "/app/.netrc"),
    "a key in a hidden folder of HOME": ('mkdir -p ~/.ssh && cp "$3/TOKEN" ~/.ssh/id', "/app/.ssh/id"),
    "a cache of a tool in HOME": ('mkdir -p ~/.m2/x && echo "<p>$value</p>" >~/.m2/x/settings', "/app/.m2/x/settings"),
    "a git checkout's remote": (
        'git init -q "$1/dep" && git -C "$1/dep" remote add o "https://u:$value@h/x"', "/app/dep/.git/config",
    ),
    "a registry login in base64": (
        'mkdir ~/.docker && echo "{\\"auth\\": \\"$(printf "ab:%s" "$value" | base64 -w0)\\"}" >~/.docker/config.json',
        "/app/.docker/config.json",
    ),
    "a large folder of its own layer": (
        'mkdir -p "$1/big" && head -c 5000000 /dev/urandom >"$1/big/a" && printf %s "$value" >>"$1/big/a"',
        "/app/big/a",
    ),
}  # fmt: skip


@pytest.fixture
def app(tmp_path):
    """``app(body)`` is an app whose own buildpack runs these lines; ``$value`` is the config var TOKEN."""

    def make(body, files=None):
        lines = f'value=$(cat "$3/TOKEN")\n{body}\n'
        programs = {"bin/detect": f"{SHEBANG}echo Inline\n", "bin/compile": f"{SHEBANG}set -e\n{lines}"}
        return write_files(tmp_path / uuid.uuid4().hex, {**programs, **(files or {})})

    return make


@pytest.fixture
def build(built, app):
    """``build(folder, TOKEN="…")`` builds it with these config vars, all marked unless ``marked`` says which."""

    def run(folder, *, name=None, marked=None, cached_result=False, buildpacks=(), **values):
        return built(
            folder,
            name or f"a{uuid.uuid4().hex[:8]}",
            env=values,
            secrets=tuple(values) if marked is None else marked,
            cached_result=cached_result,
            buildpacks=buildpacks,
        )

    return run


def token():
    return f"tok-{uuid.uuid4().hex}"


def refused(built, ended, path, value):
    failed(ended, "app.compile", f"The file '{path}' contains the value of the secret config var TOKEN")
    seen = f"{ended.failure} {built.log(ended)}"
    assert value not in seen
    assert not built.farm.registry.has_manifest(ended.request.repository, "latest")
    return ended.failure.message


@pytest.mark.kind("secrets")
@pytest.mark.parametrize("left", LEFT)
def test_a_build_that_leaves_the_value_in(built, build, app, record_property, left):
    body, path = LEFT[left]
    value = KEY.format(token()) if "key" in left else token()
    record_property("seen", refused(built, build(app(body), TOKEN=value), path, value))


@pytest.mark.kind("secrets")
def test_the_source_has_the_value(built, build, app, record_property):
    value = token()
    record_property(
        "seen", refused(built, build(app("true", {"config/x": value}), TOKEN=value), "/app/config/x", value)
    )


@pytest.mark.kind("secrets")
def test_the_file_is_removed_before_the_build_ends(built, build, app, record_property):
    ended = build(app("echo $value >~/.netrc; rm ~/.netrc"), TOKEN=token())
    assert run_image(built, succeeded(built, ended) and ended, "ls", "-A", "/app") == "bin"
    record_property("seen", "succeeded, no .netrc in the image")


@pytest.mark.kind("secrets")
def test_a_config_var_that_is_not_marked_can_be_kept(built, build, app, record_property):
    value = token()
    ended = build(app("echo $value >~/.netrc"), TOKEN=value, marked=())
    assert run_image(built, succeeded(built, ended) and ended, "cat", "/app/.netrc") == value
    record_property("seen", "succeeded, the value is in the image")


@pytest.mark.kind("secrets")
@pytest.mark.parametrize("body", ["", "head -c 5000000 /dev/zero >$1/big"], ids=["a small layer", "a large layer"])
def test_a_layer_that_is_known_from_before_the_value_was_marked(built, build, app, record_property, body):
    """The files do not change, so the layers are known; an equal build's result is not reused either."""
    folder, value, name = app(f"{body}\necho $value >~/.netrc"), token(), f"a{uuid.uuid4().hex[:8]}"
    first = build(folder, name=name, TOKEN=value, marked=(), cached_result=True)
    succeeded(built, first)

    second = build(folder, name=name, TOKEN=value, cached_result=True)

    failed(second, "app.compile", "The file '/app/.netrc' contains")
    assert built.farm.registry.read_manifest(first.result.repository, "latest")[1] == first.result.digest
    record_property("seen", second.failure.message)


@pytest.mark.kind("secrets")
def test_layers_that_were_searched_before_are_known_on_the_second_build(built, build, app, record_property):
    folder = app("mkdir $1/big; head -c 5000000 /dev/zero >$1/big/file; printf sesame-%s-9 open >$1/big/x")
    name, value = f"a{uuid.uuid4().hex[:8]}", token()
    first = succeeded(built, build(folder, name=name, TOKEN=value))
    second = succeeded(built, build(folder, name=name, TOKEN=value))
    assert (second.digest, second.uploaded_bytes) == (first.digest, 0)

    third = build(folder, name=name, TOKEN=value, NEW="sesame-open-9")

    failed(third, "app.compile", "The file '/app/big/x' contains the value of the secret config var NEW")
    record_property("seen", f"2nd build: 0 bytes sent; with another secret: {third.failure.message}")


LAUNCH = r"""
mkdir -p $1/tool
if [ ! -f $1/tool.toml ]; then cp /platform/env/TOKEN $1/tool/login; else rm -r $1/tool; fi
printf '[types]\nlaunch = true\n[metadata]\nversion = "1"\n' >$1/tool.toml
"""


@pytest.fixture(scope="module")
def launch_pack(built, tmp_path_factory):
    """A Cloud Native Buildpack that leaves TOKEN in a launch layer, and reuses that layer ever after."""
    files = {
        "buildpack.toml": 'api = "0.10"\n[buildpack]\nid = "probe/login"\nversion = "1"\n',
        "bin/detect": SHEBANG,
        "bin/build": SHEBANG + LAUNCH,
    }
    return str(built.farm.pack_buildpack(write_files(tmp_path_factory.mktemp("cnb"), files)))


@pytest.mark.kind("secrets")
def test_a_launch_layer_has_the_value(built, build, tmp_path, launch_pack, record_property):
    app, value = write_files(tmp_path, {"file": "x"}), token()
    ended = build(app, buildpacks=(launch_pack,), TOKEN=value)
    record_property("seen", refused(built, ended, "/layers/probe_login/tool/login", value))


@pytest.mark.kind("secrets")
def test_a_launch_layer_of_the_previous_image_has_the_value(built, build, tmp_path, launch_pack, record_property):
    """Its files are not here: the layer is read from the registry, once for each new value."""
    app, value, name = write_files(tmp_path, {"file": "x"}), token(), f"a{uuid.uuid4().hex[:8]}"
    succeeded(built, build(app, name=name, buildpacks=(launch_pack,), TOKEN=value, marked=()))
    other = build(app, name=name, buildpacks=(launch_pack,), TOKEN=value, OTHER=token(), marked=("OTHER",))
    assert {item.origin: item for item in succeeded(built, other).layers}["probe/login:tool"].reused

    ended = build(app, name=name, buildpacks=(launch_pack,), TOKEN=value)

    failed(ended, "app.compile", "The file '/layers/probe_login/tool/login' contains")
    record_property("seen", ended.failure.message)


LAYERS = [Digest(f"sha256:{number:064}") for number in range(2)]


@pytest.fixture
def scanned(farm):
    return ScannedLayers(farm.database, farm.records.seal)


def test_what_was_searched_is_kept_by_app_and_layer(scanned):
    scanned.add("apps/t/a", LAYERS[0], ["one-value"])
    assert scanned.missing("apps/t/a", LAYERS[0], ["one-value", "two-value"]) == ["two-value"]
    assert scanned.missing("apps/t/b", LAYERS[0], ["one-value"]) == ["one-value"]
    assert scanned.missing("apps/t/a", LAYERS[1], ["one-value"]) == ["one-value"]


def test_what_is_kept_does_not_show_values_is_bounded_and_expires(scanned, farm):
    for layer in LAYERS:
        scanned.add("apps/t/a", layer, ["one-value"])
    client, keys = farm.database.client, [farm.database.key("scanned", "apps/t/a", layer.hex) for layer in LAYERS]
    first, second = (client.get(key) for key in keys)
    assert first != second  # equal values cannot be seen
    assert "one-value" not in first
    assert 0 < client.ttl(keys[0]) <= 7 * 86400
    scanned.add("apps/t/a", LAYERS[0], [f"value-{number}" for number in range(200)])
    scanned.add("apps/t/a", LAYERS[0], [f"newer-{number}" for number in range(200)])
    assert len(client.get(keys[0]).split()) == 256
    assert scanned.missing("apps/t/a", LAYERS[0], [f"newer-{number}" for number in range(200)]) == []


def test_without_a_key_nothing_is_kept(farm):
    keyless = ScannedLayers(farm.database, Seal(""))
    keyless.add("apps/t/a", LAYERS[0], ["one-value"])
    assert keyless.missing("apps/t/a", LAYERS[0], ["one-value"]) == ["one-value"]
    assert farm.database.client.get(farm.database.key("scanned", "apps/t/a", LAYERS[0].hex)) is None
