"""The Cloud Native contract (Buildpack API 0.10 to 0.12), a test a clause, as test_classic.py has the classic one."""

from __future__ import annotations

import json
import re

import pytest

from buildfarm.oci.manifest import ImageConfig, Manifest
from testkit.buildpacks import failed, run_image, succeeded
from testkit.registry.validate import validate

OBSERVER = r"""
echo "ARGUMENTS=$1,$2,$(basename $3)"
echo "VARIABLES=$CNB_LAYERS_DIR,$CNB_PLATFORM_DIR,$CNB_TARGET_OS,$CNB_TARGET_ARCH,$CNB_TARGET_DISTRO_NAME,$(pwd)"
echo "EXEC=${CNB_EXEC_ENV-unset} OWN=$(ls "$CNB_BUILDPACK_DIR" | paste -sd,)"
cat "$CNB_BP_PLAN_PATH" | sed 's/^/PLAN /'
echo "GREETING=$GREETING"
layers=$1
mkdir -p $layers/tool/{bin,lib,env,env.launch,env.launch/web,env.build,exec.d,exec.d/web} $layers/only-build/{bin,env}
printf '#!/bin/bash\necho "tool of $0"\n' >$layers/tool/bin/tool; chmod +x $layers/tool/bin/tool
printf '[types]\nlaunch = true\nbuild = true\ncache = true\n[metadata]\nversion = "1.0"\n' >$layers/tool.toml
printf 'over' >$layers/tool/env/OVERRIDDEN.override
printf 'a' >$layers/tool/env/PARTS.append; printf ':' >$layers/tool/env/PARTS.delim
printf 'z' >$layers/tool/env/FRONT.prepend; printf 'dflt' >$layers/tool/env/DEFAULTED.default
printf 'plain\n' >$layers/tool/env/PLAIN
printf 'launch' >$layers/tool/env.launch/AT_LAUNCH; printf 'web' >$layers/tool/env.launch/web/OF_WEB
printf 'build' >$layers/tool/env.build/AT_BUILD
printf '#!/bin/bash\necho "EXECD = \\"from $OF_WEB\\"" >&3\n' >$layers/tool/exec.d/a; chmod +x $layers/tool/exec.d/a
printf '#!/bin/bash\necho "EXECD_WEB = \\"$EXECD too\\"" >&3\n' >$layers/tool/exec.d/web/b
chmod +x $layers/tool/exec.d/web/b
printf '[types]\nbuild = true\n' >$layers/only-build.toml; printf 'yes' >$layers/only-build/env/BUILD_ONLY
mkdir $layers/ignored; printf '[types]\n' >$layers/ignored.toml
echo '{"bomFormat":"CycloneDX"}' >$layers/tool.sbom.cdx.json; echo '{}' >$layers/launch.sbom.spdx.json
cat >$layers/launch.toml <<TOML
[[processes]]
type = "web"
command = ["bash", "-c", "echo web \$0 \$*; env", "name"]
args = ["default args"]
default = true
[[processes]]
type = "worker"
command = ["pwd"]
working-dir = "/tmp"
[[labels]]
key = "org.example.colour"
value = "green"
TOML
printf '[metadata]\nseen = 1\n' >$layers/store.toml
"""

SECOND = r"""
echo "NEXT: $(tool) PATH=${PATH%%:*} LD=$LD_LIBRARY_PATH LIBRARY=$LIBRARY_PATH"
echo "NEXT: OVERRIDDEN=$OVERRIDDEN PARTS=$PARTS FRONT=$FRONT DEFAULTED=$DEFAULTED PLAIN=[$PLAIN] BUILD_ONLY=$BUILD_ONLY"
echo "NEXT: AT_BUILD=$AT_BUILD AT_LAUNCH=${AT_LAUNCH-unset}"
ls -a /layers/probe_one | paste -sd, | sed 's/^/SIBLING=/'
mkdir -p $1/own/env && printf 'b' >$1/own/env/PARTS.append && printf ':' >$1/own/env/PARTS.delim
printf '[types]\nlaunch = true\n' >$1/own.toml
cat >$1/launch.toml <<TOML
[[processes]]
type = "worker"
command = ["echo", "second worker"]
TOML
"""

PLAN_ONE = """printf '[[provides]]\nname = "tool"\n' >"$CNB_BUILD_PLAN_PATH"; echo "DETECT $1 $2 $(pwd)" """
PLAN_TWO = """printf '[[requires]]\nname = "tool"\n[requires.metadata]\nversion = "2"\n' >"$CNB_BUILD_PLAN_PATH" """


def labels_of(built, result):
    media_type, content, _ = built.farm.registry.get_manifest(result.repository, result.digest)
    manifest = Manifest.parse(content, media_type)
    config = ImageConfig.parse(built.farm.registry.read_blob(result.repository, manifest.config.digest))
    return config.runtime["Labels"], config


@pytest.fixture(scope="module")
def observed(built, pack_cnb, app):
    """Two buildpacks and one build that show most of the contract."""
    one = pack_cnb("probe/one", detect=PLAN_ONE, build=OBSERVER)
    two = pack_cnb("probe/two", detect=PLAN_TWO, build=SECOND, api="0.12")
    build = built(app(), "cnb", buildpacks=[one, two], env={"GREETING": "hello", "OVERRIDDEN": "by user"})
    succeeded(built, build)
    return build, built.log(build)


def test_cnb_detect_gets_the_plans_path_and_runs_in_the_app(observed):
    assert re.search(r"DETECT /platform /\S+/plan.toml /app", observed[1])


def test_cnb_build_gets_its_arguments_and_variables(observed, distribution):
    assert "ARGUMENTS=/layers/probe_one,/platform,plan.toml" in observed[1]
    assert f"VARIABLES=/layers/probe_one,/platform,linux,amd64,{distribution['ID']},/app" in observed[1]
    assert "EXEC=unset OWN=bin,buildpack.toml" in observed[1]


def test_cnb_what_a_later_one_requires_is_in_the_plan_of_its_provider(observed):
    assert re.search(r'PLAN .*"name" = "tool".*"version" = "2"', observed[1])


def test_cnb_user_variables_reach_the_programs(observed):
    assert "GREETING=hello" in observed[1]


def test_cnb_build_layers_are_in_the_paths_of_later_buildpacks(observed):
    assert "NEXT: tool of /layers/probe_one/tool/bin/tool PATH=/layers/probe_one/tool/bin" in observed[1]
    assert "LD=/layers/probe_one/tool/lib LIBRARY=/layers/probe_one/tool/lib" in observed[1]


def test_cnb_env_files_follow_their_suffix_at_build(observed):
    # A newline at a file's end is part of the value.
    assert "PARTS=a FRONT=z DEFAULTED=dflt PLAIN=[plain\n] BUILD_ONLY=yes" in observed[1]
    assert "NEXT: AT_BUILD=build AT_LAUNCH=unset" in observed[1]


def test_cnb_the_users_variable_wins_over_a_layers(observed):
    assert "OVERRIDDEN=by user" in observed[1]


def test_cnb_a_layer_without_flags_is_put_aside(observed):
    assert re.search("SIBLING=.*,ignored.ignore,", observed[1])


def test_cnb_launch_layers_are_image_layers_of_their_own(built, observed):
    result = observed[0].result
    origins = [layer.origin for layer in result.layers if layer.origin != "builder"]
    assert origins[:2] == ["probe/one:tool", "probe/two:own"]
    own = sum(layer.origin != "builder" for layer in result.layers)
    validate(built.farm.registry, result.repository, result.digest, app_layers=own, owners=(0, 1000))


def test_cnb_processes_become_process_types_and_the_later_definition_wins(observed):
    assert observed[0].result.process_types["worker"] == "echo 'second worker'"
    assert observed[0].result.process_types["web"].startswith("bash -c ")


def test_cnb_a_process_starts_with_its_own_environment(built, observed):
    told = run_image(built, observed[0])
    assert "web name default args" in told
    for line in ("PARTS=a:b", "AT_LAUNCH=launch", "OF_WEB=web", "PLAIN=plain", "OVERRIDDEN=over"):
        assert f"\n{line}\n" in f"\n{told}\n"
    assert "PATH=/layers/probe_one/tool/bin:" in told
    assert "LD_LIBRARY_PATH=/layers/probe_one/tool/lib\n" in told + "\n"
    for name in ("CNB_LAYERS_DIR", "CNB_APP_DIR", "AT_BUILD", "BUILD_ONLY", "LIBRARY_PATH=/layers/only"):
        assert f"\n{name}" not in told
    assert "/cnb/process" not in told


def test_cnb_exec_d_programs_add_variables_in_order(built, observed):
    told = run_image(built, observed[0])
    assert "EXECD=from web" in told
    assert "EXECD_WEB=from web too" in told


def test_cnb_arguments_replace_args_and_never_the_command(built, observed):
    assert run_image(built, observed[0], "web", "mine").splitlines()[0] == "web name mine"
    assert run_image(built, observed[0], entrypoint="/cnb/process/worker") == "second worker"


def test_cnb_other_words_are_commands_with_the_layers_at_hand(built, observed):
    assert run_image(built, observed[0], "tool") == "tool of /layers/probe_one/tool/bin/tool"
    assert run_image(built, observed[0], "echo $PARTS", entrypoint="/cnb/lifecycle/launcher") == "a:b"


def test_cnb_the_labels_that_tools_read_are_written(built, observed):
    labels, config = labels_of(built, observed[0].result)
    lifecycle = json.loads(labels["io.buildpacks.lifecycle.metadata"])
    diff_ids = set(config.diff_ids)
    assert [item["key"] for item in lifecycle["buildpacks"]] == ["probe/one", "probe/two"]
    tool = lifecycle["buildpacks"][0]["layers"]["tool"]
    assert (tool["data"], tool["cache"], tool["launch"]) == ({"version": "1.0"}, True, True)
    assert tool["sha"] in diff_ids
    assert lifecycle["runImage"]["topLayer"] in diff_ids
    assert lifecycle["buildpacks"][0]["store"] == {"metadata": {"seen": 1}}
    build = json.loads(labels["io.buildpacks.build.metadata"])
    assert {item["type"] for item in build["processes"]} == {"web", "worker"}
    assert json.loads(labels["io.buildpacks.project.metadata"])["source"]["type"] == "artifact"
    assert (labels["org.example.colour"], labels["io.buildpacks.rebasable"]) == ("green", "true")


def test_cnb_bills_of_materials_are_in_the_image(built, observed):
    listed = run_image(built, observed[0], "bash", "-c", "cd /layers/sbom/launch && find . -type f | sort | paste -sd,")
    assert listed == "./probe_one/sbom.spdx.json,./probe_one/tool/sbom.cdx.json"


def test_cnb_the_result_names_each_with_version_and_digest(observed):
    used = observed[0].result.buildpacks
    assert [(item.name, item.version, item.kind) for item in used] == [
        ("probe/one", "1.2.3", "cnb"),
        ("probe/two", "1.2.3", "cnb"),
    ]
    assert all(item.digest.startswith("sha256:") and "@sha256:" in item.source for item in used)


REBUILD = r"""
for name in cached launched both; do
  echo "$name: toml=$(paste -sd' ' $1/$name.toml 2>/dev/null) files=$(ls $1/$name 2>/dev/null)"
done
echo "store: $(cat $1/store.toml 2>/dev/null)"
mkdir -p $1/cached $1/both
echo one >$1/cached/c; echo one >$1/both/b
printf '[types]\ncache = true\n[metadata]\nof = "cached"\n' >$1/cached.toml
printf '[types]\nlaunch = true\nbuild = true\n[metadata]\nof = "both"\n' >$1/both.toml
if [ ! -f $1/launched.toml ]; then mkdir $1/launched; date +%N >$1/launched/l; fi
printf '[types]\nlaunch = true\n[metadata]\nof = "launched"\n' >$1/launched.toml
printf '[metadata]\nkept = true\n' >$1/store.toml
printf '[[processes]]\ntype = "web"\ncommand = ["cat", "/layers/probe_again/launched/l"]\n' >$1/launch.toml
"""


def test_cnb_layers_are_restored_by_their_flags_and_reused_from_the_image(built, pack_cnb, app):
    probe = pack_cnb("probe/again", build=REBUILD)
    first = built(app(), "again", buildpacks=[probe], cached_result=False)
    second = built(app(), "again", buildpacks=[probe], cached_result=False)
    log = built.log(second)
    succeeded(built, first)
    assert 'cached: toml="metadata" = {"of" = "cached"} files=c' in log
    assert 'launched: toml="metadata" = {"of" = "launched"} files=\n' in log
    assert "both: toml= files=\n" in log
    assert 'store: "metadata" = {"kept" = true}' in log
    layer = {layer.origin: layer for layer in succeeded(built, second).layers}["probe/again:launched"]
    assert layer.reused
    assert run_image(built, first) == run_image(built, second) != ""


SBOMS = r"""
echo "BESIDE: $(ls $1 | grep sbom | paste -sd,)"
if ! grep -q of $1/kept.toml 2>/dev/null; then
  mkdir -p $1/kept && echo files >$1/kept/file && echo '{"first": true}' >$1/kept.sbom.cdx.json
fi
mkdir -p $1/fresh && date +%N >$1/fresh/file && echo "{\"at\": $(date +%N)}" >$1/fresh.sbom.spdx.json
for name in kept fresh; do printf '[types]\nlaunch = true\n[metadata]\nof = "x"\n' >$1/$name.toml; done
[ ! -f fixed ] || rm -r $1/fresh*
"""


@pytest.mark.kind("project.toml")
def test_cnb_a_layer_that_is_reused_keeps_its_bill_of_materials(built, pack_cnb, app, record_property):
    probe, files = pack_cnb("probe/sboms", build=SBOMS), {"fixed": ""}
    first, second, third = (built(app(files), "sboms", buildpacks=[probe], cached_result=False) for _ in range(3))
    assert "BESIDE: kept.sbom.cdx.json" in built.log(second)
    assert succeeded(built, first).digest == succeeded(built, second).digest == succeeded(built, third).digest
    listed = "cd /layers/sbom/launch && find . -type f -exec cat {} +"
    assert run_image(built, third, "bash", "-c", listed) == '{"first": true}'
    record_property("seen", "the third image has the first one's digest and bill of materials")


def test_cnb_a_layer_that_is_made_again_has_its_new_bill_of_materials(built, pack_cnb, app):
    probe = pack_cnb("probe/sboms", build=SBOMS)
    builds = [built(app(), "new-sboms", buildpacks=[probe], cached_result=False) for _ in range(2)]
    shown = [run_image(built, build, "bash", "-c", "cd /layers/sbom/launch && grep -r . | sort") for build in builds]
    assert [text.partition(":")[0] for text in shown] == ["probe_sboms/fresh/sbom.spdx.json"] * 2
    assert shown[0] != shown[1]
    assert "kept/sbom.cdx.json" in shown[1]


def test_cnb_an_optional_one_that_fails_is_left_out_and_the_next_group_is_tried(built, app, tmp_path):
    """A buildpackage: one composite buildpack, and those that its order names."""
    order = """
[[order]]
[[order.group]]
id = "p/fails"
version = "1"
[[order]]
[[order.group]]
id = "p/fails"
version = "1"
optional = true
[[order.group]]
id = "p/passes"
version = "1"
"""
    files = {
        "p_all/1/buildpack.toml": f'api = "0.10"\n[buildpack]\nid = "p/all"\nversion = "1"\n{order}',
        "p_fails/1/buildpack.toml": 'api = "0.10"\n[buildpack]\nid = "p/fails"\nversion = "1"\n',
        "p_fails/1/bin/detect": "#!/bin/bash\nexit 100\n",
        "p_fails/1/bin/build": "#!/bin/bash\nexit 1\n",
        "p_passes/1/buildpack.toml": 'api = "0.10"\n[buildpack]\nid = "p/passes"\nversion = "1"\n',
        "p_passes/1/bin/detect": "#!/bin/bash\n",
        "p_passes/1/bin/build": "#!/bin/bash\necho PASSES\n",
    }
    for name, text in files.items():
        path = tmp_path / "package/cnb/buildpacks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    package = str(built.farm.pack_buildpack(tmp_path / "package"))
    result = succeeded(built, built(app(), "package", buildpacks=[package]))
    assert [item.name for item in result.buildpacks] == ["p/passes"]


def test_cnb_alternatives_of_a_plan_are_tried_in_order(built, pack_cnb, app):
    plan = """cat >"$CNB_BUILD_PLAN_PATH" <<T
[[requires]]
name = "nobody-has-it"
[[or]]
[[or.provides]]
name = "self"
[[or.requires]]
name = "self"
T"""
    probe = pack_cnb("probe/or", detect=plan, build='cat "$CNB_BP_PLAN_PATH"')
    build = built(app(), "or", buildpacks=[probe])
    succeeded(built, build)
    assert '"name" = "self"' in built.log(build)


def test_cnb_a_plan_that_nobody_meets_fails_detection(built, pack_cnb, app):
    plan = """printf '[[requires]]\nname = "nobody-has-it"\n' >"$CNB_BUILD_PLAN_PATH" """
    failed(built(app(), "unmet", buildpacks=[pack_cnb("probe/unmet", detect=plan)]), "app.detect", "No group")


def test_cnb_unmet_entries_go_to_the_next_provider(built, pack_cnb, app):
    provide = """printf '[[provides]]\nname = "tool"\n' >"$CNB_BUILD_PLAN_PATH" """
    one = pack_cnb("probe/first", detect=provide, build="""printf '[[unmet]]\nname = "tool"\n' >"$1/build.toml" """)
    two = pack_cnb("probe/second", detect=provide, build='echo "SECOND $(cat "$CNB_BP_PLAN_PATH")"')
    three = pack_cnb("probe/third", detect=PLAN_TWO)
    build = built(app(), "unmet", buildpacks=[one, two, three])
    succeeded(built, build)
    assert re.search('SECOND .*"name" = "tool"', built.log(build))


def test_cnb_exit_code_100_refuses_and_others_are_errors(built, pack_cnb, app):
    failed(built(app(), "no", buildpacks=[pack_cnb("probe/no", detect="exit 100")]), "app.detect", "No group")
    build = built(app(), "no", buildpacks=[pack_cnb("probe/errs", detect="exit 3")])
    failed(build, "app.detect", "bin/detect of the buildpack probe/errs ended with the error 3")


def test_cnb_a_build_that_fails_names_its_buildpack(built, pack_cnb, app):
    build = built(app(), "fails", buildpacks=[pack_cnb("probe/fails", build="echo why; exit 4")])
    failed(build, "app.compile", "The buildpack probe/fails failed with exit code 4", "why")


def test_cnb_clear_env_hides_user_variables(built, pack_cnb, app):
    probe = pack_cnb("probe/clear", build='echo "SEES=${GREETING-nothing}"', more="clear-env = true\n")
    build = built(app(), "clear", buildpacks=[probe], env={"GREETING": "hello"})
    succeeded(built, build)
    assert "SEES=nothing" in built.log(build)


def test_cnb_exec_env_is_production_from_0_12_on(built, pack_cnb, app):
    probe = pack_cnb("probe/exec", build='echo "EXEC=$CNB_EXEC_ENV"', api="0.12")
    build = built(app(), "exec", buildpacks=[probe])
    succeeded(built, build)
    assert "EXEC=production" in built.log(build)


def test_cnb_one_for_another_system_does_not_take_the_app(built, pack_cnb, app):
    probe = pack_cnb("probe/other", more='[[targets]]\nos = "windows"\n')
    failed(built(app(), "other", buildpacks=[probe]), "app.detect", "probe/other is for another system")


@pytest.mark.parametrize(
    ("fields", "code", "told"),
    [
        ({"api": "0.2"}, "app.detect", "uses Buildpack API '0.2'; this farm supports 0.10"),
        ({"detect": None}, "app.detect", "has no bin/detect"),
        ({"files": {"buildpack.toml": "api ="}}, "app.detect", "buildpack.toml is not TOML"),
        ({"build": "mkdir $1/launch; echo '[types]' >$1/launch.toml"}, "app.compile", "a layer named 'launch'"),
        ({"build": "echo 'x' >$1/launch.toml"}, "app.compile", "launch.toml of the buildpack probe/wrong is not TOML"),
        (
            {"build": "printf '[types]\ncache = true\n' >$1/a.toml"},
            "app.compile",
            "for build or cache and has no files",
        ),
        ({"build": "printf '[types]\nlaunch = true\n' >$1/a.toml"}, "app.compile", "previous image has no layer"),
    ],
)
def test_cnb_what_breaks_the_contract_is_named(built, pack_cnb, app, fields, code, told):  # noqa: PLR0917
    failed(built(app(), "wrong", buildpacks=[pack_cnb("probe/wrong", **fields)]), code, told)


def test_cnb_and_classic_do_not_mix(built, pack, pack_cnb, app):
    build = built(app(), "mix", buildpacks=[pack("classic"), pack_cnb("probe/mixed")])
    failed(build, "app.detect", "cannot build one app together")
