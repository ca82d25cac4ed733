"""The farm in a real Kubernetes 1.20: ``python -m verify.kube``, as root, with the farm up and its images made."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from pydantic import SecretStr

from buildfarm.errors import BuildfarmError
from buildfarm.farm import open_farm
from buildfarm.settings import read_settings
from localfarm.packages import ensure_packages
from testkit.cluster import services
from testkit.cluster.cluster import PROGRAMS, answers, cluster
from testkit.cluster.shell import run, wait
from testkit.table import Claims
from verify.kube import trials
from verify.kube.builds import Builds
from verify.kube.client import Client
from verify.kube.control import start_control_plane
from verify.kube.installation import IMAGES, NAMESPACE, Installation, service_images, write_values
from verify.kube.node import add_node, connect_pods

ROOT = Path(__file__).parents[2]
TRIALS = (
    trials.installed,
    trials.value_sets,
    trials.built,
    trials.deletion_cost,
    trials.drained,
    trials.killed,
    trials.upgraded,
    trials.scaled_in,
    trials.persistent,
    trials.own_services,
)


def main() -> None:
    if os.geteuid() != 0:
        sys.exit("Namespaces need root.")
    ensure_packages({**PROGRAMS, "etcd": "etcd-server", "curl": "curl", "openssl": "openssl"}, print)
    programs = Path(
        subprocess.run([ROOT / "tools/kubernetes"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    )
    claims = Claims("The farm in Kubernetes 1.20.2, two nodes")
    settings = read_settings().model_copy(
        update={
            "redis_url": SecretStr(services.redis_url()),
            "registry_url": services.registry_url(),
            "namespace": "buildfarm:",
            "signing": "",
        }
    )
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="buildfarm-kube.", dir="/var/tmp")))
        archive = folder / "images.tar"
        run("docker", "save", f"--output={archive}", *IMAGES, *service_images(), seconds=300)
        machines = stack.enter_context(cluster({}, own_services=True))
        farm = stack.enter_context(open_farm(settings))
        started = time.monotonic()
        control = machines.add()
        config = start_control_plane(control, programs)
        seconds = time.monotonic() - started
        nodes = [add_node(machines, programs, config) for _ in range(2)]
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda node: node.load(archive, IMAGES[0]), nodes))
        archive.unlink()
        connect_pods(nodes)
        for node in nodes:
            node.join()
        wait(lambda: answers(farm), "Redis and the registry do not answer")
        values = folder / "values.yaml"
        write_values(values, settings, control.number)
        installation = Installation(Client(config, NAMESPACE), farm, nodes, Builds(farm, folder), values)
        joined = trials.prepare_hosts(installation, nodes)
        version = installation.client.kubectl("version", "--output=json")
        claims.add(
            "Kubernetes 1.20.2 with two nodes",
            f"API ready after {seconds:.0f} s, both nodes {joined:.0f} s after their kubelets began",
            '"gitVersion": "v1.20.2"' in version,
        )
        for trial in TRIALS:
            try:
                trial(claims, installation)
            except (RuntimeError, TimeoutError, BuildfarmError) as error:
                print(installation.describe(), file=sys.stderr)
                claims.add(trial.__name__, str(error)[-300:], False)
    claims.finish()


if __name__ == "__main__":
    main()
