"""Registries as they are in the field: each quirk in front of a real one, and the farm's main job on it."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

from buildfarm.errors import BuildfarmError, RegistryError
from buildfarm.model import Build, State
from buildfarm.oci.registry import Registry
from buildfarm.settings import read_settings
from testkit.archive import Life
from testkit.builds import Builds, build_node, farm_alone, write_files
from testkit.registry.front import Front, FrontQuirks, quirky_front
from testkit.table import Claims

QUIRKS = {
    "has no quirk": FrontQuirks(),
    "sends reads of blobs to a storage": FrontQuirks(redirects=True),
    "has no mounts": FrontQuirks(no_mounts=True),
    "deletes nothing": FrontQuirks(no_deletes=True),
    "names uploads without scheme and host": FrontQuirks(relative=True),
    "answers 429 once to everything": FrontQuirks(busy_status=429),
    "answers 503 once to everything": FrontQuirks(busy_status=503),
    "gives tokens for five requests": FrontQuirks(token_requests=5),
    "takes OCI manifests only": FrontQuirks(oci_only=True),
    "takes names of 100 characters at most": FrontQuirks(name_chars_max=100),
    "shows what is pushed a second later": FrontQuirks(late_seconds=1.0),
}
_READS_MAX = 4
_APP = {"requirements.txt": "six==1.16.0\n", "app.py": "print('one')\n", "Procfile": "web: python app.py\n"}


def tell(claims: Claims) -> None:
    """A build, a change of code on another node, a log out of the archive, and a deletion, on each."""
    layers: set[tuple[str, ...]] = set()
    for told, quirks in QUIRKS.items():
        with quirky_front(read_settings().registry_url, quirks) as front:
            try:
                figure, holds = _on(front, layers)
            except (BuildfarmError, AssertionError) as error:
                figure, holds = str(error)[-300:], False
        claims.add(f"a registry that {told}: build, redeploy on another node, archive, delete", figure, holds)


def _on(front: Front, layers: set[tuple[str, ...]]) -> tuple[str, bool]:
    own = {"registry_url": f"http://127.0.0.1:{front.port}"}
    if front.quirks.oci_only:
        own["media_types"] = "oci"
    variables = {f"BUILDFARM_{name.upper()}": value for name, value in own.items()}
    with ExitStack() as stack:
        folder = write_files(Path(stack.enter_context(tempfile.TemporaryDirectory())), _APP)
        farm = stack.enter_context(farm_alone("quirks", **own))
        with build_node(farm, code=None, constants=None, **variables) as node:
            first = Builds(farm, node)(folder)
        write_files(folder, {"app.py": "print('two')\n"})
        with build_node(farm, code=None, constants=None, **variables) as node:
            builds = Builds(farm, node)
            second = builds(folder)
            _succeeded(builds, first, second)
        lines = [line.text for line in farm.logs(second.id)]
        archived = Life(farm).archive()
        # A busy registry is asked once while somebody waits: the log then says to ask again.
        same = any([line.text for line in farm.logs(second.id)] == lines for _ in range(_READS_MAX))
        deletion = _delete(farm.registry, second)
        figure = f"2 builds, {archived} archived, {deletion}; {front.storage_credentials} credentials sent to a storage"
        layers.add(tuple(str(layer.digest) for layer in second.result.layers) if second.result else ())
        return figure, same and archived == 2 and not front.storage_credentials and len(layers) == 1


def _succeeded(builds: Builds, *ended: Build) -> None:
    for build in ended:
        why = build.failure.message if build.failure else ""
        assert build.state is State.SUCCEEDED and build.attempt == 1, f"attempt {build.attempt}: {why}"


def _delete(registry: Registry, build: Build) -> str:
    """Deletes its image, as a collection over the registry's API does; says what became of it."""
    assert build.result
    image = build.result.repository, build.result.digest
    try:
        registry.delete_manifest(*image)
    except RegistryError as error:
        return f"the deletion is refused ({error.message})"
    assert not registry.has_manifest(*image), "the image is still there"
    return "image deleted"
