"""The command line: exit codes and sentences, without a farm."""

from __future__ import annotations

import json

import click
import pytest
from click.testing import CliRunner

from buildfarm import errors
from buildfarm.cli import main
from buildfarm.cli.api import caller
from buildfarm.cli.build import exit_of
from buildfarm.cli.error_handler import Exit, exit_code
from buildfarm.cli.images import together
from buildfarm.cli.show import build_lines
from buildfarm.model import Build, BuildRequest, Failure, Fault, State
from buildfarm.sources.address import ArtifactSource
from buildfarm.telemetry.units import size
from tests.unit.buildfarm.recipes.test_recipe import RECIPE, TOOL

DIGEST = "sha256:" + "a" * 64


def call(*arguments, environment=None):
    return CliRunner().invoke(main, arguments, env=environment or {})


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.CompileError, Exit.APP_FAULT),
        (errors.RequestError, Exit.USAGE),
        (errors.NotFoundError, Exit.USAGE),
        (errors.SetupError, Exit.SETUP),
        (errors.SettingsError, Exit.SETUP),
        (errors.StoreError, Exit.FARM_FAULT),
        (errors.StoreFullError, Exit.FARM_FAULT),
        (errors.RegistryError, Exit.FARM_FAULT),
        (errors.Cancelled, Exit.CANCELLED),
    ],
)
def test_an_error_decides_the_exit_code(kind, code):
    assert exit_code(kind("It did not work.")) is code


@pytest.mark.parametrize("command", sorted(main.list_commands(None)))
def test_every_command_starts(command):
    result = call(command, "--help")
    assert (result.exit_code, result.exception) == (0, None), result.exception


def failed_build(number, app):
    request = BuildRequest(tenant="a-tenant", app=app, source=ArtifactSource(repository="s/t", digest=DIGEST))
    return Build(id=f"{number:016x}", request=request, state=State.FAILED, submitted_at=0, finished_at=1234.5)


def test_a_list_of_builds_fits_80_columns():
    lines = [click.unstyle(line) for line in build_lines([failed_build(1, "a" * 30), failed_build(2, "short")], 80)]
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines if line.split()[0].startswith("0")] == [f"{1:016x}", f"{2:016x}"]
    assert sum("1970-01-01 00:00" in line and "1234.5 s" in line for line in lines) == 2
    assert "".join(line.split()[at] for line, at in zip(lines[1:3], (1, 0), strict=True)) == "a-tenant/" + "a" * 30


def test_a_list_of_builds_that_no_terminal_shows_has_a_line_for_each():
    head, *lines = build_lines([failed_build(1, "a" * 30), failed_build(2, "short")], None)
    assert click.unstyle(head).split() == ["build", "app", "state", "submitted", "(UTC)", "took"]
    assert [click.unstyle(line).split()[1] for line in lines] == ["a-tenant/" + "a" * 30, "a-tenant/short"]
    assert all("\x1b[31mfailed" in line for line in lines)
    assert len({line.index("failed") for line in map(click.unstyle, lines)}) == 1


@pytest.mark.parametrize("columns", [1, 40, 80])
def test_no_builds_and_narrow_terminals_are_shown(columns):
    assert len(list(build_lines([], columns))) == 1
    app, *rest = [click.unstyle(line).split() for line in build_lines([failed_build(1, "z" * 30)], columns)][1:]
    assert "".join([app[1], *(words[0] for words in rest)]) == "a-tenant/" + "z" * 30


@pytest.mark.parametrize(
    ("state", "failure", "code"),
    [
        (State.SUCCEEDED, None, Exit.DONE),
        (State.FAILED, "app.compile", Exit.APP_FAULT),
        (State.FAILED, "farm.node", Exit.FARM_FAULT),
        (State.CANCELLED, None, Exit.CANCELLED),
    ],
)
def test_an_ended_build_decides_the_exit_code(state, failure, code):
    build = Build(
        id="x",
        request=BuildRequest(tenant="t", app="a", source=ArtifactSource(repository="s/t", digest=DIGEST)),
        state=state,
        submitted_at=0,
        failure=Failure(code=failure, fault=Fault.APP, phase=None, message="m") if failure else None,
    )
    assert exit_of(build) is code


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["build"], "Name one source"),
        (["build", "x", "--git", "https://example.org/r"], "Name one source"),
        (["build", "--archive", "https://example.org/x"], "belong together"),
        (["build", "x", "--app", "shop"], "tenant/name"),
        (["list", "--app", "shop"], "tenant/name"),
    ],
)
def test_wrong_usage_says_what_is_right(arguments, told):
    result = call(*arguments)
    assert result.exit_code == Exit.USAGE
    assert told in result.output


def test_an_illegal_name_is_refused_before_anything_is_sent(tmp_path):
    (tmp_path / "index.html").touch()
    result = call("build", str(tmp_path), "--app", "Shop!/x")
    assert result.exit_code == Exit.USAGE
    assert "'Shop!' is not a valid name of the tenant" in result.output


def test_a_redis_that_is_not_there_is_the_farms_fault_and_is_named():
    result = call("list", environment={"BUILDFARM_REDIS_URL": "redis://127.0.0.1:1/0"})
    assert result.exit_code == Exit.FARM_FAULT
    assert "Redis at 127.0.0.1:1 cannot be reached" in result.output


def test_a_registry_that_is_not_there_is_the_farms_fault_and_is_named(tmp_path):
    (tmp_path / "index.html").touch()
    environment = {"BUILDFARM_REGISTRY_URL": "http://127.0.0.1:1", "BUILDFARM_REGISTRY_ATTEMPTS": "1"}
    result = call("build", str(tmp_path), environment=environment)
    assert result.exit_code == Exit.FARM_FAULT
    assert "127.0.0.1:1" in result.output


def test_json_is_for_scripts_also_where_it_fails(tmp_path):
    # the real command line: whether --json was asked is read from it also before the options are
    import subprocess
    import sys

    absent = str(tmp_path / "absent")
    done = subprocess.run(
        [sys.executable, "-m", "buildfarm", "build", absent, "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == Exit.APP_FAULT
    assert json.loads(done.stdout)["error"]["code"] == "app.source"


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2_500_000, "2.5 MB")])
def test_sizes_for_people(count, text):
    assert size(count) == text


def test_the_audit_names_a_caller_who_has_no_name_by_number(monkeypatch):
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 4_000_001)
    assert caller() == "4000001"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["oracle"], "There is no recipe 'oracle'"),
        (["redis", "--version", "9.9"], "redis has no version '9.9'"),
    ],
)
def test_an_image_that_has_no_recipe_is_refused_before_the_farm_is_asked(arguments, told):
    result = call("images", "build", *arguments, environment={"BUILDFARM_REDIS_URL": "redis://127.0.0.1:1/0"})
    assert result.exit_code != 0
    assert told in result.output


def test_what_travels_is_the_recipe_and_what_it_takes_along_or_is_given(tmp_path):
    tool, server = tmp_path / "images/tool", tmp_path / "images/server"
    for name, text in (("tool/recipe.toml", TOOL), ("tool/README.md", ""), ("tool/Dockerfile", ""),
                       ("shared/file", ""), ("server/recipe.toml", RECIPE), ("server/root/start", "")):  # fmt: skip
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).write_text(text)
    archive = tmp_path / "server.tgz"
    archive.touch()

    def travels(folder, archive=None):
        with together(folder, archive) as packed:
            return sorted(str(path.relative_to(packed)) for path in packed.rglob("*") if path.is_file())

    assert travels(tool) == [f"checkout/{name}" for name in ("shared/file", "tool/Dockerfile", "tool/README.md",
                                                             "tool/recipe.toml")] + ["recipe.toml"]  # fmt: skip
    assert travels(server) == ["recipe.toml", "root/start"]
    assert travels(server, archive) == ["archive", "recipe.toml", "root/start"]
    (tmp_path / "images/shared/file").unlink()
    with pytest.raises(errors.RecipeError, match="which does not exist"):
        travels(tool)


def helps(command, parent=None, name="buildfarm"):
    """The help of a command and of all its subcommands, as a terminal of 80 columns shows it."""
    context = click.Context(command, parent=parent, info_name=name, terminal_width=80)
    yield command.get_help(context)
    for each in command.list_commands(context) if isinstance(command, click.Group) else ():
        yield from helps(command.get_command(context, each), context, each)


def test_help_fits_80_columns_and_cuts_no_sentence():
    found = list(helps(main))
    assert len(found) > 45
    lines = [line for text in found for line in text.splitlines() if not line.startswith("Usage: ")]
    assert [line for line in lines if len(line) > 80 or line.endswith("...")] == []
