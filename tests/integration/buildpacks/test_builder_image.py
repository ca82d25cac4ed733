"""The builder image: every tool of the list runs, and C programs are compiled, linked and run against each library."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from buildfarm.oci.manifest import ImageConfig, Manifest
from localfarm.images import SUITE

BUILDER = Path(__file__).parents[3] / "images/builder"

TOOLS = """
gcc --version, g++ --version, make --version, autoconf --version, automake --version, libtoolize --version,
pkg-config --version, bison --version, flex --version, msgfmt --version, patch --version, curl --version, wget
--version, git --version, ssh -V, openssl version, telnet --version, nc -h, rsync --version, file --version,
less --version, ps --version, jq --version, zip -v, unzip -v, xz --version, node --version, npm --version, npx
--version, ruby --version, bundle --version, gem --version, perl --version, cpanm --version, python3 --version,
pip3 --version, java -version, javac -version, mvn --version, php --version, php-cgi --version, composer
--version, lighttpd -v, convert -version, identify -version, mysql --version, mysqldump --version, psql
--version, pg_dump --version, redis-cli --version, mongosh --version
""".replace("\n", " ").split(", ")

HEADERS = """
#include <stdio.h>
#include <curl/curl.h>
#include <hiredis/hiredis.h>
#include <libpq-fe.h>
#include <mongoc/mongoc.h>
#include <mysql.h>
#include <openssl/ssl.h>
#include <sqlite3.h>
#include <zlib.h>
"""

# Each says its version and tries to reach a server that is not there: the library's own code runs.
PROGRAMS = {
    "libpq": ("-lpq -I/usr/include/postgresql", """PGconn *c = PQconnectdb("host=127.0.0.1 port=1 connect_timeout=1");
        printf("%d %d", PQlibVersion() > 100000, PQstatus(c) == CONNECTION_BAD); PQfinish(c);""", "1 1"),
    "mysql": ("$(mysql_config --cflags --libs)", """MYSQL *c = mysql_init(NULL);
        printf("%d %d", mysql_get_client_version() > 10000,
               mysql_real_connect(c, "127.0.0.1", "u", "p", "d", 1, NULL, 0) == NULL); mysql_close(c);""", "1 1"),
    "hiredis": ("$(pkg-config --cflags --libs hiredis)", """redisContext *c = redisConnect("127.0.0.1", 1);
        printf("%d", c->err != 0); redisFree(c);""", "1"),
    "mongoc": ("$(pkg-config --cflags --libs libmongoc-1.0)", """mongoc_init();
        mongoc_client_t *c = mongoc_client_new("mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=200"); bson_error_t e;
        bson_t *b = BCON_NEW("ping", BCON_INT32(1));
        printf("%d", mongoc_client_command_simple(c, "admin", b, NULL, NULL, &e)); bson_destroy(b);
        mongoc_client_destroy(c); mongoc_cleanup();""", "0"),
    "curl": ("-lcurl", 'printf("%d", curl_version_info(CURLVERSION_NOW)->version_num > 0x070000);', "1"),
    "openssl": ("-lssl -lcrypto", 'SSL_CTX *c = SSL_CTX_new(TLS_method()); printf("%d", c != NULL);', "1"),
    "sqlite": ("-lsqlite3", 'sqlite3 *d; printf("%d", sqlite3_open(":memory:", &d)); sqlite3_close(d);', "0"),
    "zlib": ("-lz", 'printf("%lu", crc32(0, (const unsigned char *)"a", 1));', "3904355907"),
}  # fmt: skip


@pytest.fixture(scope="module")
def run_in_builder(services):
    """``run(script)`` in one container of the builder, as the user that apps have."""
    host = services.registry_url.partition("://")[2]
    image = f"{host}/{services.builder}"
    start = ["docker", "run", "--detach", "--entrypoint", "sleep", "--network=none", image, "infinity"]
    container = subprocess.run(start, check=True, capture_output=True, text=True).stdout.strip()

    def run(script):
        command = ["docker", "exec", "--workdir", "/tmp", container, "bash", "-c", script]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    yield run
    subprocess.run(["docker", "rm", "--force", "--volumes", container], check=True, capture_output=True)


def test_every_tool_runs(run_in_builder):
    script = "\n".join(f'{tool} </dev/null >/tmp/told 2>&1 || echo "{tool}: $(tail -1 /tmp/told)"' for tool in TOOLS)
    assert run_in_builder(script).stdout == ""


def test_what_is_written_down_of_php_is_what_it_says(run_in_builder):
    done = run_in_builder("diff /usr/lib/buildfarm/php.txt <(/buildpacks/php/bin/facts)")
    assert (done.stdout, done.stderr) == ("", "")


def test_imagemagick_makes_a_picture(run_in_builder):
    done = run_in_builder("convert -size 8x8 xc:red /tmp/a.png && identify -format '%m %wx%h' /tmp/a.png")
    assert done.stdout == "PNG 8x8", done.stderr


def test_a_native_module_of_node_compiles_with_the_builders_headers_alone(run_in_builder):
    script = """mkdir addon && cd addon
        echo '{ "targets": [{ "target_name": "a", "sources": ["a.c"] }] }' >binding.gyp
        echo '#include <node_api.h>
        NAPI_MODULE_INIT() { napi_value text; napi_create_string_utf8(env, "hello", 5, &text); return text; }' >a.c
        gyp=/usr/local/lib/node_modules/npm/node_modules/node-gyp/bin/node-gyp.js
        node $gyp rebuild --nodedir=/usr/local >log 2>&1
        node --print 'require("./build/Release/a.node")' || cat log"""
    assert run_in_builder(script).stdout == "hello\n"


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_is_compiled_linked_and_run_against_a_library(run_in_builder, name):
    flags, body, expected = PROGRAMS[name]
    wanted = {"curl": "curl/", "libpq": "libpq-fe", "hiredis": "hiredis/", "mongoc": "mongoc/", "mysql": "mysql.h",
              "openssl": "openssl/", "sqlite": "sqlite3", "zlib": "zlib.h"}[name]  # fmt: skip
    includes = "\n".join(line for line in HEADERS.splitlines() if wanted in line or "stdio" in line)
    source = f"{includes}\nint main(void) {{ {body} return 0; }}\n"
    done = run_in_builder(f"cat >{name}.c <<'C'\n{source}C\ngcc -Wall -o {name} {name}.c {flags} && ./{name}")
    assert (done.stdout, done.returncode) == (expected, 0), done.stderr


def test_the_installed_packages_are_those_of_the_committed_list(run_in_builder, distribution):
    """By name: versions move with the distribution's security updates, and `make builder-packages` after them."""
    if distribution["VERSION_CODENAME"] != SUITE:
        pytest.skip(f"the list is of {SUITE}, and the builder is of {distribution['VERSION_CODENAME']}")
    found = run_in_builder("dpkg-query -W -f '${Package}\\n'").stdout.split()
    listed = [line.split()[0] for line in (BUILDER / "installed.txt").read_text().splitlines() if line[:1] != "#"]
    assert found == listed


def test_every_package_of_the_list_says_why():
    for line in (BUILDER / "packages.txt").read_text().splitlines():
        name, _, reason = line.partition("#")
        assert reason.strip(), f"{name} has no reason"


def test_the_image_keeps_to_its_size(built):
    """At most 400 MB compressed; what it is uncompressed, `make verify-buildpacks` measures."""
    repository, _, digest = built.farm.settings.builder.partition("@")
    media_type, content, _ = built.farm.registry.get_manifest(repository, digest)
    manifest = Manifest.parse(content, media_type)
    assert sum(layer.size for layer in manifest.layers) <= 400_000_000
    runtime = ImageConfig.parse(built.farm.registry.read_blob(repository, manifest.config.digest)).runtime
    assert (runtime["User"], runtime["Entrypoint"]) == ("1000:1000", ["/start"])


def test_the_labels_say_what_it_stands_on(built, distribution):
    repository, _, digest = built.farm.settings.builder.partition("@")
    media_type, content, _ = built.farm.registry.get_manifest(repository, digest)
    config = Manifest.parse(content, media_type).config.digest
    labels = ImageConfig.parse(built.farm.registry.read_blob(repository, config)).runtime["Labels"]
    assert labels["io.buildpacks.base.distro.name"] == distribution["ID"]
    assert labels["io.buildpacks.base.distro.version"] == distribution["VERSION_ID"]
    assert labels["io.buildpacks.stack.id"] == f"buildfarm.{distribution['VERSION_CODENAME']}"
