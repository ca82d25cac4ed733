"""Apps whose text files were made elsewhere: they build and start, or end before anything is compiled."""

from __future__ import annotations

import zipfile

import pytest

from buildfarm.model import Phase
from testkit.buildpacks import SHEBANG, failed, run_image, succeeded
from testkit.builds import write_files

WHEEL = "tiny-1-py3-none-any.whl"


def wheel(path):
    """A package that pip installs from a file of the source."""
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny.py", "said = 'tiny'\n")
        archive.writestr("tiny-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1\n")
        archive.writestr("tiny-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tiny-1.dist-info/RECORD", "")


@pytest.mark.kind("text files")
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_python_app_made_on_windows_is_built_and_started(built, tmp_path, record_property, encoding):
    wheel(tmp_path / "wheels" / WHEEL)
    write_files(tmp_path, {"app.py": "import tiny\nprint('started', tiny.said)\n", "secret.txt": "x"})
    texts = {
        "Procfile": "web: python app.py\n",
        "requirements.txt": f"# what it needs\n./wheels/{WHEEL}\n",
        "app.json": '{"env": {"GREETING": "hello"}}',
        ".slugignore": "secret.txt\nwheels\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text.replace("\n", "\r\n").encode(encoding))
    build = built(tmp_path, "windows-" + encoding)
    succeeded(built, build)
    assert run_image(built, build) == "started tiny"
    assert "secret.txt" not in run_image(built, build, "ls")
    record_property("seen", "Procfile, requirements.txt, app.json and .slugignore read; started")


@pytest.mark.kind("text files")
def test_a_procfile_that_is_a_link_inside_the_app_starts_it(built, tmp_path, record_property):
    write_files(tmp_path, {"deploy/Procfile": "web: echo linked\n", "index.html": "x"})
    (tmp_path / "Procfile").symlink_to("deploy/Procfile")
    build = built(tmp_path, "linked")
    succeeded(built, build)
    assert run_image(built, build) == "linked"
    record_property("seen", "Procfile -> deploy/Procfile read; started")


@pytest.mark.kind("text files")
@pytest.mark.parametrize(
    ("file", "told"),
    [
        (("Procfile", b"<<<<<<< HEAD\nweb: python app.py\n=======\n"), "Procfile, line 1"),
        (("Procfile", b"heroku ps:scale web=1\n"), "Procfile, line 1"),
        ((".slugignore", b"caf\xe9\n"), "The .slugignore is not UTF-8: line 1 has the byte 0xE9"),
        (("scalingo.json", "{".encode("utf-16")), "scalingo.json is not JSON"),
    ],
    ids=["merge markers", "a pasted command", "Windows-1252", "half of a JSON file in UTF-16"],
)
def test_a_mistake_ends_the_build_before_the_compile(built, tmp_path, record_property, file, told):
    write_files(tmp_path, {"bin/detect": SHEBANG + "echo App\n", "bin/compile": SHEBANG + "echo COMPILED\n"})
    name, content = file
    (tmp_path / name).write_bytes(content)
    build = built(tmp_path, "mistake")
    failed(build, "app.compile", told)
    assert build.failure.phase is Phase.PREPARE
    assert "COMPILED" not in built.log(build)
    record_property("seen", f"{build.failure.message} (phase {build.failure.phase})")


@pytest.mark.kind("text files")
@pytest.mark.parametrize(
    ("file", "told"),
    [
        (("Aptfile", b"# caf\xe9\nsl\n"), "The Aptfile is not UTF-8: line 1 has the byte 0xE9"),
        (("Aptfile", b"cow_say\n"), "Aptfile, line 1: 'cow_say' is not the name of a package"),
        (("requirements.txt", b"flask # caf\xe9\n"), "The requirements.txt is not UTF-8: line 1"),
    ],
    ids=["an Aptfile in Windows-1252", "an Aptfile's wrong name", "requirements in Windows-1252"],
)
def test_a_mistake_in_a_buildpacks_own_file_ends_the_build_before_any_compile(
    built, tmp_path, record_property, file, told
):
    name, content = file
    write_files(
        tmp_path, {".buildpacks": f"procfile\n{'apt' if name == 'Aptfile' else 'python'}\n", "Procfile": "a: b\n"}
    )
    (tmp_path / name).write_bytes(content)
    build = built(tmp_path, "own-file")
    failed(build, "app.compile", told)
    assert build.failure.phase is Phase.DETECT
    record_property("seen", f"{build.failure.message} (phase {build.failure.phase})")


@pytest.mark.kind("text files")
def test_a_file_that_no_chosen_buildpack_reads_fails_no_build(built, tmp_path, record_property):
    write_files(tmp_path, {"Procfile": "web: echo started\n", ".buildpacks": "procfile\n"})
    (tmp_path / "Aptfile").write_bytes(b"caf\xe9\n")
    (tmp_path / "requirements.txt").write_bytes(b"<<<<<<< HEAD\n")
    build = built(tmp_path, "unread")
    succeeded(built, build)
    record_property("seen", "built: neither apt nor python was chosen")
