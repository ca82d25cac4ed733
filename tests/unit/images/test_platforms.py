"""Starts that an app's files for other platforms name: which are followed, and which are not."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[3] / "images/builder/root/usr/lib/buildfarm"
START = "gunicorn --bind :$PORT main:app"


@pytest.fixture(scope="module")
def platforms():
    """The builder's own module: it runs in the sandbox."""
    sys.path.insert(0, str(LIBRARY))
    yield importlib.import_module("planning.platforms")
    sys.path.remove(str(LIBRARY))
    for name in [name for name in sys.modules if name.partition(".")[0] == "planning"]:
        sys.modules.pop(name)


@pytest.mark.parametrize(
    ("kind", "found", "command"),
    [
        ("google", {"runtime": "python312", "entrypoint": START}, START),
        ("google", {"runtime": "nodejs", "env": "flex", "entrypoint": START}, START),
        ("google", {"runtime": "custom", "entrypoint": START}, None),
        ("google", {"apiVersion": "v1", "kind": "Pod", "entrypoint": START}, None),
        ("cloud_foundry", {"applications": [{"name": "a", "command": START}]}, START),
        ("cloud_foundry", {"applications": [{"path": ".", "processes": [{"type": "web", "command": START}]}]}, START),
        ("cloud_foundry", {"applications": [{"path": "dist", "command": START}]}, None),
        ("cloud_foundry", {"applications": [{"docker": {"image": "x"}, "command": START}]}, None),
        ("cloud_foundry", {"applications": [{"command": START}, {"command": START}]}, None),
        ("cloud_foundry", {"applications": [{"command": "null"}]}, None),
        ("cloud_foundry", {"applications": None}, None),
        ("render", {"services": [{"type": "web", "runtime": "python", "startCommand": START}]}, START),
        ("render", {"services": [{"type": "web", "startCommand": START}, {"type": "worker"}]}, START),
        ("render", {"services": [{"type": "web", "startCommand": "a"}, {"type": "web", "startCommand": "b"}]}, None),
        ("render", {"services": [{"type": "web", "rootDir": "api", "startCommand": START}]}, None),
        ("render", {"services": [{"type": "web", "env": "docker", "startCommand": START}]}, None),
        ("digitalocean", {"services": [{"source_dir": "/", "run_command": START}]}, START),
        ("digitalocean", {"services": [{"source_dir": "api", "run_command": START}]}, None),
        ("digitalocean", {"services": [{"dockerfile_path": "Dockerfile", "run_command": START}]}, None),
        ("railway", {"build": {"builder": "NIXPACKS"}, "deploy": {"startCommand": START}}, START),
        ("railway", {"build": {"builder": "DOCKERFILE"}, "deploy": {"startCommand": START}}, None),
        ("railway", {"deploy": []}, None),
        ("nixpacks", {"start": {"cmd": START}}, START),
        ("nixpacks", {"start": START}, None),
    ],
)
def test_a_start_is_found_where_it_is_the_whole_apps(platforms, kind, found, command):
    assert getattr(platforms, f"of_{kind}")(found) == command


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (START, ""),
        ("npm run start:prod", ""),
        ("uvicorn main:app --port ${PORT:-8000} --timeout-keep-alive 120", ""),
        ("DATABASE=postgres://db/x node server.js", ""),
        ("uvicorn main:app --host 0.0.0.0 --port 10000", "it names the port 10000 itself"),
        ("gunicorn -b 0.0.0.0:8080 main:app", "it names the port 8080 itself"),
        ("next start -p 3000", "it names the port 3000 itself"),
        ("cd /opt/render/project && node .", "/opt/render is a folder of that platform"),
        ("node . --port $VCAP_APP_PORT", "$VCAP_APP_PORT is that platform's own"),
        ("one\ntwo", "it has several lines"),
    ],
)
def test_a_command_is_followed_only_where_it_would_start_the_same(platforms, command, told):
    assert platforms.why_not(command) == told


def test_the_first_file_that_names_a_start_becomes_the_procfile(platforms, tmp_path, capsys):
    files = {"railway.json": "{", "railpack.json": "{}", "nixpacks.toml": f"[start]\ncmd = '{START}'\n"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    platforms.main(tmp_path)
    assert (tmp_path / "Procfile").read_text() == f"# From nixpacks.toml (start.cmd)\nweb: {START}\n"
    assert capsys.readouterr().err == (
        f"-----> The start is that of nixpacks.toml (start.cmd), as there is no Procfile: {START}\n"
    )


def test_a_start_that_would_be_wrong_is_named_and_not_followed(platforms, tmp_path, capsys):
    (tmp_path / "railway.json").write_text(json.dumps({"deploy": {"startCommand": "next start -p 3000"}}))
    platforms.main(tmp_path)
    assert not (tmp_path / "Procfile").exists()
    assert "railway.json (deploy.startCommand) is not followed: it names the port 3000" in capsys.readouterr().err


def test_the_start_of_an_image_that_a_dockerfile_makes_is_not_this_apps(platforms, tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "railway.json").write_text(json.dumps({"deploy": {"startCommand": START}}))
    assert platforms.start(tmp_path) == ("", "", "")


@pytest.mark.parametrize(
    ("first", "command", "code"),
    [
        ("# From nixpacks.toml (start.cmd)", "cowsay hello", 1),
        ("# From nixpacks.toml (start.cmd)", "sh -c true", 0),
        ("# Ours", "cowsay hello", 0),
    ],
)
def test_a_start_alone_makes_an_app_only_where_its_program_is_there(tmp_path, first, command, code):
    (tmp_path / "Procfile").write_text(f"{first}\nweb: {command}\n")
    detect = LIBRARY.parents[4] / "buildpacks/procfile/bin/detect"
    assert subprocess.run(["bash", detect, tmp_path], capture_output=True, check=False).returncode == code
