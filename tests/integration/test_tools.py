"""Build tools: made by the farm's own job, fetched by a node once, and read-only in the sandbox.

Where a buildpack itself would fetch a tool from leads nowhere in these builds: only the mounted tool can build them.
"""

from __future__ import annotations

import gzip
import io
import json
import shutil
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest

from buildfarm.cli.images import submit_tool
from buildfarm.model import Build, ImageRequest, State
from buildfarm.oci.connection import NotInRegistryError
from buildfarm.oci.image import EMPTY_CONFIG, artifact
from buildfarm.oci.manifest import Descriptor, media_types
from buildfarm.recipes.catalogue import ARTIFACT_TYPE, MACHINE
from testkit.builds import Builds, write_files

NOWHERE = "http://127.0.0.1:9/"
PNPM = "10.34.9"
ITSELF = f"The buildpack fetches pnpm {PNPM} itself, because"
TRIES = """
const fs = require("fs"), path = require("path");
for (const place of ["pnpm/x", process.env.TOOL]) {
  try { fs.writeFileSync(path.join("/opt/buildfarm/tools", place), ""); console.log("written: " + place); }
  catch (error) { console.log(error.code === "EROFS" ? "read-only" : error.code); }
}
"""


def made(built: Builds, name: str, version: str) -> Build:
    """The ended build of a tool."""
    ended = built.ended(submit_tool(built.farm, name, version).id)
    assert ended.state is State.SUCCEEDED, built.log(ended)
    return ended


def copies(built: Builds) -> Path:
    """Where the node keeps its tools."""
    assert built.node
    return built.node.workspaces / f"{built.node.id}.tools/ready"


def remove_tool(built: Builds, name: str, version: str) -> None:
    """As if the tool was never made."""
    registry = built.farm.registry
    with suppress(NotInRegistryError):
        registry.delete_manifest(f"tools/{name}", registry.read_manifest(f"tools/{name}", version)[1])


def pnpm_app(folder: Path, **scripts: str) -> Path:
    """An app without dependencies, which is installed and built without a network."""
    manifest = {
        "name": "app",
        "version": "1.0.0",
        "packageManager": f"pnpm@{PNPM}",
        "scripts": {"start": "node .", **scripts},
    }
    lock = "lockfileVersion: '9.0'\nsettings:\n  autoInstallPeers: true\nimporters:\n  .: {}\n"
    files = {"package.json": json.dumps(manifest), "pnpm-lock.yaml": lock, "index.js": "", "tries.js": TRIES}
    return write_files(folder, files)


@pytest.fixture(scope="module")
def pnpm(built: Builds) -> Build:
    return made(built, "pnpm", PNPM)


def test_a_tool_is_the_same_artifact_each_time_it_is_made(built, pnpm):
    again = made(built, "pnpm", PNPM)
    assert again.result.digest == pnpm.result.digest
    assert (again.result.repository, again.result.tag) == ("tools/pnpm", PNPM)
    manifest, digest = built.farm.registry.read_manifest("tools/pnpm", PNPM)
    assert digest == pnpm.result.digest
    assert manifest.artifact_type == ARTIFACT_TYPE


def test_an_app_is_built_with_a_mounted_tool_that_no_build_can_write_to(built, pnpm, tmp_path):
    folder = f"pnpm/{PNPM}-{pnpm.result.digest.partition(':')[2][:12]}"
    app = pnpm_app(tmp_path, build=f"TOOL={folder}/x node tries.js && pnpm --version && realpath $(command -v pnpm)")
    build = built(app, app="mounted", env={"npm_config_registry": NOWHERE})
    log = built.log(build)
    assert build.state is State.SUCCEEDED, log
    assert f"/opt/buildfarm/tools/{folder}/bin/pnpm.cjs" in log
    assert log.count("read-only") == 2
    assert "written" not in log
    assert ITSELF not in log


def test_a_node_that_lost_its_copy_fetches_it_again(built, pnpm, tmp_path):
    app = pnpm_app(tmp_path)
    first = built(app, app="lost", env={"npm_config_registry": NOWHERE})
    assert first.state is State.SUCCEEDED, built.log(first)
    for copy in copies(built).glob("pnpm/*"):
        shutil.rmtree(copy)
    write_files(app, {"index.js": "// changed"})
    second = built(app, app="lost", env={"npm_config_registry": NOWHERE})
    assert second.state is State.SUCCEEDED, built.log(second)
    assert [path.name for path in copies(built).glob("pnpm/*")] == [
        f"{PNPM}-{pnpm.result.digest.partition(':')[2][:12]}"
    ]


def test_an_app_with_a_lock_file_of_uv_is_built_with_a_mounted_uv(built, tmp_path):
    tool = made(built, "uv", "0.13.8")
    package = '[[package]]\nname = "app"\nversion = "1"\nsource = { virtual = "." }\n'
    files = {
        "pyproject.toml": '[project]\nname = "app"\nversion = "1"\nrequires-python = ">=3.11"\n',
        "uv.lock": f'version = 1\nrequires-python = ">=3.11"\n\n{package}',
        "main.py": "print('started')\n",
    }
    build = built(write_files(tmp_path, files), app="uv", env={"PIP_INDEX_URL": NOWHERE, "UV_INDEX_URL": NOWHERE})
    log = built.log(build)
    assert build.state is State.SUCCEEDED, log
    assert "uv 0.13.8" in log
    assert "Fetching uv" not in log
    assert [path.name for path in copies(built).glob("uv/*")] == [f"0.13.8-{tool.result.digest.partition(':')[2][:12]}"]


def test_an_app_in_go_is_built_with_a_mounted_toolchain(built, tmp_path):
    tool = made(built, "go", "1.24.11")
    main = 'package main\n\nimport (\n\t"fmt"\n\t"runtime"\n)\n\nfunc main() { fmt.Println(runtime.Version()) }\n'
    app = write_files(tmp_path, {"go.mod": "module example.com/app\n\ngo 1.24\n", "main.go": main})
    build = built(app, app="go", env={"PIP_INDEX_URL": NOWHERE, "GOPROXY": "off"})
    log = built.log(build)
    assert build.state is State.SUCCEEDED, log
    assert "Building with Go 1.24.11" in log
    assert [path.parent.name for path in copies(built).glob("go/*")] == ["go"]
    assert tool.result.layers[0].uncompressed_bytes < 300e6


def push_damaged(built: Builds) -> None:
    """An artifact under the tool's tag whose archive has a link out of its folder."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, target in (("tool", ""), ("tool/bin", "/etc")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = (tarfile.SYMTYPE, target) if target else (tarfile.DIRTYPE, "")
            tar.addfile(info)
    archive, registry, types = gzip.compress(file.getvalue()), built.farm.registry, media_types("oci")
    blob = Descriptor(types.layers["gzip"], registry.put_blob("tools/pnpm", archive), len(archive))
    registry.put_blob("tools/pnpm", EMPTY_CONFIG)
    manifest = artifact(ARTIFACT_TYPE, [blob], annotations={MACHINE: "any"})
    registry.put_manifest("tools/pnpm", manifest, types.manifest, tag=PNPM)


@pytest.mark.parametrize(
    ("artifact_", "reason"),
    [
        ("damaged", "its artifact is refused: 'tool/bin' is neither a file nor a folder"),
        ("missing", "it is not in the registry"),
    ],
)
def test_without_a_usable_artifact_the_buildpack_fetches_the_tool_and_the_log_says_so(
    built, tmp_path, artifact_, reason
):
    """With the registry of npm, which has the tool as well."""
    push_damaged(built) if artifact_ == "damaged" else remove_tool(built, "pnpm", PNPM)
    build = built(pnpm_app(tmp_path), app=artifact_)
    log = built.log(build)
    made(built, "pnpm", PNPM)  # for whoever comes next
    assert build.state is State.SUCCEEDED, log
    assert [line for line in log.splitlines() if ITSELF in line] == [f"-----> {ITSELF} {reason}"]


def test_a_package_that_is_not_the_catalogues_is_refused(built, tmp_path):
    digest = "sha512-" + "A" * 86 + "=="
    catalogue = (
        f'[pnpm]\nnpm = {{ any = "pnpm" }}\nbuildpacks = ["nodejs"]\n[pnpm.versions."9.0.0"]\nany = "{digest}"\n'
    )
    source, _ = built.farm.pack(write_files(tmp_path, {"tools.toml": catalogue}), "images")
    request = ImageRequest(image="tools/pnpm", version="9.0.0", source=source)
    build = built.ended(built.farm.submit(request).id)
    assert build.state is State.FAILED
    assert build.failure.code == "app.recipe"
    assert "pnpm 9.0.0 is refused" in build.failure.message
    assert not built.farm.registry.has_manifest("tools/pnpm", "9.0.0")
