"""The local farm's Redis image as it is run elsewhere. `make verify-images` tries every database this way."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildfarm.settings import Settings
from localfarm import images as local
from localfarm.network import SERVICES
from localfarm.slim import Maker
from testkit.cluster.shell import run
from verify.images.conditions.databases import DATABASES
from verify.images.conditions.passwords import REFUSED, TELLING, places_of_password
from verify.images.conditions.server import HARDENED, PASSWORD, Images
from verify.images.conditions.starts import watch
from verify.images.conditions.users import OPENSHIFT, survives
from workers.engine import open_engine

REDIS = DATABASES[0]
MEMORY_MB = 200


class OneImage(Images):
    """The image that `buildfarm up` made, which has another name than a farm gives it."""

    def name(self, database, version="") -> str:
        assert not version
        return self.prefix


@pytest.fixture(scope="module")
def redis(services: Settings, tmp_path_factory) -> Iterator[Images]:
    client = open_engine(services.docker_url)
    try:
        base = local.ensure_base(client, services.docker_url, "", print)
        imager = local.ensure_image(client, local.IMAGER, base, say=print)
        maker = Maker(client, services, SERVICES, tmp_path_factory.mktemp("images"), imager)
        yield OneImage(local.ensure_slim(maker, local.REDIS, print))
    finally:
        client.close()


def test_a_user_that_the_image_does_not_know_and_a_password_with_signs(redis):
    options = (*HARDENED, f"--user={OPENSHIFT}", f"--memory={MEMORY_MB}m")
    with redis.server(REDIS, *options, secret=f"{TELLING}\r\nmore\n".encode(), password=TELLING) as server:
        assert server.ready(), server.log()
        assert server.refuses()
        assert places_of_password(server) == []
        assert server.ask("config get maxmemory").split()[-1] == str(MEMORY_MB * 1024 * 1024 // 4 * 3)
        assert survives(server)


def test_a_password_that_is_not_one_ends_the_start_by_name(redis):
    content, reason = REFUSED["UTF-16"]
    with redis.server(REDIS, *HARDENED, secret=content) as server:
        assert not server.ready()
        assert server.state()[1] == 64
        assert reason in server.said()


def test_a_first_start_that_is_killed_and_started_again_is_whole_and_never_open(redis):
    with redis.volume() as volume, redis.server(REDIS, f"--volume={volume}:/data") as server:
        time.sleep(0.02)  # any moment will do
        server.kill()
        server.start()
        _, let_in, early = watch(server)
        assert (let_in, early) == (0, 0)
        assert server.answers()
        assert server.refuses()


def test_a_backup_is_restored_on_an_empty_volume_and_nowhere_else(redis, tmp_path):
    folder: Path = tmp_path / "backup"
    folder.mkdir()
    folder.chmod(0o777)
    mounted = f"--volume={folder}:/backup"
    with redis.server(REDIS, mounted) as server:
        assert server.ready(), server.log()
        server.ask("set greeting hello")
        run(
            "docker", "exec", f"--env=REDISCLI_AUTH={server.password}", server.name, "redis-cli", "--rdb", "/backup/rdb"
        )
    with redis.volume() as volume:
        data = f"--volume={volume}:/data"
        with redis.server(
            REDIS, mounted, data, command=("--restore", "/backup/rdb"), secret=b"new", password="new"
        ) as server:
            assert server.ready(), server.log()
            assert server.ask("get greeting") == "hello"
            assert server.refuses(PASSWORD)
            server.stop()
            server.start()
            assert server.ready(), server.log()
            assert server.said("restored from /backup/rdb before")
        shutil.copyfile(folder / "rdb", folder / "another")
        (folder / "another").chmod(0o644)
        for backup, said in {
            "/backup/another": "needs an empty volume",
            "/backup/missing": "not a file",
            "backup/rdb": "an absolute path, not backup/rdb",
        }.items():
            with redis.server(REDIS, mounted, data, command=("--restore", backup)) as server:
                assert not server.ready()
                assert said in server.said()
