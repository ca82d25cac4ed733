"""The farm's cache of packages as a node sees it: there, gone, or begun anew."""

from __future__ import annotations

import http.server
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from buildfarm.config_vars.build_variables import NO_VARIABLES, BuildVariable, BuildVariables
from buildfarm.model import Phase
from testkit.builds import write_files
from workers.build_folder import BuildFolder
from workers.fetch.downloads import NO_DOWNLOADS, Downloads


class _Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/_health" else 404)
        self.end_headers()
        self.wfile.write(f"{self.server.run}\n".encode())

    def log_message(self, *_):
        pass


@contextmanager
def answering(run="one"):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Health) as server:
        server.run = run
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def app(tmp_path):
    return BuildFolder(tmp_path)


def test_a_farm_without_one_changes_nothing(app):
    begun = NO_DOWNLOADS.begun()
    assert (begun.told(app, NO_VARIABLES, (), ()), begun.lost(Phase.COMPILE)) == ({}, "")


def test_one_that_does_not_answer_is_passed_over(app):
    with answering() as server:
        port = server.server_address[1]
    begun = Downloads(f"http://127.0.0.1:{port}").begun()
    assert (begun.told(app, NO_VARIABLES, (), ()), begun.lost(Phase.COMPILE)) == ({}, "")


def told(url):
    return Downloads(url).begun().told(BuildFolder(Path("/nonexistent")), NO_VARIABLES, (), ())


def test_one_that_the_node_lets_no_build_reach_is_passed_over(app):
    with answering() as server:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        assert Downloads(url, lambda place: f"http://{place}" == url).begun().told(app, NO_VARIABLES, (), ())
        assert Downloads(url, lambda _: False).begun().told(app, NO_VARIABLES, (), ()) == {}


def test_a_name_that_does_not_resolve_is_passed_over():
    assert told("http://no-such-host.invalid:8090") == {}


@pytest.mark.parametrize("url", ["http://a..b:80", "http://h:99999", "http://"])
def test_an_address_that_cannot_be_one_is_passed_over(url):
    assert told(url) == {}


def test_an_attempt_is_led_to_its_address_and_sees_that_it_stopped(app):
    with answering() as server:
        port = server.server_address[1]
        begun = Downloads(f"http://localhost:{port}").begun()
        assert begun.told(app, NO_VARIABLES, (), ())["PIP_TRUSTED_HOST"] == f"127.0.0.1:{port}"
        assert begun.lost(Phase.COMPILE) == ""
    assert f"127.0.0.1:{port} stopped" in begun.lost(Phase.COMPILE)


def test_one_that_began_anew_has_been_gone(app):
    with answering("one") as server:
        begun = Downloads(f"http://127.0.0.1:{server.server_address[1]}").begun()
        begun.told(app, NO_VARIABLES, (), ())
        server.run = "two"
        assert begun.lost(Phase.COMPILE)
        assert not begun.lost(Phase.PREPARE)


def test_a_failure_of_a_build_that_does_not_use_it_is_not_its(app):
    with answering() as server:
        begun = Downloads(f"http://127.0.0.1:{server.server_address[1]}").begun()
        assert begun.told(app, NO_VARIABLES, ["HTTP_PROXY"], ()) == {}
    assert begun.lost(Phase.COMPILE) == ""


def test_files_of_the_app_and_build_variables_count(tmp_path, app):
    write_files(tmp_path, {".npmrc": "registry=https://npm.example.org/\n", "uv.lock": ""})
    (tmp_path / "pyproject.toml").symlink_to("/etc/passwd")
    with answering() as server:
        begun = Downloads(f"http://127.0.0.1:{server.server_address[1]}").begun()
        variables = BuildVariables.merged({"HTTP_PROXY": BuildVariable(value="http://proxy:3128")})
        names = [f"app/{name}" for name in (".npmrc", "uv.lock", "pyproject.toml")]
        # What a link stands for is not known.
        assert begun.told(app, variables, ["GOPROXY"], names) == {}
        (tmp_path / "pyproject.toml").unlink()
        found = begun.told(app, variables, ["GOPROXY"], names[:2])
    assert set(found) == {"PIP_INDEX_URL", "PIP_TRUSTED_HOST", "BUILDFARM_PYPI_CACHE", "NO_PROXY", "no_proxy"}
    assert found["NO_PROXY"] == "127.0.0.1"
