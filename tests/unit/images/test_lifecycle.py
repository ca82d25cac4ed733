"""The lifecycle of Cloud Native Buildpacks: its pure decisions, as tables."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lifecycle import build, descriptor, layers, outputs, program, toml
from lifecycle.environment import add_files, add_paths, add_user
from lifecycle.failure import LifecycleError
from lifecycle.layers import LayerRecord
from lifecycle.plan import Passed, Section, parse_plan, resolve


def passed(name, provides="", requires="", *, optional=False):
    section = Section(tuple(provides.split()), tuple({"name": item} for item in requires.split()))
    return Passed(name, optional, (section,))


@pytest.mark.parametrize(
    ("group", "kept"),
    [
        ([passed("a", "x"), passed("b", "", "x")], ["a", "b"]),
        ([passed("a", "x", "x")], ["a"]),
        ([passed("a", "", "x"), passed("b", "x")], None),  # only an earlier one, or itself, can provide
        ([passed("a", "x")], None),  # nobody requires it
        ([passed("a", "", "x", optional=True), passed("b")], ["b"]),
        ([passed("a", "x", optional=True), passed("b", "y", "x", optional=True), passed("c")], ["c"]),
        ([passed("a", "x y"), passed("b", "", "x")], None),
        ([passed("a", "x"), passed("b", "x"), passed("c", "", "x")], ["a", "b", "c"]),
        ([passed("a", "x", optional=True)], None),  # a group needs at least one
    ],
)
def test_a_plan_keeps_those_whose_wishes_are_met(group, kept):
    found = resolve(group)
    assert (found[0] if found else None) == kept


def test_alternatives_are_tried_depth_first_and_the_entries_name_all_providers():
    first = Passed("a", False, (Section(("x",)), Section(("y",))))
    second = Passed("b", False, (Section((), ({"name": "y", "metadata": {"v": 1}},)),))
    kept, entries = resolve([first, second])
    assert kept == ["a", "b"]
    assert [(entry.name, entry.providers, entry.requires) for entry in entries] == [
        ("y", ["a"], [{"name": "y", "metadata": {"v": 1}}])
    ]


@pytest.mark.parametrize("wrong", [{"or": 1}, {"provides": [{}]}, {"requires": [{"name": 1}]}, {"or": [1]}])
def test_a_plan_that_is_none_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        parse_plan(wrong)


def test_env_files_do_what_their_suffix_says(tmp_path):
    files = {"A.append": "2", "A.delim": ",", "B.prepend": "1", "C.default": "new", "D.default": "new", "E": "over\n",
             "F.override": "over", "G.append": "first", "H.unknown": "x"}  # fmt: skip
    for name, value in files.items():
        (tmp_path / name).write_text(value)
    variables = {"A": "1", "B": "2", "C": "old", "E": "old", "F": "old"}
    add_files(variables, tmp_path)
    assert variables == {"A": "1,2", "B": "12", "C": "old", "D": "new", "E": "over\n", "F": "over", "G": "first"}


def test_layer_paths_go_before_and_at_launch_only_two_count(tmp_path):
    for name in ("bin", "lib", "include", "pkgconfig"):
        (tmp_path / name).mkdir()
    build, launch = {"PATH": "/bin"}, {"PATH": "/bin"}
    add_paths(build, tmp_path, launch=False)
    add_paths(launch, tmp_path, launch=True)
    assert build["PATH"] == launch["PATH"] == f"{tmp_path}/bin:/bin"
    assert sorted(build) == ["CPATH", "LD_LIBRARY_PATH", "LIBRARY_PATH", "PATH", "PKG_CONFIG_PATH"]
    assert sorted(launch) == ["LD_LIBRARY_PATH", "PATH"]


def test_a_users_variable_wins_and_a_path_keeps_what_was_there(tmp_path):
    (tmp_path / "PATH").write_text("/mine")
    (tmp_path / "A").write_text("mine")
    variables = {"PATH": "/bin", "A": "theirs"}
    add_user(variables, tmp_path)
    assert variables == {"PATH": "/mine:/bin", "A": "mine"}


values = st.recursive(
    st.booleans() | st.integers(-(2**60), 2**60) | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), values, max_size=4))
def test_toml_that_is_written_is_read_back(tables):
    try:
        written = toml.write(tables)
        written.encode()
    except UnicodeEncodeError:
        return
    assert tomllib.loads(written) == tables


def test_flags_decide_what_becomes_of_a_layer(tmp_path):
    for name, flags in {"a": "launch = true", "b": "build = true", "c": "", "d": "cache = true"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / f"{name}.toml").write_text(f"[types]\n{flags}\n")
    (tmp_path / "reused.toml").write_text("[types]\nlaunch = true\n")
    (tmp_path / "launch.toml").write_text("")
    found = layers.collect("x", tmp_path, {"reused": LayerRecord("x", "reused", launch=True)})
    assert [(item.name, item.reused) for item in found] == [("a", False), ("b", False), ("d", False), ("reused", True)]
    assert (tmp_path / "c.ignore").is_dir()


@pytest.mark.parametrize("text", ["[types]\nlaunch = 1", "metadata = 1", "types = []x"])
def test_a_layers_toml_that_is_wrong_is_named(tmp_path, text):
    (tmp_path / "a").mkdir()
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(LifecycleError, match=r"a\.toml of the buildpack x"):
        layers.collect("x", tmp_path, {})


def test_the_later_process_and_label_win_and_the_last_default_stays():
    def launch(*processes, **labels):
        made = tuple(outputs.Process(name, ("run",), (), default, "", by) for name, default, by in processes)
        return outputs.Launch(made, tuple(labels.items()))

    merged = outputs.merged([launch(("web", True, "a"), ("x", False, "a"), k="1"), launch(("x", True, "b"), k="2")])
    assert [(item.type, item.default, item.buildpack) for item in merged.processes] == [
        ("web", False, "a"),
        ("x", True, "b"),
    ]
    assert dict(merged.labels) == {"k": "2"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('api = "0.9"\n[buildpack]\nid = "a"', "uses Buildpack API '0.9'"),
        ('api = "0.10"', "no table"),
        ('api = "0.10"\n[buildpack]\nid = "../a"', "is not a valid buildpack id"),
        ('api = "0.10"\n[buildpack]\nid = "sbom"', "is not a valid buildpack id"),
        ('api = "0.10"\n[buildpack]\nid = "a"', "has no bin/detect"),
        ('api = "0.10"\n[buildpack]\nid = "a"\n[[order]]', "group of its order is empty"),
    ],
)
def test_a_buildpack_toml_that_cannot_be_used_says_why(tmp_path, text, told):
    (tmp_path / "buildpack.toml").write_text(text)
    with pytest.raises(LifecycleError, match=told):
        descriptor.read(tmp_path)


SBOM_BUILD = """#!/bin/bash
cd "$CNB_LAYERS_DIR"
ls | paste -sd' ' >&2
if [ ! -f kept.toml ]; then mkdir kept && echo '{"of": "kept"}' >kept.sbom.cdx.json; fi
mkdir -p made && echo "{\\"of\\": \\"$(cat ../../run)\\"}" >made.sbom.cdx.json
for name in kept made; do printf '[types]\\nlaunch = true\\n[metadata]\\na = 1\\n' >$name.toml; done
if [ ! -f cached.toml ]; then mkdir cached && echo '{"of": "cached"}' >cached.sbom.spdx.json; fi
printf '[types]\\nlaunch = %s\\ncache = true\\n' "$([ "$(cat ../../run)" = 3 ] && echo true || echo false)" >cached.toml
"""


def test_a_layer_that_is_reused_keeps_its_bill_of_materials(tmp_path, monkeypatch, capfd):
    """`kept` has no files from the second build on; `cached` is in the third image alone, and in no image before."""
    folder = tmp_path / "bp"
    (folder / "bin").mkdir(parents=True)
    (folder / "buildpack.toml").write_text('api = "0.10"\n[buildpack]\nid = "a/b"\nversion = "1"\n')
    for name, text in (("detect", "#!/bin/bash\n"), ("build", SBOM_BUILD)):
        (folder / "bin" / name).write_text(text)
    monkeypatch.setattr(build, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(program, "APP", tmp_path)
    monkeypatch.setattr(program, "PLATFORM", tmp_path / "platform")
    said, sbom = {}, None
    for run in ("1", "2", "3"):
        (tmp_path / "run").write_text(run)
        monkeypatch.setattr(build, "LAYERS", tmp_path / run)
        (tmp_path / run).mkdir()
        told = build.build([descriptor.read(folder)], [], {"a/b": said} if said else {}, sbom)
        said = {item["name"]: {"data": dict(item["metadata"])} for item in told["layers"] if item["launch"]}
        sbom = tmp_path / run / "sbom/launch"
    found = {str(path.relative_to(sbom)): path.read_text() for path in sbom.rglob("*.json")}
    assert found == {
        "a_b/kept/sbom.cdx.json": '{"of": "kept"}\n',
        "a_b/made/sbom.cdx.json": '{"of": "3"}\n',
        "a_b/cached/sbom.spdx.json": '{"of": "cached"}\n',
    }
    assert [item["reused"] for item in told["layers"] if item["name"] == "kept"] == [True]
    beside = "cached cached.sbom.spdx.json cached.toml kept.sbom.cdx.json kept.toml made.sbom.cdx.json made.toml"
    assert beside in capfd.readouterr().err
