"""A node that built the app before, another node, and a build without a cache make one image, whatever a build does.

Two nodes share a farm; classes of builds choose between them. BUILDFARM_EXAMPLES asks for more generated apps, and
BUILDFARM_PACKAGE_MANAGERS=1 for npm, pip, pnpm and uv too: `make bench-redeploy` does both.
"""

from __future__ import annotations

import functools
import hashlib
import io
import os
import tarfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from buildfarm.farm import open_farm
from buildfarm.oci.manifest import Manifest
from testkit.buildpacks import succeeded
from testkit.builds import Builds, build_node, empty_namespace, wait_for
from tests.integration.redeploys.changes import APPS, LINKED, LINKS, PACKAGE_MANAGERS, SHELL, TREE, Change, together

if os.environ.get("BUILDFARM_PACKAGE_MANAGERS"):
    APPS |= PACKAGE_MANAGERS
EXAMPLES = int(os.environ.get("BUILDFARM_EXAMPLES", "1"))
WARM, OTHER = "interactive", "bulk"
REDEPLOYS = 2
MADE_SECONDS = 60
# Most of the time of a generated app is its scripts'.
CHANGES_MIN, CHANGES_MAX = (40, 60) if EXAMPLES > 1 else (12, 20)
FOLDERS = ("tree", "work", "moved")


@dataclass(frozen=True)
class Image:
    """What an image is made of; in the config, the app's name is replaced."""

    config: str
    layers: tuple[str, ...]
    files: dict[str, tuple[object, ...]]  # below /app

    def below(self, folder: str) -> dict[str, tuple[object, ...]]:
        return {name: what for name, what in self.files.items() if name.startswith(f"app/{folder}/")}


Images = dict[str, Image]  # by where and when it was built


@pytest.fixture(scope="module")
def built(services):
    """A farm with two nodes, one for each class. Small folders have their own layers there."""
    own = services.model_copy(update={"namespace": f"test-{os.urandom(4).hex()}:"})
    with ExitStack() as stack:
        stack.callback(empty_namespace, own)
        farm = stack.enter_context(open_farm(own))
        variables = {"BUILDFARM_LAYER_MIN_BYTES": "65536"}
        nodes = [
            stack.enter_context(build_node(farm, BUILDFARM_NODE_CLASSES=name, **variables)) for name in (WARM, OTHER)
        ]
        yield Builds(farm, nodes[0])


@pytest.fixture(scope="module")
def images(built, tmp_path_factory):
    """``images(change)`` builds an app with this change; once for each name."""
    buildpack = str(built.farm.pack_buildpack(Path(__file__).parent / "changing"))

    def make(change: Change) -> Images:
        return deploy(built, buildpack, change, tmp_path_factory.mktemp("app"))

    return make


@pytest.fixture(scope="module")
def named_images(images):
    return functools.cache(lambda name: images(APPS[name]))


def deploy(built: Builds, buildpack: str, change: Change, folder: Path) -> Images:
    """Four builds of one source, and some of others before; asserts that caches were used where there are any."""
    app = f"a{os.urandom(6).hex()}"

    logs: list[str] = []

    def build(node: str, version: str, name: str = app, *, restored: bool = True) -> Image:
        source = change.write(folder, version)
        ended = built(source, name, build_class=node, buildpacks=(buildpack,), cached_result=False)
        succeeded(built, ended)
        log = built.log(ended)
        assert [word in log for word in ("RESTORED tree", "FOUND work")] == [restored, restored], log
        logs.append(log)
        return read(built, ended, name)

    build(WARM, "0", restored=False)
    for number in range(1, REDEPLOYS):
        wait_for(lambda: has_snapshot(built, app), MADE_SECONDS)
        build(WARM, str(number))
    # What this one left may not be in the registry yet, so the next one may have to do without.
    assert "ON A SNAPSHOT" in logs[-1], logs[-1]
    wait_for(lambda: has_snapshot(built, app), MADE_SECONDS)
    return {
        "warm": build(WARM, "last"),
        "elsewhere": build(OTHER, "last"),
        "again, after another node": build(WARM, "last"),
        "without a cache": build(WARM, "last", f"{app}-alone", restored=False),
    }


def has_snapshot(built: Builds, app: str) -> bool:
    """Whether the warm node has the app's cache of now, if it has any, as a snapshot."""
    repository, registry = f"caches/{built.tenant}/{app}", built.farm.registry
    if not registry.has_manifest(repository, "cache"):
        return False
    digest = registry.read_manifest(repository, "cache")[0].layers[0].digest
    return any(built.node.workspaces.glob(f"{built.node.id}.snapshots/{digest.hex}*"))


def read(built: Builds, build, app: str) -> Image:
    """The image as it is in the registry."""
    registry, result = built.farm.registry, build.result
    media_type, content, _ = registry.get_manifest(result.repository, result.digest)
    config = registry.read_blob(result.repository, Manifest.parse(content, media_type).config.digest).decode()
    own = [layer for layer in result.layers if layer.origin != "builder"]
    files: dict[str, tuple[object, ...]] = {}
    for layer in own:
        blob = b"".join(registry.get_blob(result.repository, layer.digest, limit_bytes=1 << 28))
        files |= entries(blob)
    return Image(config.replace(f'/{app}"', '/APP"'), tuple(f"{layer.origin} {layer.digest}" for layer in own), files)


def entries(blob: bytes) -> dict[str, tuple[object, ...]]:
    with tarfile.open(fileobj=io.BytesIO(blob)) as archive:
        return {entry.name: (entry.type, entry.mode, entry.linkname, digest(archive, entry)) for entry in archive}


def digest(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> str:
    file = archive.extractfile(entry) if entry.isreg() else None
    return hashlib.sha256(file.read()).hexdigest() if file else ""


@pytest.mark.parametrize("name", APPS)
def test_a_cache_does_not_change_the_image(named_images, name):
    warm, *others = named_images(name).values()
    for other in others:
        assert other.files == warm.files
        assert other.layers == warm.layers
        assert other.config == warm.config


ALL = {"changes by the shell": SHELL, "changes of hard links": LINKS}
EACH = [pytest.param(app, at, id=name) for app, changes in ALL.items() for at, name in enumerate(changes)]


@pytest.mark.parametrize(("app", "number"), EACH)
def test_a_cache_does_not_change_what_becomes_of_a_tree(named_images, app, number):
    """The same images, seen change by change: which one is it that a digest differs by?"""
    warm, *others = named_images(app).values()
    for folder in FOLDERS:
        assert warm.below(f"{folder}/{number}")
        for other in others:
            assert other.below(f"{folder}/{number}") == warm.below(f"{folder}/{number}")


NAMES = st.sampled_from(
    ["one", "two", "one/deep", "one/first", "one/linked", "two/linked", "two/new", "third", "empty"]
)
STEPS = st.one_of(
    st.builds("mv -T {} {}".format, NAMES, NAMES),
    st.builds("rm -r {}".format, NAMES),
    st.builds("mkdir {}".format, NAMES),
    st.builds("echo x >>{}".format, NAMES),
    st.builds("rm -r {0}; mkdir {0}".format, NAMES),
    st.builds("rm -r {0}; echo x >{0}".format, NAMES),
    st.builds("ln -sfn two {}".format, NAMES),
    st.builds("ln {} {}".format, NAMES, NAMES),
    st.builds("chmod 700 {}".format, NAMES),
    st.builds("cp -a {} {}".format, NAMES, NAMES),
)


def of_steps(steps: list[str], tree: str) -> Change:
    """Steps that do not apply to what is there fail, as they would anywhere."""
    return Change(f"(set +e; {'; '.join(steps)}; true) 2>/dev/null", make=tree.replace("20000", "20"))


@pytest.mark.parametrize("tree", [pytest.param(TREE, id="folders"), pytest.param(LINKED, id="hard links")])
@given(steps=st.lists(st.lists(STEPS, min_size=2, max_size=8), min_size=CHANGES_MIN, max_size=CHANGES_MAX))
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    phases=[Phase.generate],  # to shrink one takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_a_cache_does_not_change_what_becomes_of_generated_changes(images, tree, steps):
    changes = [of_steps(each, tree) for each in steps]
    warm, *others = images(together(changes)).values()
    for number, change in enumerate(changes):
        for folder in FOLDERS:
            for other in others:
                assert other.below(f"{folder}/{number}") == warm.below(f"{folder}/{number}"), change.change
    for other in others:
        assert (other.layers, other.config) == (warm.layers, warm.config)
