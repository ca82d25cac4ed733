"""The farm's own programs are parts of the step that compiles: what they leave, lack or do wrong is not that step's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from buildfarm.oci.image import EMPTY_CONFIG, artifact
from buildfarm.oci.manifest import media_types
from buildfarm.sources.address import ArtifactSource
from testkit.buildpacks import SHEBANG, failed, run_image, succeeded
from testkit.builds import write_files

COMPILE = f"""{SHEBANG}cd "$1"
cat "$3/SECRET" >seen
echo >>seen
env | grep -c ^buildfarm_ >>seen
echo compiled it
"""
APP = {"bin/detect": SHEBANG + "echo Own\n", "bin/compile": COMPILE, "Procfile": "web: cat /app/seen\n"}


def with_detect(script):
    return {**APP, "bin/detect": f"{SHEBANG}{script}\necho Own\n"}


@pytest.mark.parametrize(
    "script",
    [
        "true",
        "(for i in {1..200}; do echo noise >&2; sleep 0.01; done) >/dev/null &",
        "(sleep 0.2; yes >/dev/null 2>&1) <&- >&- 2>&- &",
        "printf 'a\\0b\\0' >&2; head -c 200000 /dev/zero >&2",
    ],
    ids=["nothing", "noise", "another process", "zeros"],
)
def test_compile_sees_nothing_of_what_came_before_it(built, tmp_path, script):
    build = built(write_files(tmp_path, with_detect(script)), "parts", env={"SECRET": "x=1"})
    succeeded(built, build)
    assert run_image(built, build, "/app/seen", entrypoint="cat") == "x=1\n0"
    assert "compiled it" in built.log(build)


@pytest.mark.parametrize(
    ("script", "told"),
    [("kill -9 0", "ended by signal 9"), ("kill -9 -1; sleep 60", "ended by signal 9")],
    ids=["its group", "everything"],
)
def test_a_detect_that_ends_its_step_is_the_apps_fault_and_says_so(built, tmp_path, script, told):
    build = built(write_files(tmp_path, with_detect(script)), "parts")
    failed(build, "app.detect", told)
    assert build.attempt == 1


@pytest.mark.parametrize("by", [-10, 10])
def test_a_source_of_another_size_than_its_manifest_says_is_the_apps_fault(built, tmp_path, by):
    farm, tenant = built.farm, built.tenant
    packed, _ = farm.pack(write_files(tmp_path, APP), tenant)
    registry, types = farm.registry, media_types("oci")
    manifest, _ = registry.read_manifest(packed.repository, packed.digest)
    [blob] = manifest.layers
    registry.put_blob(packed.repository, EMPTY_CONFIG)
    wrong = artifact("application/vnd.test", [replace(blob, size=blob.size + by)], annotations={})
    digest = registry.put_manifest(packed.repository, wrong, types.manifest, tag=None)
    source = ArtifactSource(repository=packed.repository, digest=digest)
    build = built.request(source=source, app="parts")
    failed(build, "app.source", "is not a packed directory", f"{blob.size + by:,} bytes")
    assert build.attempt == 1
