"""Live logs through a real nginx as many put it before the API: with its default buffering."""

from __future__ import annotations

import subprocess
import time
from urllib.parse import urlsplit

import httpx
import pytest

from localfarm.packages import ensure_packages, find_program
from testkit.builds import promised, wait_for
from testkit.serving import serving
from tests.integration.api.test_api import Writer, events

CONFIGURATION = """
daemon off; pid {folder}/pid; error_log {folder}/errors; worker_processes 1;
events {{ }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; scgi_temp_path {folder}/scgi; uwsgi_temp_path {folder}/uwsgi;
  server {{ listen unix:{folder}/socket; location / {{ proxy_pass {api}; proxy_http_version 1.1; }} }}
}}
"""


@pytest.fixture(scope="module")
def api(module_farm):
    with serving(module_farm) as api:
        yield api


@pytest.fixture
def nginx(api, tmp_path):
    """The socket of an nginx before this API."""
    ensure_packages({"nginx": "nginx-light"}, print)
    tmp_path.chmod(0o755)
    url = urlsplit(api.url)
    text = CONFIGURATION.format(folder=tmp_path, api=f"http://{url.netloc}")
    (tmp_path / "nginx.conf").write_text(text)
    process = subprocess.Popen(
        [find_program("nginx"), "-c", str(tmp_path / "nginx.conf"), "-e", str(tmp_path / "errors")]
    )
    try:
        wait_for((tmp_path / "socket").exists, 30)
        yield tmp_path / "socket"
    finally:
        process.terminate()
        process.wait(30)


def test_each_line_arrives_within_a_second(api, nginx):
    writer = Writer(api.farm, "nginx")
    with api.as_("logs", "read") as known:
        headers = dict(known.headers)
    client = httpx.Client(transport=httpx.HTTPTransport(uds=str(nginx)), base_url="http://farm", headers=headers)
    waits = []
    with client, client.stream("GET", f"/v1/builds/{writer.build.id}/log/live", timeout=20) as response:
        assert response.status_code == 200
        told = events(response)
        assert next(told)[1] == "build"
        for number in range(5):
            written = time.monotonic()
            writer.write(f"line {number}")
            assert next(told)[2]["text"] == f"line {number}"
            waits.append(time.monotonic() - written)
        writer.end()
        assert [name for _, name, _ in told] == ["build", "end"]
    assert max(waits) < promised(1)
