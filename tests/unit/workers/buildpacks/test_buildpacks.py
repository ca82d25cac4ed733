"""What buildpacks and Procfiles may say, and what is told when they say something else."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.errors import CompileError, DetectError
from workers.build_folder import BuildFolder
from workers.buildpacks.appfiles import read_file
from workers.buildpacks.build import NO_PROCESS, Built
from workers.buildpacks.classic import Detected, compile_app, detect, report
from workers.buildpacks.procfile import merge_types, parse_procfile
from workers.buildpacks.release import Release, parse_release, parse_report
from workers.sandbox.container import Ended
from workers.sandbox.workspace import Workspace


def test_a_procfile_names_process_types():
    text = "# comment\nweb: gunicorn app:app --bind 0.0.0.0:$PORT\n\n  worker:  run it  \n"
    assert parse_procfile(text) == {"web": "gunicorn app:app --bind 0.0.0.0:$PORT", "worker": "run it"}


@pytest.mark.parametrize("line", ["web", "web:", "we b: x", ": x", "<html>", "web = x", "web: \x1b[2J"])
def test_a_line_that_is_no_process_type_is_named(line):
    with pytest.raises(CompileError, match="line 2"):
        parse_procfile(f"web: x\n{line}\n")


@given(st.text())
def test_a_procfile_is_read_or_refused_and_nothing_else(text):
    try:
        types = parse_procfile(text)
    except CompileError:
        return
    assert all(command and "\n" not in command for command in types.values())


def test_a_procfile_that_leads_elsewhere_is_refused(tmp_path):
    (tmp_path / "Procfile").symlink_to("/etc/passwd")
    with pytest.raises(CompileError, match="leads out of the app"):
        read_file(BuildFolder(tmp_path), "Procfile")


def test_a_procfile_that_is_a_folder_or_endless_is_refused(tmp_path):
    (tmp_path / "Procfile").mkdir()
    with pytest.raises(CompileError, match="is not a plain file"):
        read_file(BuildFolder(tmp_path), "Procfile")
    (tmp_path / "Procfile").rmdir()
    (tmp_path / "Procfile").write_bytes(b"x" * 70_000)
    with pytest.raises(CompileError, match="64 KiB"):
        read_file(BuildFolder(tmp_path), "Procfile")


def test_no_procfile_is_none(tmp_path):
    assert read_file(BuildFolder(tmp_path), "Procfile") is None


def test_release_gives_defaults_and_variables():
    content = b"default_process_types:\n  web: run\nconfig_vars:\n  A: 1\naddons:\n  - db\n"
    assert parse_release(content, "x") == Release({"web": "run"}, {"A": "1"})
    assert parse_release(b"", "x") == Release()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\t: {", "does not print YAML"),
        (b"\xff\xfe", "does not print YAML"),
        (b"- a", "not print a YAML mapping"),
        (b"default_process_types: web", "must map names to text"),
        (b"default_process_types:\n  web: [a]", "must map names to text"),
        (b"config_vars:\n  'A B': x", "is not a valid name of a variable"),
        (b"!!python/object/apply:os.system ['true']", "not print a YAML mapping"),
        (b"default_process_types:\n  ../../etc/cron.d/x: true", "is not a valid process type"),
        (b'default_process_types:\n  web: "\\e]0;owned\\a"', "has control characters"),
        (b"default_process_types: " + b"[" * 30_000, "nested too deep"),
        (b"default_process_types: &a\n  web: *a", "does not print YAML"),
        (b"default_process_types:\n" + b"".join(b"  p%d: x\n" % n for n in range(60)), "more than 50"),
    ],
)
def test_a_release_that_breaks_the_contract_names_its_buildpack(content, told):
    with pytest.raises(CompileError, match=f"buildpack broken.*{told}"):
        parse_release(content, "broken")


def test_a_bomb_of_merge_keys_stays_as_small_as_it_is_written():
    levels = "a0: &a0 {x: y}\n" + "".join(
        f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 40)
    )
    assert parse_release(levels.encode(), "x") == Release()


def test_a_procfile_of_spaces_is_read_in_no_time():
    started = time.thread_time()
    parse_procfile("web: x" + " " * 60_000 + "y")
    assert time.thread_time() - started < 1  # it took over a minute by a backtracking expression


def test_a_procfile_wins_as_a_whole_or_type_by_type():
    defaults = {"web": "default", "worker": "default"}
    assert merge_types(defaults, "web: mine", whole=True) == {"web": "mine"}
    assert merge_types(defaults, "web: mine", whole=False) == {"web": "mine", "worker": "default"}
    assert merge_types(defaults, "# nothing", whole=True) == defaults == merge_types(defaults, None, whole=True)


def test_a_report_keeps_flat_values_and_cuts_long_ones():
    content = b'{"a": "' + b"x" * 300 + b'", "b": 1, "c": true, "d": {"no": 1}, "e": null, "f": 1e999}'
    assert parse_report(content) == {"a": "x" * 200, "b": 1.0, "c": True}
    assert parse_report(b"") == parse_report(b"[1]") == parse_report(b"nonsense") == {}
    assert parse_report(b"[" * 60_000) == parse_report(b'{"a": 1, "b": ' + b"[" * 500 + b"]" * 500 + b"}") == {}


@pytest.mark.parametrize(
    ("code", "told"), [(137, "Detection was ended by signal 9"), (102, "A requested buildpack cannot be used")]
)
def test_a_detection_that_was_killed_says_so(code, told):
    steps = SimpleNamespace(ask_buildpack=lambda *_: Ended(code))
    with pytest.raises(DetectError, match=told):
        detect(["one"], steps, every=True)


def test_only_a_buildpack_that_may_report_is_asked(tmp_path):
    asked = []

    class Recorder:
        def run_buildpack(self, program, name, **_):
            asked.append((program, name))
            return Ended(0, b'{"seconds": 1}')

    folders = (BuildFolder(tmp_path / name) for name in ("app", "cache", "tmp", "layers", "merged"))
    workspace = Workspace(*folders, own=tmp_path, owner=10_000)
    packs = tmp_path / "tmp/buildpacks"
    for name in ("silent", "telling", "linked-bin", "linked-report"):
        (packs / name / "bin").mkdir(parents=True)
    (packs / "telling" / "bin" / "report").touch()
    (packs / "linked-bin" / "bin").rmdir()
    # The node cannot know what is at the other end, and must not look: this one has no report.
    (packs / "linked-bin" / "bin").symlink_to(packs / "silent" / "bin")
    (packs / "linked-report" / "bin" / "report").symlink_to("/only/in/the/sandbox")
    (packs / "linked").symlink_to(packs / "silent")
    names = ["gone", "silent", "telling", "linked-bin", "linked-report", "linked"]

    reports = report([Detected(name, f"sha256:{'0' * 64}", name) for name in names], workspace, Recorder())

    assert asked == [("report", name) for name in names[2:]]
    assert reports == {name: {"seconds": 1} for name in names[2:]}


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ({"compile": (0, b""), "release": (0, b"default_process_types: {web: run}")}, None),
        ({"compile": (3, b"")}, "The buildpack one failed with exit code 3"),
        ({"compile": (0, b""), "release": (4, b"")}, "bin/release of the buildpack one failed with exit code 4"),
        (
            {"compile": (0, b""), "release": (0, b"default_process_types: {web: run}", True)},
            "bin/release of the buildpack one prints more than 65,536 bytes",
        ),
    ],
)
def test_a_builder_of_the_first_contract_is_asked_for_its_release_in_a_step_of_its_own(tmp_path, answers, told):
    class Recorder:
        release_apart = True

        def say(self, sentence):
            pass

        def run_buildpack(self, program, *names, **_):
            assert names == ("one",)
            return Ended(*answers[program])

    workspace = Workspace(*[BuildFolder(tmp_path)] * 5, own=tmp_path, owner=10_000)
    detected = [Detected("one", f"sha256:{'0' * 64}", "One")]
    if told is None:
        assert compile_app(detected, workspace, Recorder()).process_types == {"web": "run"}
    else:
        with pytest.raises(CompileError, match=told):
            compile_app(detected, workspace, Recorder())


@given(st.binary(max_size=200))
def test_a_report_of_any_bytes_harms_nobody(content):
    assert isinstance(parse_report(content), dict)


def test_what_was_built_without_a_process_type_has_a_warning():
    assert Built(used=()).warning == NO_PROCESS
    assert not Built(used=(), process_types={"worker": "run"}).warning
