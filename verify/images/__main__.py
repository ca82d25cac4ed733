"""``make verify-images``: what the database images do in real containers, and that they are the same on two engines."""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import docker
from docker.models.containers import Container
from docker.types import Mount

from buildfarm.farm import Farm, open_farm
from buildfarm.recipes.folder import CHECKOUT_RECIPES as RECIPES
from buildfarm.recipes.folder import find_recipes
from buildfarm.recipes.plan import SlimPlan
from buildfarm.releases.builder import check_builder
from buildfarm.settings import Settings, read_settings
from localfarm.packages import ensure_packages
from testkit import second_engine
from testkit.table import Claims
from verify.images.beside import mongodb_server, neighbours, sizes
from verify.images.builds import PROGRAMS, Built, build_image, build_images, plan, usual_install
from verify.images.icu import same_answers
from verify.images.notify import tells_manager
from workers.image_builds.smoke import SERVER, Server, SmokeTests

VERSIONS = (
    ("redis", "6.0"),
    ("redis", "7.0"),
    ("redis", "7.0-static"),
    ("redis", "8.0"),
    ("valkey", "8.1"),
    ("postgresql", "13"),
    ("postgresql", "15"),
    ("postgresql", "17"),
    ("mysql", "10.5"),
    ("mysql", "10.11"),
    ("mysql", "11.8"),
    ("registry", "trixie"),
)
# The farm's own, built by an engine; they need a farm to start
TOOLS = (("imager", "trixie"), ("api", "trixie"), ("worker", "trixie"), ("engine", "trixie"), ("builder", "trixie"))
ARCHIVES = (("mongodb", "5.0"), ("elasticsearch", "8.15"))
TLS = (("redis", "6.0"), ("redis", "7.0"), ("redis", "7.0-static"), ("redis", "8.0"), ("valkey", "8.1"))
SPEED = (("redis", "7.0"), ("redis", "7.0-static"))  # beside the stock programs of the same version
READY_SECONDS = 10.0
STOP_SECONDS = 10.0
ROUNDS = 15
SLOWER_MAX = 0.10
REQUESTS = 200_000
STOCK = "verify-stock"
NO_FILES = ["--appendonly", "no", "--save", ""]
MEMORY_BYTES = 1024 * 1024 * 1024


def main() -> None:
    claims = Claims("Database images")
    ensure_packages({**PROGRAMS, **second_engine.PROGRAMS, "openssl": "openssl"}, print)
    settings = read_settings()
    client = docker.DockerClient(base_url=settings.docker_url)
    with open_farm(settings) as farm:
        built = build_images(farm, VERSIONS)
        for (name, version), each in built.items():
            behaviour(claims, name, version, each)
        sizes(claims, built)
        for (name, version), each in build_images(farm, TOOLS).items():
            tools(claims, name, version, each)
        promotable(claims, farm)
        images = {key: pulled(client, farm, each) for key, each in built.items() if each.result}
        for key in TLS:
            if key in images:
                encrypted(claims, client, images[key], *key)
        for key, image in images.items():
            told = plan(*key)
            if key[0] == "postgresql":
                same_answers(claims, client, image, told, built[key].packages)
            if key[0] != "registry" and key[1] != "7.0-static":
                tells_manager(claims, told, partial(running, client, told, image))
        speed(claims, client, {key: images[key] for key in SPEED if key in images})
        refusals(claims, farm)
        for name, version in ARCHIVES:
            archive(claims, farm, name, version)
        mongodb_server(claims, farm)
        neighbours(claims, farm)
        same_on_two_engines(
            claims, settings, {key: str(each.result.digest) for key, each in built.items() if each.result}
        )
    claims.finish()


def behaviour(claims: Claims, name: str, version: str, built: Built) -> None:
    """What the build's own smoke test showed; it fails the build where a step does."""
    steps = [line.partition("smoke: ")[2] for line in built.log if "smoke: " in line]
    ready = [float(found[1]) for step in steps if (found := re.match(r"healthy after (\S+) s", step))]
    stopped = [float(found[1]) for step in steps if (found := re.search(r"ends it within (\S+) s", step))]
    held = built.result is not None and ready[0] <= READY_SECONDS and stopped[0] <= STOP_SECONDS
    figure = built.told or f"healthy in {ready[0]:.1f} s, stopped in {stopped[0]:.1f} s, {len(steps)} steps"
    claims.add(f"{name} {version} works: password, by name, restart, kill -9, features", figure[:110], held)


def tools(claims: Claims, name: str, version: str, built: Built) -> None:
    """What the build showed of an image that is not a server: it ran whatever it must have."""
    steps = [line.partition("smoke: ")[2] for line in built.log if "smoke: " in line]
    seconds = sum(built.result.phase_seconds.values()) if built.result else 0
    sizes = " / ".join(f"{size:.1f}" for size in built.sizes)
    figure = built.told or f"{sizes} MB, {seconds:.0f} s; {', '.join(steps)}"
    claims.add(f"{name} {version} has what it needs", figure[:150], built.result is not None and bool(steps))


def promotable(claims: Claims, farm: Farm) -> None:
    """What the farm built as its builder may become it."""
    found = check_builder(farm.registry, "images/builder:trixie")
    claims.add("the builder that the farm built can be promoted", found[:60], found.startswith("images/builder@"))


def pulled(client: docker.DockerClient, farm: Farm, built: Built) -> str:
    """The image on this machine's engine, from the registry."""
    reference = farm.image(built.build)
    client.images.pull(reference)
    return reference


def encrypted(claims: Claims, client: docker.DockerClient, image: str, name: str, version: str) -> None:
    """The server's certificate is checked by the image's own client, in another container; a stranger's is refused."""
    cli = f"{name}-cli"
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        folder.chmod(0o755)
        for owner in ("server", "stranger"):
            certificate(folder, owner)
        options = ["--tls-port", "6380", "--tls-cert-file", "/given/server.crt", "--tls-key-file", "/given/server.key",
                   "--tls-ca-cert-file", "/given/server.crt", "--tls-auth-clients", "no"]  # fmt: skip
        with running(client, plan(name, version), image, folder, options) as server:
            answers = []
            for trusted in ("server", "stranger"):
                pem = (folder / f"{trusted}.crt").read_text()
                command = [
                    "sh",
                    "-c",
                    f'echo "$PEM" >/tmp/ca && exec {cli} --tls --cacert /tmp/ca -h {SERVER} -p 6380 ping',
                ]
                variables = {"PEM": pem, "REDISCLI_AUTH": server.password}
                answers.append(smokes(client).run_client(image, server, "verify", tuple(command), variables)[1])
    held = answers[0] == "PONG" and "certificate verify failed" in answers[1]
    claims.add(
        f"{name} {version} speaks TLS, and its client refuses a stranger's certificate",
        f"{answers[0]}; {answers[1][-60:]}",
        held,
    )


def certificate(folder: Path, owner: str) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={SERVER}",
               "-addext", f"subjectAltName=DNS:{SERVER}",
               "-keyout", str(folder / f"{owner}.key"), "-out", str(folder / f"{owner}.crt")]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    (folder / f"{owner}.key").chmod(0o444)


def speed(claims: Claims, client: docker.DockerClient, images: dict[tuple[str, str], str]) -> None:
    """Requests a second of our images and of the usual install, turn by turn, from one benchmark program.

    They write no file: programs are compared, and not what a disk does meanwhile.
    """
    usual = usual_install(client, "redis-server")
    rates: dict[str, list[float]] = {}
    with ExitStack() as undo:
        hosts: dict[str, tuple[str, str]] = {}  # its address and its password
        networks = []
        for (name, version), image in images.items():
            folder = Path(undo.enter_context(tempfile.TemporaryDirectory()))
            ours = undo.enter_context(
                running(client, plan(name, version), image, folder, NO_FILES, name=f"verify-{version}")
            )
            hosts[version] = str(ours.container.name), ours.password
            networks.append(client.networks.get(ours.network))
        command = ["redis-server", "--bind", "*", "--requirepass", STOCK, *NO_FILES]
        limits: dict[str, Any] = {"detach": True, "network": networks[0].name, "mem_limit": MEMORY_BYTES}
        stock = client.containers.run(usual, command, name=STOCK, **limits)
        undo.callback(stock.remove, force=True)
        hosts["stock"] = STOCK, STOCK
        asker = client.containers.run(usual, ["sleep", "infinity"], **limits)
        undo.callback(asker.remove, force=True)
        for network in networks[1:]:
            network.connect(asker)
        for number in range(ROUNDS + 1):
            for which, (host, password) in hosts.items():
                for test, rate in benchmark(asker, host, password).items():
                    if number:  # the first round warms all up
                        rates.setdefault(f"{which} {test}", []).append(rate)
    for _, version in images:
        for test in ("SET", "GET"):
            ours_rate, stock_rate = (statistics.median(rates[f"{which} {test}"]) for which in (version, "stock"))
            middle = ours_rate / stock_rate
            figure = f"{middle:.2f}: medians of {ROUNDS} rounds, {ours_rate:,.0f} and {stock_rate:,.0f} a second"
            claims.add(f"redis {version}, {test}: within 10 % of the stock programs", figure, middle >= 1 - SLOWER_MAX)


def benchmark(asker: Container, host: str, password: str) -> dict[str, float]:
    command = ["redis-benchmark", "-h", host, "-a", password, "-P", "16", "-n", str(REQUESTS), "-t", "set,get", "--csv"]
    printed = str(asker.exec_run(command).output, errors="replace")  # type: ignore[arg-type]
    return {name: float(rate) for name, rate in re.findall(r'^"(SET|GET)","([0-9.]+)"', printed, re.MULTILINE)}


def refusals(claims: Claims, farm: Farm) -> None:
    """Recipes that cannot be: each fails with its reason, and nothing is tagged."""
    recipe = find_recipes(RECIPES)["redis"]
    for what, old, new, reason in (
        ("over its budget", "uncompressed_mb = 20", "uncompressed_mb = 2", "over its budget: 12"),
        ("whose smoke test fails", 'prints = "^OK$"', 'prints = "^KO$"', "fails its smoke test at"),
        ("with a program that is not there", "/usr/bin/redis-cli", "/usr/bin/redis-clip", "is in none of the packages"),
    ):
        with tempfile.TemporaryDirectory() as text:
            folder = Path(text) / "redis"
            shutil.copytree(recipe, folder)
            content = (folder / "recipe.toml").read_text()
            content = content.replace('name = "redis"', 'name = "refused"').replace(old, new)
            (folder / "recipe.toml").write_text(content)
            built = build_image(farm, "refused", "7.0", folder=folder)
        untagged = not farm.registry.has_manifest("images/refused", "7.0")
        claims.add(f"an image {what} is refused", built.told[:100], reason in built.told and untagged)


def archive(claims: Claims, farm: Farm, name: str, version: str) -> None:
    """The vendor's own archive, where it can be had."""
    built = build_image(farm, name, version)
    if built.result:
        behaviour(claims, name, version, built)
    else:
        print(f"not run: {name} {version}: {built.told}")


def same_on_two_engines(claims: Claims, settings: Settings, first: dict[tuple[str, str], str]) -> None:
    """The only node of its own farm, on another engine, makes the same images."""
    own = settings.model_copy(update={"namespace": "verify-images:"})
    with open_farm(own) as farm, second_engine.second_engine(farm) as second:
        for name, version in (("redis", "7.0"), ("redis", "7.0-static"), ("postgresql", "15"), ("mysql", "10.11")):
            built = build_image(farm, name, version)
            digest = str(built.result.digest) if built.result else built.told
            held = digest == first.get((name, version)) and built.build.node == second.id
            claims.add(f"{name} {version} is the same on a second engine", f"{digest[:26]} on {built.build.node}", held)


def smokes(client: docker.DockerClient) -> SmokeTests:
    return SmokeTests(client, "verify", MEMORY_BYTES, 512)


@contextmanager
def running(
    client: docker.DockerClient,
    made: SlimPlan,
    image: str,
    folder: Path,
    command: list[str],
    *,
    environment: dict[str, str] | None = None,
    name: str = "verify",
) -> Iterator[Server]:
    """A server of this image that answers; ``folder`` is /given in it."""
    mounts = [Mount("/given", str(folder), type="bind", read_only=True)]
    with smokes(client).server(
        made, image, name, folder, command=command, mounts=mounts, environment=environment
    ) as server:
        server.container.start()
        for _ in range(300):
            server.container.reload()
            if server.container.attrs["State"]["Health"]["Status"] == "healthy":
                break
            subprocess.run(["sleep", "0.1"], check=True)
        yield server


if __name__ == "__main__":
    main()
