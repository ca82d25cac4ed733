"""A build's log as a terminal would show it, and a step that prints more than the farm reads."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

import pytest

from buildfarm.events import LogLine, LogNow
from buildfarm.model import Phase, State
from testkit.builds import Builds, build_node
from testkit.cluster.proxy import narrow_proxy
from testkit.serving import free_port

REDIS_BYTES_A_SECOND = 10_000
# A build's end waits no longer than this for the whole of its log: 30 s on a farm.
SOON = {"workers.attempt.log._END_SECONDS": 5.0}
BAR = "for i in $(seq 1 1000); do printf '\\rDownloading %d/1000' $i; done; echo"
SLOW_BAR = "for i in $(seq 1 40); do printf '\\rDownloading %d/40' $i; sleep 0.1; done; echo"
NON_BLOCKING = 'node -e "console.log(1); setTimeout(() => {}, 20000)" &\nsleep 1\n'
PYTHON = """python3 -c 'import os; os.set_blocking(1, False)'\n"""

PRINTED = {
    "a progress bar": (BAR, ["Downloading 1000/1000"]),
    "a character set": ("printf '\\033[1mDone\\033(B\\033[m\\n'", ["Done"]),
    "a link": ("printf '\\033]8;;https://example.org\\033\\\\text\\033]8;;\\033\\\\\\n'", ["text"]),
    "a title": ("printf '\\033]0;title\\007shown\\n'", ["shown"]),
    "rows drawn over": ("printf 'a 1\\nb 1\\n\\033[2Aa 2\\nb 2\\n'", ["a 2", "b 2"]),
    "a bar that is cut into many writes": (
        "for c in 10 20 30; do printf '\\r'; sleep 0.05; printf '%d' $c; sleep 0.05; printf '%%'; done; echo",
        ["30%"],
    ),
}

STEPS = {
    "node, then seq": f"{NON_BLOCKING}seq 1 100000",
    "node, then a million lines": f"{NON_BLOCKING}seq 1 1000000",
    "a pipe made non-blocking": f"{PYTHON}seq 1 300000",
    "a pipe made non-blocking, one long line": f"{PYTHON}head -c 20000000 /dev/zero | tr '\\0' x; echo",
}


@pytest.fixture
def app(tmp_path):
    """``app(script)``: a folder with a buildpack of its own, whose bin/compile this is."""

    def app(script: str):
        (tmp_path / "bin").mkdir()
        (tmp_path / "Procfile").write_text("web: true\n")
        for name, text in {"detect": "echo own", "compile": f"set -e\n{script}"}.items():
            (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{text}\n")
            (tmp_path / "bin" / name).chmod(0o755)
        return tmp_path

    return app


@pytest.mark.kind("log")
@pytest.mark.parametrize("case", PRINTED)
def test_the_log_shows_what_a_terminal_would(built, app, record_property, case):
    script, shown = PRINTED[case]
    build = built(app(f"echo BEGIN\n{script}\necho END"))
    lines = [line.strip() for line in built.log(build).splitlines()]
    found = lines[lines.index("BEGIN") + 1 : lines.index("END")]
    record_property("seen", found)
    assert found == shown


@pytest.mark.kind("log")
def test_the_newest_state_of_a_bar_is_shown_while_it_runs(built, app, record_property):
    source, _ = built.farm.pack(app(SLOW_BAR), built.tenant)
    build_id = built.submit(source=source)
    items = list(built.farm.follow(build_id, now=True))
    states = [item.text for item in items if isinstance(item, LogNow) and item.text.startswith("Downloading")]
    lines = [item.text for item in items if isinstance(item, LogLine) and "Downloading" in item.text]
    record_property("seen", f"meanwhile {', '.join(states)}; in the log {lines}")
    numbers = [int(text.split()[1].partition("/")[0]) for text in states]
    assert lines == ["Downloading 40/40"]
    # A state a second, however long a busy machine takes for the bar.
    seconds = built.farm.get(build_id).result.phase_seconds[Phase.COMPILE]
    assert 2 <= len(numbers) <= 4 + seconds and numbers == sorted(numbers)
    assert built.farm.log_streams.now(build_id) == ""


@pytest.fixture(scope="module")
def narrow(services, module_farm):
    """A node to which Redis is 10 KB a second away, and what it builds."""
    redis = urlsplit(services.redis_url.get_secret_value())
    port = free_port()
    credentials = redis.netloc.rpartition("@")[0]
    url = redis._replace(netloc=f"{credentials}@127.0.0.1:{port}" if credentials else f"127.0.0.1:{port}").geturl()
    there = (redis.hostname or "127.0.0.1", redis.port or 6379)
    with (
        narrow_proxy(("127.0.0.1", port), there, REDIS_BYTES_A_SECOND),
        build_node(module_farm, constants=SOON, BUILDFARM_REDIS_URL=url) as node,
    ):
        yield Builds(module_farm, node)


@pytest.mark.kind("log")
@pytest.mark.parametrize("case", STEPS if os.environ.get("BUILDFARM_EXAMPLES") else ["node, then seq"])
def test_a_step_that_prints_more_than_redis_takes_succeeds(narrow, app, record_property, case):
    build = narrow(app(f"{STEPS[case]}\necho THE END"))
    lines = narrow.log(build).splitlines()
    record_property("seen", f"{build.state}, {len(lines)} lines, attempt {build.attempt}")
    assert (build.state, build.attempt, build.failure) == (State.SUCCEEDED, 1, None)
    assert any(line.strip() == "THE END" for line in lines)
