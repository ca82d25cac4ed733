"""PostgreSQL's image with the ICU data that it has and with all of it: whether PostgreSQL behaves differently."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

import docker
from docker.types import Mount

from buildfarm.recipes.plan import SlimPlan
from testkit.table import Claims

QUESTIONS = Path(__file__).parent
LINES_MIN = 1500  # of an answer: each locale's name, its order and case, and the encodings
ENCODINGS = (
    "euc_jp euc_cn euc_kr euc_tw latin1 latin2 latin3 latin4 latin5 latin6 latin7 latin8 latin9 latin10"
    " iso_8859_5 iso_8859_6 iso_8859_7 iso_8859_8 koi8r koi8u win866 win874"
    " win1250 win1251 win1252 win1253 win1254 win1255 win1256 win1257 win1258"
)
# Errors are part of the answer: what the whole data cannot do, the image need not do either.
ASK = f"""
set -eu
export PGDATA=/data/icu PGHOST=/tmp PGUSER=postgres PGDATABASE=postgres
initdb --auth=trust --encoding=UTF8 --locale=C.UTF-8 --username=postgres >/dev/null
pg_ctl --wait --silent --log=/tmp/log -o "-c unix_socket_directories=/tmp -c listen_addresses= -c fsync=off" start
psql --file=/questions/icu.sql 2>&1
for encoding in {ENCODINGS}; do
  psql --quiet --command="create database one encoding '$encoding' locale 'C' template template0" 2>&1
  psql --dbname=one --file=/questions/icu_encoding.sql 2>&1
  psql --quiet --command="drop database one" 2>&1
done
"""


def same_answers(
    claims: Claims, client: docker.DockerClient, image: str, plan: SlimPlan, packages: Iterable[str]
) -> None:
    """Adds a claim: what is asked of ICU through PostgreSQL is answered as by the distribution's own data."""
    package = next(name for name in packages if name.startswith("libicu")).partition("=")[0]
    with tempfile.TemporaryDirectory() as folder:
        data = whole_data(plan.suite, package, Path(folder))
        ours, whole = answer(client, image), answer(client, image, data)
    differing = [pair for pair in zip(ours, whole, strict=False) if pair[0] != pair[1]]
    held = not differing and len(ours) == len(whole) >= LINES_MIN
    figure = f"{len(ours)} answers, {len(differing)} differ {differing[:1] or ''}"
    claims.add(f"postgresql {plan.version} answers as with all of ICU's data", figure[:150], held)


def whole_data(suite: str, package: str, folder: Path) -> Path:
    """The library as the distribution has it."""
    root = folder / "root"
    extract = ["mmdebstrap", "--quiet", "--mode=chrootless", "--variant=extract", f"--include={package}", suite]
    subprocess.run([*extract, str(root)], check=True, capture_output=True)
    found = [path for path in sorted(root.glob("usr/lib/*/libicudata.so.*")) if not path.is_symlink()]
    return found[0]


def answer(client: docker.DockerClient, image: str, data: Path | None = None) -> list[str]:
    """What the image's PostgreSQL prints, line by line; ``data`` stands in for its own ICU data."""
    mounts = [Mount("/questions", str(QUESTIONS), type="bind", read_only=True)]
    if data is not None:
        inside = f"/usr/lib/{data.parent.name}/{'.'.join(data.name.split('.')[:3])}"  # by its soname
        mounts.append(Mount(inside, str(data), type="bind", read_only=True))
    printed = client.containers.run(
        image, ["-c", ASK], entrypoint=["sh"], mounts=mounts, network_disabled=True, tmpfs={"/tmp": ""}, remove=True
    )
    return printed.decode(errors="replace").splitlines()
