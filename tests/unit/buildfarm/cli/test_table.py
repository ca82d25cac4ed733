"""Commands are imported when they run, and a missing extra is named with the command that installs it."""

from __future__ import annotations

import os
import subprocess
import sys

import click
import pytest

from buildfarm.access import Scope
from buildfarm.cli import COMMANDS, main
from buildfarm.cli.api import SCOPES
from buildfarm.cli.build import RUN_POLICIES
from buildfarm.cli.error_handler import Exit
from buildfarm.cli.extras import missing_extra
from buildfarm.model import RunPolicy
from buildfarm.seal import Seal

HEAVY = ("celery", "cryptography", "docker", "fastapi", "httpx", "pydantic", "redis", "rich", "structlog")
OWN_MAX = 49  # modules of the farm that a list imports, each of which takes about a millisecond
RUN = "import sys\n{before}\nfrom buildfarm.cli import main\ntry:\n    main({arguments})\nfinally:\n    {after}\n"


def run(*arguments, before="", after="pass"):
    code = RUN.format(before=before, arguments=list(arguments), after=after)
    environment = {name: value for name, value in os.environ.items() if name != "BUILDFARM_URL"}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_entry_of_the_table_is_a_command_of_its_name(name):
    command = main.get_command(click.Context(main), name)
    assert isinstance(command, click.Command)
    assert command.name == name
    assert command.help


@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],
        ["--help"],
        ["bulid"],
        ["build"],
        ["build", "--help"],
        ["list", "--nonsense"],
        ["tokens", "make", "--scope", "x"],
    ],
)
def test_version_help_and_wrong_usage_import_nothing_that_takes_long(arguments):
    after = f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    done = run(*arguments, after=after)
    assert done.returncode in (Exit.DONE, Exit.USAGE)
    assert done.stderr.strip().endswith("[]")


def completed(words, index):
    """What the shell offers, and which modules were imported for it that take long."""
    heavy = ("buildfarm.cli.api", "buildfarm.model", *HEAVY)
    code = RUN.format(
        before="import click",
        arguments="prog_name='buildfarm'",
        after=f"print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)",
    )
    environment = {
        **os.environ, "_BUILDFARM_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(index),
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    return [line.removeprefix("plain,") for line in done.stdout.split()], done.stderr.strip()


def test_a_shell_completes_commands_and_options_without_importing_what_takes_long():
    assert completed("buildfarm ", 1) == (sorted(COMMANDS), "[]")
    assert completed("buildfarm lo", 1) == (["logs"], "[]")
    assert completed("buildfarm --u", 1) == (["--url"], "[]")
    assert completed("buildfarm logs --", 2) == (["--follow", "--since", "--tail", "--json", "--help"], "[]")
    assert completed("buildfarm build --run-policy latest", 3) == (["latest_queued", "latest_always"], "[]")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(shell):
    code = "from buildfarm.cli import main; main(prog_name='buildfarm')"
    environment = {**os.environ, "_BUILDFARM_COMPLETE": f"{shell}_source"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert f"_BUILDFARM_COMPLETE={shell}_complete" in done.stdout


def test_a_list_by_redis_imports_no_more_than_it_shows():
    before = "import os; os.environ['BUILDFARM_REDIS_URL'] = 'redis://127.0.0.1:1'"
    heavy = (
        "celery", "cryptography.fernet", "fastapi", "httpx", "rich", "structlog", "buildfarm.client",
        "buildfarm.gc.retention", "buildfarm.node", "buildfarm.oci.manifest", "buildfarm.sources.packing",
        "buildfarm.store.archive.catalog", "buildfarm.store.leases", "buildfarm.store.nodes",
    )  # fmt: skip
    done = run("list", before=before, after="print(*sorted(sys.modules))")
    assert done.returncode == Exit.FARM_FAULT
    modules = done.stdout.split()
    assert not set(heavy) & set(modules)
    own = [name for name in modules if name.partition(".")[0] == "buildfarm"]
    assert len(own) <= OWN_MAX, own


def test_a_command_imports_no_metrics_of_opentelemetry_for_redis():
    before = "import os; os.environ['BUILDFARM_REDIS_URL'] = 'redis://127.0.0.1:1'"
    done = run("list", before=before, after="print([m for m in sys.modules if m.startswith('opentelemetry.sdk.m')])")
    assert done.returncode == Exit.FARM_FAULT
    assert done.stdout.strip() == "['opentelemetry.sdk.metrics']", "a name without a module"


def test_the_api_writes_traces_without_what_commands_leave_out():
    names = "opentelemetry.sdk.metrics", "httpx._main"
    code = (
        f"import sys; sys.modules |= dict.fromkeys({names!r})\n"
        "import httpx, redis\n"
        "from buildfarm.settings import Settings\n"
        "from buildfarm.telemetry.traces import open_tracer\n"
        "tracer = open_tracer(Settings(otlp_endpoint='http://127.0.0.1:1'), 'api')\n"
        f"print([sys.modules[name] for name in {names!r}], tracer._provider is not None)\n"
        "import os; sys.stdout.flush(); os._exit(0)  # nothing is there to take what the tracer would send\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[None, None] True", done.stderr


@pytest.mark.parametrize(
    ("package", "arguments", "extra"),
    [
        ("redis", ["list"], "farm"),
        ("uvicorn", ["api"], "api"),
        ("fastapi", ["api"], "api"),
        ("docker", ["up"], "local"),
        ("celery", ["status"], "local"),
    ],
)
def test_a_missing_extra_is_one_sentence_and_the_command_that_installs_it(package, arguments, extra):
    done = run(*arguments, before=f"sys.modules[{package!r}] = None")
    assert done.returncode == Exit.SETUP
    assert f"package {package}, which is not installed." in done.stderr
    assert done.stderr.strip().endswith(f"Run: pip install 'buildfarm[{extra}]'")


def test_a_farm_key_needs_the_extra_of_the_farm_only_where_something_is_sealed(monkeypatch):
    seal = Seal("k" * 43)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    monkeypatch.delitem(sys.modules, "cryptography.fernet", raising=False)
    seal.check()
    with pytest.raises(ModuleNotFoundError) as caught:
        seal.close("b1", {"A": "x"})
    assert "buildfarm[farm]" in missing_extra(caught.value).advice


def test_a_module_that_no_extra_has_is_a_bug():
    assert missing_extra(ModuleNotFoundError(name="buildfarm.absent")) is None
    assert "buildfarm[node]" in missing_extra(ModuleNotFoundError(name="redis.client"), "node").advice


def test_choices_of_options_are_those_of_the_model():
    assert list(RUN_POLICIES) == list(RunPolicy)
    assert list(SCOPES) == list(Scope)
