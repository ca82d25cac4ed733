"""The classic contract, a test a clause: tiny buildpacks, and what can be seen of them in the log, image or container.

docs/buildpacks.md lists the clauses; tests/unit/docs/test_clauses.py keeps the list and these tests equal.
"""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from testkit.buildpacks import failed, run_image, succeeded

OBSERVER = r"""
echo "ARGUMENTS=$1,$2,$3,$#"
echo "DEFAULTS=$HOME,$APP_DIR,$APP,$STACK,$CURL_CONNECT_TIMEOUT,$CURL_TIMEOUT,$BUILDPACK_LOG_FILE"
echo "VERSION=$SOURCE_VERSION REQUEST=$REQUEST_ID"
echo "USER=$(id -u) STDIN=$(wc -c) GIT_DIR=${GIT_DIR-unset}"
echo "FILES=$(ls "$3" | paste -sd,)"
echo "GREETING_FILE=$(od -An -c "$3/GREETING" | tr -d ' \n')"
echo "GREETING_VARIABLE=${GREETING-unset}"
echo "PATH_IS_OURS=$PATH"
echo "an error line" >&2
echo "count#things=3" >>"$BUILDPACK_LOG_FILE"
touch "$(dirname "$0")/../written" && echo "OWN_COPY=writable"
cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null | head -1 | sed 's/^/MEMORY=/'
mkdir -p "$1/.profile.d" && echo 'export FROM_PROFILE="home is $HOME"' >"$1/.profile.d/a.sh"
echo 'export ORDER="${ORDER}b"' >"$1/.profile.d/b.sh" && echo 'export ORDER="${ORDER}c"' >"$1/.profile.d/c.sh"
mkdir "$1/.profile.d/deep" && echo 'export DEEP=yes' >"$1/.profile.d/deep/d.sh"
echo 'export ORDER="${ORDER}profile"' >"$1/.profile"
touch /app/last_pack_release.out
"""

RELEASE = r"""
cat <<YAML
addons: [postgresql]
config_vars:
  FROM_RELEASE: "yes: indeed"
  LEVEL: 3
default_process_types:
  web: echo default web
  worker: echo "worker of $(basename $1)"
YAML
"""


@pytest.fixture(scope="module")
def observed(built, pack, app):
    """One build that shows most of the contract."""
    probe = pack("observer", compile=OBSERVER, release=RELEASE, report="""echo '{"probe_duration": 1.5}'""")
    build = built(app(), "observed", buildpacks=[probe], env={"GREETING": "hello\n", "PATHS": "x"})
    succeeded(built, build)
    return build, built.log(build)


def test_detect_passes_with_a_name_that_the_log_shows(built, observed):
    assert "-----> Probe app" in observed[1]


def test_compile_gets_build_cache_and_env_dir(observed):
    assert "ARGUMENTS=/app,/cache,/platform/env,3" in observed[1]


def test_compile_sees_the_promised_environment(observed, distribution):
    build, log = observed
    assert f"DEFAULTS=/app,/app,observed,{distribution['VERSION_CODENAME']},30,180,/dev/null" in log
    assert f"VERSION={build.request.source.digest.hex} REQUEST={build.id}" in log


def test_standard_input_is_closed_and_the_user_is_ordinary(observed):
    found = re.search(r"USER=(\d+) STDIN=0 GIT_DIR=unset", observed[1])
    assert found and int(found[1]) >= 1000


def test_both_outputs_are_in_the_log(observed):
    assert "an error line" in observed[1]


def test_env_dir_has_a_file_for_each_config_var_with_its_exact_value(observed):
    assert "FILES=GREETING,PATHS" in observed[1]
    assert "GREETING_FILE=hello\\n" in observed[1]


def test_config_vars_are_also_variables_on_scalingos_profile(observed):
    assert "GREETING_VARIABLE=hello" in observed[1]


def test_each_build_works_on_its_own_writable_copy(observed):
    assert "OWN_COPY=writable" in observed[1]


def test_true_memory_limits_can_be_read(observed, services):
    assert f"MEMORY={services.memory_bytes}" in observed[1]


def test_release_gives_default_process_types(observed):
    assert observed[0].result.process_types == {"web": "echo default web", "worker": 'echo "worker of app"'}


def test_release_gives_config_vars_to_the_image(built, observed):
    assert run_image(built, observed[0], "bash", "-c", 'echo "$FROM_RELEASE, $LEVEL"') == "yes: indeed, 3"


def test_the_hand_over_file_of_multi_buildpacks_is_removed(built, observed):
    assert run_image(built, observed[0], "ls", "/app") == "file.txt"


def test_profile_scripts_are_sourced_in_order_before_a_process(built, observed):
    script = 'echo "$FROM_PROFILE, $ORDER, ${DEEP-no}"'
    assert run_image(built, observed[0], "bash", "-c", script) == "home is /app, bcprofile, no"


def test_start_runs_a_type_with_its_arguments_or_any_command(built, observed):
    build = observed[0]
    assert run_image(built, build) == "default web"
    assert run_image(built, build, "worker") == "worker of app"
    assert run_image(built, build, "pwd") == "/app"
    assert "no process type or command named 'nonsense'" in run_image(built, build, "nonsense")


def test_report_is_kept_after_success(observed):
    (used,) = observed[0].result.buildpacks
    assert used.report == {"probe_duration": 1.5}
    assert (used.name, used.kind) == ("observer", "classic")


def test_report_is_kept_after_failure_and_bounded(built, pack, app):
    report = (
        """printf '{"failure_reason":"why","long":"%s","nested":{},"flag":true}' "$(printf 'x%.0s' {1..500})"; exit 1"""
    )
    build = built(app(), "failing", buildpacks=[pack("failing", compile="echo broken; exit 3", report=report)])
    failed(build, "app.compile", "failing failed with exit code 3", "broken")
    assert build.failure.reports == {"1-failing": {"failure_reason": "why", "long": "x" * 200, "flag": True}}


def test_a_failing_report_is_not_shown(built, pack, app):
    build = built(app(), "report", buildpacks=[pack("report", report="echo nonsense; echo oops >&2; exit 7")])
    assert succeeded(built, build).buildpacks[0].report == {}
    assert "oops" not in built.log(build)


def test_several_run_in_order_and_hand_on_their_export(built, pack, app):
    first = pack(
        "first",
        compile="""echo 'echo NOISY; export HANDED="from first" PATH=/first:$PATH' >"$(dirname "$0")/../export" """,
    )
    second = pack(
        "second", compile="""echo "SAW=$HANDED ${PATH%%:*}"; echo 'export MORE=1' >"$(dirname "$0")/../export" """
    )
    third = pack(
        "third",
        compile='echo "THIRD=$HANDED $MORE"',
        release="echo \"config_vars: {SEEN: '${HANDED-nothing}'}\"",
    )
    build = built(app(), "several", buildpacks=[first, second, third])
    assert [used.name for used in succeeded(built, build).buildpacks] == ["first", "second", "third"]
    log = built.log(build)
    assert "SAW=from first /first" in log
    assert log.count("NOISY") == 2
    assert "THIRD=from first 1" in log
    assert run_image(built, build, "bash", "-c", "echo $SEEN") == "nothing"


def test_the_last_buildpacks_release_counts(built, pack, app):
    first = pack("one", release="echo 'default_process_types: {web: echo first}'")
    second = pack("two", release="echo 'default_process_types: {web: echo second}'")
    build = built(app(), "last", buildpacks=[first, second])
    assert succeeded(built, build).process_types == {"web": "echo second"}


def test_cache_dir_survives_a_success_and_not_a_failure(built, pack, app):
    lines = 'echo "CACHE=$(cat "$2/n" 2>/dev/null)"; echo "x$(cat "$2/n" 2>/dev/null)" >"$2/n"; [ -z "$FAIL" ]'
    probe = pack("caching", compile=lines)
    logs = []
    for env in ({}, {"FAIL": "1"}, {}):
        logs.append(built.log(built(app(), "cached", buildpacks=[probe], env=env, cached_result=False)))
    assert [re.search("CACHE=(.*)", log)[1] for log in logs] == ["", "x", "x"]


def test_what_is_kept_comes_back_with_its_modes(built, pack, app):
    """Else an image that is built on a cache differs from one that is built without."""
    seen = 'stat -c "MODE=%a" "$2"/* 2>/dev/null | paste -sd,'
    probe = pack(
        "modes-kept", compile=f'{seen}; mkdir -p "$2/a" && touch "$2/b" && chmod 775 "$2/a" && chmod 664 "$2/b"'
    )
    builds = [built(app(), "modes-kept", buildpacks=[probe], cached_result=False) for _ in range(2)]
    assert "MODE=775,MODE=664" in built.log(builds[1])


def test_a_procfile_replaces_all_defaults_on_scalingos_profile(built, pack, app):
    release = "echo 'default_process_types: {web: echo default, worker: echo default}'"
    build = built(app({"Procfile": "web: echo mine\n"}), "procfile", buildpacks=[pack("procs", release=release)])
    assert succeeded(built, build).process_types == {"web": "echo mine"}


def test_slugignore_leaves_files_out_after_the_build_on_scalingos_profile(built, pack, app):
    source = app({".slugignore": "*.psd\n/docs\n!keep.psd\n", "a.psd": "", "keep.psd": "", "docs/x": "", "b.txt": ""})
    build = built(source, "slugignore", buildpacks=[pack("seeing", compile='echo "SEES=$(cd $1; ls | paste -sd,)"')])
    succeeded(built, build)
    assert "SEES=a.psd,b.txt,docs,keep.psd" in built.log(build)
    assert run_image(built, build, "ls") == "b.txt"


def test_a_named_buildpack_that_refuses_fails_the_build(built, pack, app):
    build = built(app(), "refused", buildpacks=[pack("refusing", detect="exit 1")])
    failed(build, "app.detect", "refusing' refuses this app")


def test_buildpack_url_names_one(built, pack, app):
    probe = pack("by-variable", compile="echo BY VARIABLE")
    build = built(app({"index.html": ""}), "variable", env={"BUILDPACK_URL": probe})
    succeeded(built, build)
    assert "BY VARIABLE" in built.log(build)


def test_a_buildpacks_file_names_several(built, pack, app):
    probe = pack("listed", compile="echo LISTED")
    source = app({".buildpacks": f"# two of them\n\n{probe}\r\nstatic\n", "index.html": "hi"})
    result = succeeded(built, built(source, "listed"))
    assert [used.name for used in result.buildpacks] == ["listed", "static"]


def test_an_app_json_gives_buildpacks_variables_and_formation(built, pack, app):
    probe = pack("manifest", compile='echo "A=$A B=$B C=${C-unset}"')
    manifest = f"""{{"buildpacks": [{{"url": "{probe}"}}], "env": {{"A": "given", "B": {{"value": "mine"}},
      "C": {{"generator": "secret"}}}}, "formation": {{"web": {{"quantity": 2}}, "worker": {{"amount": 0}}}}}}"""
    build = built(app({"app.json": manifest}), "manifest", env={"A": "asked"})
    assert succeeded(built, build).formation == {"web": 2, "worker": 0}
    assert "A=asked B=mine C=unset" in built.log(build)


def test_a_project_toml_gives_buildpacks_and_variables(built, pack, app):
    probe = pack("project", compile='echo "LEVEL=$LEVEL"')
    toml = f'[[io.buildpacks.group]]\nuri = "{probe}"\n[[io.buildpacks.build.env]]\nname = "LEVEL"\nvalue = "high"\n'
    build = built(app({"project.toml": toml}), "project")
    succeeded(built, build)
    assert "LEVEL=high" in built.log(build)


def test_the_first_of_the_farms_order_that_takes_the_app_is_used(built, pack, app):
    never = pack("never", detect="exit 1")
    mine = pack("mine", compile="echo MINE")
    try:
        built.farm.order_buildpacks([never, mine, "static"])
        build = built(app({"index.html": ""}), "ordered")
        assert [used.name for used in succeeded(built, build).buildpacks] == ["mine"]
    finally:
        built.farm.order_buildpacks([])
    assert build.request.buildpack_order[1:] == (mine, "static")


def test_project_dir_is_the_whole_app(built, pack, app):
    probe = pack("project", compile='echo "SEES=$(cd "$1" && find . -type f | sort | paste -sd,)"')
    files = {"other/secret.txt": "x", "shop/web/app.txt": "x", "shop/web/shop/deep.txt": "x", "top.txt": "x"}
    build = built(app(files), "project", buildpacks=[probe], env={"PROJECT_DIR": "shop/web/"})
    succeeded(built, build)
    assert "SEES=./app.txt,./shop/deep.txt" in built.log(build)
    assert run_image(built, build, "bash", "-c", "ls -A | paste -sd,") == "app.txt,shop"


@pytest.mark.parametrize("folder", ["absent", "../cache", "link", "shop/file.txt", ".", "-rf"])
def test_project_dir_outside_the_source_is_refused(built, app, folder):
    source = app({"shop/file.txt": "x"})
    (source / "link").symlink_to("/cache")
    failed(built(source, "project", env={"PROJECT_DIR": folder}), "app.source", "PROJECT_DIR", "not a folder")


def test_an_executable_bit_that_is_missing_is_set(built, pack, app):
    """`pack` writes programs without it."""
    probe = pack("modes")
    assert succeeded(built, built(app(), "modes", buildpacks=[probe])).buildpacks[0].name == "modes"


@pytest.mark.parametrize(
    ("programs", "told"),
    [
        ({"detect": None}, "has no bin/detect"),
        ({"compile": None}, "has no bin/compile"),
        ({"detect": "true"}, "prints no name"),
        ({"detect": "exit 127"}, "cannot be run"),
    ],
)
def test_a_buildpack_that_breaks_the_contract_of_detect_is_named(built, pack, app, programs, told):
    failed(built(app(), "broken", buildpacks=[pack("broken", **programs)]), "app.detect", told, "broken")


def test_a_compile_that_fails_is_not_taken_for_its_release_whatever_it_prints(built, pack, app):
    build = built(app(), "liar", buildpacks=[pack("liar", compile="echo compiled; exit 5", release="echo 'a: b'")])
    failed(build, "app.compile", "The buildpack 1-liar failed with exit code 5", "compiled")


@pytest.mark.parametrize(
    ("release", "told"),
    [
        ("echo 'a: [b'", "bin/release of the buildpack 1-wrong does not print YAML"),
        ("echo '- a'", "does not print a YAML mapping"),
        ("exit 9", "failed with exit code 9"),
    ],
)
def test_a_release_that_breaks_the_contract_is_named(built, pack, app, release, told):
    failed(built(app(), "broken", buildpacks=[pack("wrong", release=release)]), "app.compile", told)


@pytest.mark.parametrize(
    ("files", "code", "told"),
    [
        ({"Procfile": "web: ok\n<garbage>\n", "index.html": ""}, "app.compile", "Procfile, line 2"),
        ({".buildpacks": "static\nftp://nowhere/x\n"}, "app.detect", ".buildpacks, line 2"),
        ({".buildpacks": "https://nowhere.invalid/x.git\n"}, "app.detect", "https://nowhere.invalid/x.git"),
        ({"scalingo.json": "{"}, "app.compile", "scalingo.json is not JSON"),
        ({"project.toml": "a ="}, "app.compile", "project.toml is not TOML"),
    ],
)
def test_a_wrong_file_of_the_app_is_named(built, app, files, code, told):
    failed(built(app(files), "wrong"), code, told)


def test_a_one_off_container_has_the_tools_at_hand(built, observed):
    image = built.farm.image(observed[0])
    command = [sys.executable, "-m", "buildfarm", "run", image, "bash"]
    done = subprocess.run(
        command, input="psql --version; echo $FROM_PROFILE", capture_output=True, text=True, check=True
    )
    assert "psql (PostgreSQL)" in done.stdout
    assert "home is /app" in done.stdout
