"""What is promised of the farm on Kubernetes, each tried on a cluster whose farm is ready."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from buildfarm.model import Build, State
from testkit.chart.manifests import CHART, VALUE_SETS
from testkit.cluster.shell import run, wait
from testkit.table import Claims
from verify.kube.builds import outcome
from verify.kube.client import is_ready
from verify.kube.control import LOST_AFTER_SECONDS
from verify.kube.installation import LABEL, STORAGE_CLASS, TOLERATION, WORKERS, Installation, service_images
from verify.kube.node import Node
from workers.upkeep.pod import ANNOTATION

_COST_SECONDS = 4  # a worker looks every 2 s
_DRAIN = ("--ignore-daemonsets", "--delete-emptydir-data")
_WORKERS_ONLY = "--pod-selector=app.kubernetes.io/component=worker"
# Custom resources need the definitions of their operators, which are not in this cluster.
_NO_OPERATORS = (
    "--set",
    "monitoring.podMonitor.enabled=false,monitoring.serviceMonitor.enabled=false,monitoring.rules.enabled=false",
    "--set",
    "autoscaling.keda.enabled=false",
)


def value_sets(claims: Claims, farm: Installation) -> None:
    """The API server judges every manifest of every value set."""
    refused = []
    for values in VALUE_SETS:
        try:
            farm.client.helm("install", "trial", CHART, "--dry-run=server", f"--values={values}", *_NO_OPERATORS)
        except RuntimeError as error:
            refused.append(f"{values.name}: {str(error)[-200:]}")
    figure = "; ".join(refused) or f"{len(VALUE_SETS)} sets, none refused"
    claims.add("the API server takes the chart's value sets", figure, not refused)


def installed(claims: Claims, farm: Installation) -> None:
    started = time.monotonic()
    try:
        farm.install()
    except RuntimeError as error:
        raise SystemExit(f"{error}\n{farm.describe()}") from error
    seconds = time.monotonic() - started
    image = f"{farm.farm.registry.host}/{farm.farm.builder()}"
    ready, warm = farm.ready_workers(), 0
    for pod in ready:
        ask = ("exec", pod, "--container=engine", "--", "docker", "image", "inspect", image)
        warm += bool(farm.client.kubectl(*ask, check=False).strip().removeprefix("[]"))
    apis = sum(is_ready(pod) for pod in farm.client.pods("api"))
    accepting = sum(node.accepting for node in farm.farm.nodes())
    figure = f"{seconds:.0f} s: {len(ready)} workers, {warm} engines with the builder, {accepting} nodes; {apis} APIs"
    claims.add(
        "helm upgrade --install --wait ends when the farm is ready",
        figure,
        (len(ready), warm, accepting, apis) == (2,) * 4,
    )


def built(claims: Claims, farm: Installation) -> None:
    """A build by the command line, over the API's Service."""
    made = farm.client.kubectl(
        "exec", "deploy/farm-buildfarm-api", "--", "buildfarm", "tokens", "make", "--tenant", "kube", "--json"
    )
    address = farm.client.get("service", "farm-buildfarm-api")["spec"]["clusterIP"]
    variables = (f"BUILDFARM_URL=http://{address}", f"BUILDFARM_TOKEN={json.loads(made)['token']}")
    command = (
        str(Path(sys.executable).with_name("buildfarm")),
        "build",
        farm.builds.app(0),
        "--app",
        "kube/first",
        "--json",
    )
    # From a host of the cluster: its kube-proxy leads the Service's address to a pod.
    printed = run(*farm.nodes[0].machine.inside(), "env", *variables, *command, seconds=240)
    build = Build.model_validate_json(printed)
    figure = f"{build.state} on {build.node}; {build.result.digest if build.result else build.failure}"
    claims.add("a build runs through it, by the API's Service", figure, build.state is State.SUCCEEDED)


def deletion_cost(claims: Claims, farm: Installation) -> None:
    build_id = farm.builds.submit(10)
    busy = farm.builds.begun(build_id).node
    during = _costs_when(farm, lambda costs: costs.get(str(busy)) == 11)
    farm.builds.ended(build_id)
    after = _costs_when(farm, lambda costs: set(costs.values()) == {0})
    idle = [cost for pod, cost in during.items() if pod != busy]
    holds = during.get(str(busy)) == 11 and idle == [0] and set(after.values()) == {0}
    figure = f"busy {during.get(str(busy))}, idle {idle}; afterwards {sorted(map(str, after.values()))}"
    claims.add("a worker keeps its pod's deletion cost up", figure, holds)
    may = {
        f"{verb} {what}": farm.client.allows(WORKERS, verb, what)
        for verb, what in (("patch", "pods/status"), ("patch", "pods"), ("get", "secrets"), ("create", "pods"))
    }
    figure = ", ".join(f"{what}: {'yes' if allowed else 'no'}" for what, allowed in may.items())
    claims.add("its token allows nothing else", figure, list(may.values()) == [True, False, False, False])


def _costs_when(farm: Installation, check: Callable[[dict[str, int | None]], bool]) -> dict[str, int | None]:
    """What the pods' deletion costs as soon as it is so, or when it should be."""
    with suppress(TimeoutError):
        wait(lambda: check(_costs(farm)), "", _COST_SECONDS)
    return _costs(farm)


def _costs(farm: Installation) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for pod in farm.client.pods("worker"):
        cost = pod["metadata"].get("annotations", {}).get(ANNOTATION)
        found[pod["metadata"]["name"]] = None if cost is None else int(cost)
    return found


def drained(claims: Claims, farm: Installation) -> None:
    """A host is drained while it builds; the other one may not be drained at the same time."""
    build_id = farm.builds.submit(15)
    build = farm.builds.begun(build_id)
    host = farm.node_of(build.node)
    other = farm.other(host)
    with (host.machine.root / "events.log").open("w") as output:
        events = subprocess.Popen(
            ["docker", "--host", host.machine.docker_url, "events", "--filter=event=die", "--format={{json .}}"],
            stdout=output,
        )
    started = time.monotonic()
    drain = subprocess.Popen(
        farm.client.kubectl_command("drain", host.name, *_DRAIN, "--timeout=240s"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    wait(lambda: str(build.node) not in farm.ready_workers(), "the drain does not begin")
    second = farm.client.kubectl_command("drain", other.name, *_DRAIN, _WORKERS_ONLY, "--timeout=5s")
    refused = subprocess.run(second, capture_output=True, text=True, check=False, timeout=60)
    farm.client.kubectl("uncordon", other.name)
    said, _ = drain.communicate(timeout=300)
    seconds = time.monotonic() - started
    events.terminate()
    events.wait()
    ended = farm.builds.ended(build_id)
    died = _deaths(host.machine.root / "events.log", str(build.node))
    engine_at, worker_at = (died.get(name, (0.0, 0))[0] for name in ("engine", "worker"))
    # The worker lets go of the engine before its own process has ended: which container is gone first says nothing.
    kept = engine_at - (ended.finished_at or engine_at)
    codes = {name: code for name, (_, code) in died.items()}
    figure = (
        f"drain exit {drain.returncode} after {seconds:.0f} s; build {ended.state}, attempt {ended.attempt};"
        f" exit codes {codes}, the engine ended {kept:.1f} s after the build"
        f" and {engine_at - worker_at:.1f} s after the worker"
    )
    holds = drain.returncode == 0 and ended.state is State.SUCCEEDED and ended.attempt == 1
    holds = holds and codes == {"worker": 0, "engine": 0} and kept > 0
    claims.add(
        "kubectl drain ends the running build; preStop keeps the engine",
        figure if holds else f"{figure} {said!r}",
        holds,
    )
    complaint = next(
        (line for line in refused.stderr.splitlines() if "disruption budget" in line), refused.stderr[-200:]
    )
    holds = refused.returncode != 0 and "violate the pod's disruption budget" in complaint
    claims.add("a second drain is refused by the PodDisruptionBudget", complaint[-150:], holds)
    farm.client.kubectl("uncordon", host.name)
    claims.add("uncordon brings the worker back", f"after {farm.wait_for_workers(2):.0f} s", True)


def _deaths(log: Path, pod: str) -> dict[str, tuple[float, int]]:
    """When each container of a pod ended, and with which code."""
    found = {}
    for line in log.read_text().splitlines():
        event: dict[str, Any] = json.loads(line)
        labels = event["Actor"]["Attributes"]
        name = labels.get("io.kubernetes.container.name")
        if labels.get("io.kubernetes.pod.name") == pod and name in ("worker", "engine"):
            found[name] = event["timeNano"] / 1e9, int(labels["exitCode"])
    return found


def killed(claims: Claims, farm: Installation) -> None:
    """A host loses its power while it builds, and comes back."""
    build_id = farm.builds.submit(15)
    host = farm.node_of(farm.builds.begun(build_id).node)
    started = time.monotonic()
    host.machine.power_off()
    lost = wait(lambda: not is_ready(farm.client.get("node", host.name)), "the node stays Ready", 120)
    ended = farm.builds.ended(build_id)
    elsewhere = ended.node is not None and farm.node_of(ended.node) is not host
    figure = f"build {ended.state}, attempt {ended.attempt}; Kubernetes missed the node after {lost:.0f} s"
    holds = ended.state is State.SUCCEEDED and ended.attempt == 2 and elsewhere and lost < LOST_AFTER_SECONDS + 10
    claims.add("a node is killed: its build runs on the other one", figure, holds)
    host.machine.boot()
    host.join()
    back = farm.wait_for_workers(2)
    figure = f"its worker takes builds {back:.0f} s after the boot, {time.monotonic() - started:.0f} s after the loss"
    claims.add("it boots, and its pod goes on", figure, True)


def upgraded(claims: Claims, farm: Installation) -> None:
    """A change of settings makes new pods of everything, with builds coming in all the time."""
    before = set(farm.ready_workers())
    with farm.builds.load(every_seconds=2.5, seconds=3) as ids:
        wait(lambda: len(ids) >= 3, "no load")
        started = time.monotonic()
        farm.install("--set", "settings.log_level=debug")
        seconds = time.monotonic() - started
    well, figure = outcome([farm.builds.ended(build_id) for build_id in ids])
    new = set(farm.ready_workers())
    holds = well and len(new) == 2 and not new & before
    claims.add("helm upgrade --wait under load fails no build", f"{seconds:.0f} s, 2 new workers; {figure}", holds)


def persistent(claims: Claims, farm: Installation) -> None:
    """The engines' data on volumes: workers become a StatefulSet, and a pod that comes back has the builder already."""
    farm.provide_volumes()
    persistence = json.dumps({"enabled": True, "storageClass": STORAGE_CLASS})
    started = time.monotonic()
    farm.install("--set-json", f"engine.persistence={persistence}", "--set", "worker.deletionCost=false")
    seconds = time.monotonic() - started
    pod = sorted(farm.ready_workers())[0]
    first = _prewarm_seconds(farm, pod)
    farm.client.kubectl("delete", "pod", pod)
    back = farm.wait_for_workers(2)
    second = _prewarm_seconds(farm, pod)
    figure = (
        f"upgraded in {seconds:.0f} s; {pod} pre-warmed in {first:.1f} s at first, in {second:.1f} s"
        f" after it was deleted, and took builds after {back:.0f} s"
    )
    claims.add("with persistent engines a pod that comes back has the builder", figure, second < min(1, first))


def _prewarm_seconds(farm: Installation, pod: str) -> float:
    read = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9090/metrics').read().decode())"
    printed = farm.client.kubectl("exec", pod, "--container=worker", "--", "python", "-c", read)
    lines = dict(line.rsplit(" ", 1) for line in printed.splitlines() if line and not line.startswith("#"))
    return float(lines["buildfarm_prewarm_seconds"])


def own_services(claims: Claims, farm: Installation) -> None:
    """Redis and the registry of the chart itself, as pods; without workers, for there is no DNS to find them by."""
    values: dict[str, Any] = {"worker": {"replicas": 0}, "api": {"enabled": False}, "images": {}}
    for image in service_images():
        part, _, tag = image.removeprefix("buildfarm/").partition(":")
        values["images"][part] = {"tag": tag}
        values[part] = {"persistence": {"enabled": False}, "tolerations": [TOLERATION]}
    started = time.monotonic()
    given = [part for name, value in values.items() for part in ("--set-json", f"{name}={json.dumps(value)}")]
    farm.client.helm("install", "parts", CHART, "--wait", "--timeout=3m", *given)
    seconds = time.monotonic() - started
    ready = sum(is_ready(pod) for part in ("redis", "registry") for pod in farm.client.pods(part))
    farm.client.helm("uninstall", "parts", "--wait")
    claims.add("the chart's own Redis and registry become ready", f"{ready} pods, {seconds:.0f} s", ready == 2)


def scaled_in(claims: Claims, farm: Installation) -> None:
    """Both workers are full when one of them has to go."""
    ids = [farm.builds.submit(12) for _ in range(4)]
    for build_id in ids:
        farm.builds.begun(build_id)
    farm.client.kubectl("scale", f"deployment/{WORKERS}", "--replicas=1")
    well, figure = outcome([farm.builds.ended(build_id) for build_id in ids])
    wait(lambda: len(farm.client.pods("worker")) == 1, "the pod does not go", 120)
    claims.add("scaling in ends no running build", figure, well)


def prepare_hosts(farm: Installation, nodes: list[Node]) -> float:
    """Both hosts are ready and kept for builds; returns after how many seconds."""
    names = {node.name for node in nodes}

    def there() -> bool:
        return {item["metadata"]["name"] for item in farm.client.get("nodes") if is_ready(item)} == names

    seconds = wait(there, lambda: f"nodes: {farm.client.kubectl('get', 'nodes', '--output=wide')}", 120)
    for name in sorted(names):
        farm.client.kubectl("label", "node", name, f"{LABEL}=true")
        farm.client.kubectl("taint", "node", name, f"{LABEL}=:NoSchedule")
    return seconds
