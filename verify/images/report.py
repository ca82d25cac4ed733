"""``make images-report``: the sizes of the farm's database images beside the usual install, all made in one run."""

from __future__ import annotations

import docker

from buildfarm.farm import open_farm
from buildfarm.settings import read_settings
from localfarm.packages import ensure_packages
from testkit.table import Claims
from verify.images.builds import PROGRAMS, build_images, size_mb, usual_install

SEED_MB = 14.0  # the seed's Redis, uncompressed
# image, version: MB uncompressed, MB compressed
BARS = {
    ("redis", "7.0-static"): (8.0, 3.7),
    ("redis", "6.0"): (20.0, 8.0),
    ("redis", "7.0"): (20.0, 8.0),
    ("redis", "8.0"): (20.0, 8.0),
    ("valkey", "8.1"): (22.0, None),
    ("postgresql", "13"): (60.0, 36.0),  # of 90: the aim for one whose ICU data is trimmed
    ("postgresql", "15"): (60.0, 36.0),
    ("postgresql", "17"): (60.0, 36.0),
    ("mysql", "10.5"): (60.0, 20.0),
    ("mysql", "10.11"): (60.0, 20.0),
    ("mysql", "11.8"): (60.0, 20.0),
}
# image and version, the package that is usually installed, how many times smaller ours must be
RATIOS = (
    ("redis", "7.0-static", "redis-server", 10.0),
    ("redis", "7.0", "redis-server", 10.0),
    ("mysql", "10.11", "mariadb-server", 8.0),
    ("postgresql", "15", "postgresql", 5.0),
)


def main() -> None:
    claims = Claims("Sizes of database images")
    ensure_packages(PROGRAMS, print)
    settings = read_settings()
    client = docker.DockerClient(base_url=settings.docker_url)
    sizes: dict[tuple[str, str], float] = {}
    with open_farm(settings) as farm:
        for (name, version), built in build_images(farm, BARS).items():
            uncompressed, compressed = BARS[name, version]
            ours, packed = built.sizes
            sizes[name, version] = ours
            bar = f"{uncompressed:g} MB" + (f" / {compressed:g} MB compressed" if compressed else "")
            held = built.result is not None and ours <= uncompressed and (compressed is None or packed <= compressed)
            claims.add(f"{name} {version} at most {bar}", built.told[:90] or f"{ours:.2f} / {packed:.2f} MB", held)
        held = 0 < sizes["redis", "7.0-static"] < SEED_MB
        claims.add(f"Redis beats the seed's {SEED_MB:g} MB", f"{sizes['redis', '7.0-static']:.2f} MB", held)
    usual: dict[str, float] = {}
    for name, version, package, times in RATIOS:
        if package not in usual:
            usual[package] = size_mb(client, usual_install(client, package))
        ratio = usual[package] / sizes[name, version] if sizes[name, version] else 0.0
        figure = f"{usual[package]:.0f} MB to {sizes[name, version]:.2f} MB: {ratio:.1f}x"
        claims.add(f"{name} {version} {times:g}x smaller than apt-get install {package}", figure, ratio >= times)
    claims.finish()


if __name__ == "__main__":
    main()
