"""An app of Cloud Native Buildpacks has the launcher's folders in front of whatever PATH its base has."""

from __future__ import annotations

import pytest

from buildfarm.oci.env import EnvChange, difference
from workers.buildpacks.build import Built
from workers.buildpacks.cnb import CnbBuild

BASE = ["HOME=/app", "PATH=/opt/base/bin:/usr/bin", "LANG=C.UTF-8"]


@pytest.fixture
def made():
    return Built((), config_vars={"CNB_APP_DIR": "/app"}, cnb=CnbBuild())


def test_the_path_of_the_base_comes_behind_the_launcher_s(made):
    variables = made.variables_on(BASE)
    assert variables["PATH"] == "/cnb/process:/cnb/lifecycle:/opt/base/bin:/usr/bin"
    assert variables["CNB_APP_DIR"] == "/app"
    image = [f"{name}={value}" for name, value in {**dict(line.split("=") for line in BASE), **variables}.items()]
    assert difference(BASE, image).path == "/cnb/process:/cnb/lifecycle"


def test_a_base_without_a_path_gets_the_usual_one(made):
    usual = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert made.variables_on(["A=1"])["PATH"] == f"/cnb/process:/cnb/lifecycle:{usual}"


def test_an_app_of_classic_buildpacks_sets_what_its_release_says():
    variables = Built((), config_vars={"PATH": "/app/bin:/bin"}).variables_on(BASE)
    assert variables == {"PATH": "/app/bin:/bin"}
    assert difference(["PATH=/usr/bin"], ["PATH=/app/bin:/bin"]) == EnvChange(set=(("PATH", "/app/bin:/bin"),))
