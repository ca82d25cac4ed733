"""Pools of nodes: each has a workload, a budget and a scaling rule of its own, and all share accounts and policies."""

from __future__ import annotations

import tempfile
from pathlib import Path

from testkit.chart.api_server import serving_config_map
from testkit.chart.manifests import CHART, Manifest, helm, read, render
from testkit.chart.tools import HELM
from testkit.table import Claims

_VERSION = "1.33.0"
_GIB = 1024**3
_POOLS = {
    "large": ("StatefulSet", "large", 18, "12", 1860, 1, "3"),
    "huge": ("Deployment", "huge", 16, "8", 960, 0, "1"),
}


def run(claims: Claims) -> None:
    each_pool_is_its_own(claims)
    signer_stays_while_images_are_signed(claims)


def each_pool_is_its_own(claims: Claims) -> None:
    wrong = []
    for release in HELM:
        manifests = read(render(release.helm(), CHART / "ci" / "pools-values.yaml", _VERSION)[0])
        for name, expected in _POOLS.items():
            if (found := _pool(manifests, name)) != expected:
                wrong.append(f"{name} by helm {release.version}: {found}")
        named = {(item["kind"], item["metadata"]["name"]): item for item in manifests}
        demand = named["ConfigMap", "farm-buildfarm-settings"]["data"]["BUILDFARM_SIZES_ON_DEMAND"]
        policy = named["NetworkPolicy", "farm-buildfarm-worker"]["spec"]["podSelector"]["matchExpressions"][0]["values"]
        if (demand, policy) != ("huge", ["worker", "worker-large", "worker-huge"]):
            wrong.append(f"on demand {demand}, policy of {policy}")
    figure = f"{len(_POOLS)} pools beside the workers x {len(HELM)} Helm: sizes, memory, grace, scaling, budgets"
    claims.add("each pool of nodes has its own workload, budget and scaling", "; ".join(wrong) or figure, not wrong)


def _pool(manifests: list[Manifest], name: str) -> tuple[str, str, int, str, int, int, str]:
    """Of a pool: kind, sizes, GiB and processors of its builds, seconds to stop in, fewest nodes, builds of each."""
    own = {item["kind"]: item for item in manifests if item["metadata"]["name"] == f"farm-buildfarm-worker-{name}"}
    kind = next(kind for kind in own if kind in ("StatefulSet", "Deployment"))
    pods = own[kind]["spec"]["template"]
    variables = {item["name"]: item.get("value", "") for item in pods["spec"]["containers"][0]["env"]}
    selectors = [
        own["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        own[kind]["spec"]["selector"]["matchLabels"],
    ]
    if not all(selector.items() <= pods["metadata"]["labels"].items() for selector in selectors):
        raise LookupError(f"a selector does not have the pods of {name}")
    scaled = own["ScaledObject"]["spec"]
    trigger = scaled["triggers"][0]["metadata"]
    sizes = variables["BUILDFARM_NODE_SIZES"]
    if f'size=~"{sizes}"' not in trigger["query"] or scaled["scaleTargetRef"]["kind"] != kind:
        raise LookupError(f"{name} is not scaled by its builds: {trigger['query']}")
    return (
        kind, sizes, int(variables["BUILDFARM_NODE_MEMORY_BYTES"]) // _GIB, variables["BUILDFARM_NODE_CPUS"],
        pods["spec"]["terminationGracePeriodSeconds"], scaled["minReplicaCount"], trigger["threshold"],
    )  # fmt: skip


def signer_stays_while_images_are_signed(claims: Claims) -> None:
    """An upgrade reads what is installed: the guard is tried against an API server's ConfigMap."""
    secret = "signer.enabled=true,signer.existingSecret=s"
    table = (
        ("1", "signer.enabled=false", "Set signer.signing to false first"),
        ("1", f"{secret},signer.signing=false", ""),
        ("", "signer.enabled=false", ""),
        ("", secret, ""),
    )
    wrong = []
    for release in HELM:
        for signing, given, complaint in table:
            settings = {"BUILDFARM_SIGNING": signing}
            with (
                tempfile.TemporaryDirectory() as folder,
                serving_config_map(Path(folder), _VERSION, "farm-buildfarm-settings", settings) as config,
            ):
                upgrade = (
                    "--is-upgrade",
                    "--dry-run=server",
                    "--disable-openapi-validation",
                    "--kubeconfig",
                    config,
                    "--set",
                    given,
                )
                done = helm(release.helm(), "template", "farm", CHART, "-n", "builds", *upgrade)
            holds = complaint in done.stderr if complaint else done.returncode == 0
            signs = 'BUILDFARM_SIGNING: "1"' in done.stdout
            if not holds or bool(complaint) != bool(done.returncode) or signs != (given == secret):
                wrong.append(f"{given} with signing {signing!r} by helm {release.version}: {done.stderr[-100:]}")
    figure = f"{len(table)} upgrades x {len(HELM)} Helm; refused while images are signed, allowed after"
    claims.add("an upgrade cannot take the signer from builds that wait for it", "; ".join(wrong) or figure, not wrong)
