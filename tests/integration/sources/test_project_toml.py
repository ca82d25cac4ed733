"""project.toml on a farm: buildpacks beside the app, and what the build does not see."""

from __future__ import annotations

import pytest

from testkit.buildpacks import SHEBANG, failed, run_image, succeeded
from testkit.builds import write_files

CNB = {
    "buildpack.toml": 'api = "0.10"\n[buildpack]\nid = "own/bp"\nversion = "1"\n',
    "bin/detect": SHEBANG,
    "bin/build": f"""{SHEBANG}
echo "SEES=$(find . -type f | sort | paste -sd,)"
printf '[[processes]]\\ntype = "web"\\ncommand = ["find", "/app", "-type", "f"]\\n' >$1/launch.toml
""",
}
CLASSIC = {
    "bin/detect": f"{SHEBANG}echo Own",
    "bin/compile": f'{SHEBANG}cd $1\necho "SEES=$(find . -type f | sort | paste -sd,)"\ntouch $(dirname $0)/../export',
    "bin/release": f"{SHEBANG}echo 'default_process_types: {{web: find /app -type f}}'",
}
APP = {"app.sh": "echo app", "secret.txt": "SECRET", "sub/secret.txt": "SECRET", "cmd/x": "1"}


@pytest.mark.parametrize(
    ("buildpack", "uri", "rules", "sees"),
    [
        (
            CNB,
            "./bp",
            'exclude = ["secret.txt"]',
            "./app.sh,./bp/bin/build,./bp/bin/detect,./bp/buildpack.toml,./cmd/x",
        ),
        (CNB, "bp/", 'exclude = ["secret.txt", "bp", "project.toml"]', "./app.sh,./cmd/x"),
        (CLASSIC, "./bp", 'exclude = ["*.txt", "bp", "project.toml"]', "./app.sh,./cmd/x"),
        (CLASSIC, "bp", 'include = ["cmd/", "app.sh"]', "./app.sh,./cmd/x"),
    ],
    ids=["cnb", "cnb excluded itself", "classic", "classic include"],
)
@pytest.mark.kind("project.toml")
def test_a_buildpack_beside_the_app_builds_what_is_not_excluded(  # noqa: PLR0917
    built, tmp_path, buildpack, uri, rules, sees, record_property
):
    project = f'[_]\nschema-version = "0.2"\n[io.buildpacks]\n{rules}\n[[io.buildpacks.group]]\nuri = "{uri}"\n'
    files = {**APP, "project.toml": project, **{f"bp/{name}": text for name, text in buildpack.items()}}
    build = built(write_files(tmp_path, files), "beside", cached_result=False)
    used = succeeded(built, build).buildpacks[0]
    assert (used.source, used.digest.startswith("sha256:")) == ("./bp", True)
    line = next(line for line in built.log(build).splitlines() if line.startswith("SEES="))
    assert line.removeprefix("SEES=").replace(",./project.toml", "") == sees
    assert "secret.txt" not in run_image(built, build)
    record_property("seen", line)
    assert built(tmp_path, "beside").result_of == build.id  # everything that it names is in the source


@pytest.mark.kind("project.toml")
def test_what_is_in_read_only_folders_is_excluded_too(built, tmp_path, record_property):
    files = {**APP, "index.html": "x", "project.toml": '[io.buildpacks]\nexclude = ["secret.txt", "closed"]\n'}
    folder = write_files(tmp_path, {**files, "closed/deep/secret.txt": "SECRET"})
    for name in ("closed/deep", "closed", "sub"):
        (folder / name).chmod(0o555)
    build = built(folder, "read-only", buildpacks=["static"])
    succeeded(built, build)
    found = run_image(built, build, "find", "/app")
    assert "secret" not in found and "closed" not in found
    record_property("seen", "no file named secret.txt in the image")


@pytest.mark.parametrize(
    ("group", "told"),
    [
        ('uri = "./absent"', "the app has no folder './absent'"),
        ('uri = "./app.sh"', "is not a folder of the app"),
        ('uri = "./link"', "is not a folder of the app"),
        ('uri = "./cmd"', "has no bin/detect"),
    ],
    ids=["absent", "file", "link out", "no buildpack"],
)
@pytest.mark.kind("project.toml")
def test_a_folder_that_is_no_buildpack_is_named(built, tmp_path, group, told, record_property):
    folder = write_files(tmp_path, {**APP, "project.toml": f"[[io.buildpacks.group]]\n{group}\n"})
    (folder / "link").symlink_to("../etc")
    build = built(folder, "wrong")
    failed(build, "app.detect", told)
    record_property("seen", build.failure.message)
