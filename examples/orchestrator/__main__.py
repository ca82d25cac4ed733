"""Runs apps of the farm: ``python -m examples.orchestrator run shop/web=9001 shop/api=9002``."""

import argparse
import logging
import os
from pathlib import Path

import docker
import httpx

from buildfarm.client import Client
from buildfarm.oci.signatures.keys import PublicKey
from examples.orchestrator.containers import Containers
from examples.orchestrator.front import Front
from examples.orchestrator.orchestrator import Orchestrator
from examples.orchestrator.webhooks import receiver


def main() -> None:
    """Runs until it is interrupted, and leaves the apps running; ``down`` ends them."""
    options = _options()
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    containers = Containers(docker.from_env(), options.name, options.registry)
    front = Front(options.folder.resolve())
    if options.action == "down":
        for container in containers.all():
            containers.end(container, remove=True)
        front.stop()
        return
    ports = {app: int(port) for app, port in (text.split("=") for text in options.apps)}
    with Client(os.environ["BUILDFARM_URL"], os.environ["BUILDFARM_TOKEN"]) as farm:
        keys = [PublicKey.parse(path.read_bytes()) for path in options.verify_key]
        orchestrator = Orchestrator(farm, containers, front, ports, options.patience_seconds, keys)
        secrets = [_subscribe(tenant, options.port) for tenant in {app.split("/")[0] for app in ports}]
        with receiver(options.port, secrets, orchestrator.woken.put):
            orchestrator.run()


def _subscribe(tenant: str, port: int) -> str:
    """Makes the farm send a tenant's webhooks here. The secret is a new one each time, so that none must be kept."""
    hook = {"url": f"http://127.0.0.1:{port}/", "rotate": True}
    headers = {"Authorization": f"Bearer {os.environ['BUILDFARM_TOKEN']}"}
    url = f"{os.environ['BUILDFARM_URL']}/v1/webhook?tenant={tenant}"
    return str(httpx.put(url, json=hook, headers=headers, trust_env=False).raise_for_status().json()["secret"])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="orchestrator", description=__doc__)
    parser.add_argument("action", choices=("run", "down"))
    parser.add_argument("apps", nargs="*", metavar="TENANT/APP=PORT", help="where the app is always found")
    parser.add_argument("--name", default="orchestrator", help="on its containers and in its reports")
    parser.add_argument("--registry", default="127.0.0.1:5050", help="the farm's, as the Docker engine reaches it")
    parser.add_argument("--folder", type=Path, default=Path("orchestrator"), help="for the files of nginx")
    parser.add_argument("--port", type=int, default=9000, help="of this machine, for webhooks")
    parser.add_argument("--patience-seconds", type=float, default=20.0, help="for a new container's first good answer")
    parser.add_argument(
        "--verify-key", type=Path, action="append", default=[], metavar="FILE",
        help="public key in PEM form; start only images that it, or another one that is named, has signed",
    )  # fmt: skip
    return parser.parse_args()


if __name__ == "__main__":
    main()
