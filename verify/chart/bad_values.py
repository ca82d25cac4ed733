"""Values that the chart must refuse, and the words it must do so with."""

from __future__ import annotations

_POOL = "worker.pools[0].name=large,worker.pools[0].sizes[0]="
_LARGE = f"settings.sizes=large=memory:6GiB,{_POOL}large"
_ROOMY = "worker.pools[0].engine.resources.limits.memory=20Gi"
_SIGNER = "signer.enabled=true"

# Wrong by themselves: refused by values.schema.json.
BAD_VALUES = {
    "an unknown value": ("replicaCount=3", "replicaCount"),
    "an unknown setting": ("settings.slot=3", "slot"),
    "words for a number": ("settings.slots=many", "slots"),
    "too many slots": ("settings.slots=65", "64"),
    "a negative number": ("worker.replicas=-1", "replicas"),
    "an unknown service type": ("api.serviceType=Tunnel", "serviceType"),
    "an address of another kind": ("redis.external.url=http://redis", "url"),
    "a size without a unit": ("engine.persistence.size=100", "size"),
    "a setting that is the chart's own": ("settings.docker_url=unix:///var/run/docker.sock", "docker_url"),
    "a proxy at every address": ("api.trustedProxies[0]=0.0.0.0/0", "trustedProxies"),
    "a digest that is none": ("images.worker.digest=sha256:abc", "digest"),
    "a pool without sizes": ("worker.pools[0].name=large", "sizes"),
    "a pool of no size": ("worker.pools[0].name=large,worker.pools[0].sizes=null", "sizes"),
    "a pool without a name": ("worker.pools[0].sizes[0]=standard", "name"),
    "a pool's name that no Kubernetes takes": (f"{_POOL}standard,worker.pools[0].name=Large_1", "name"),
    "a farm's setting for one pool": (f"{_POOL}standard,worker.pools[0].settings.classes=a=1", "classes"),
    "an unknown value of a pool": (f"{_POOL}standard,worker.pools[0].memory=6Gi", "memory"),
    "no signer": ("signer.replicas=0", "replicas"),
    "no key in the list": ("signer.keys={}", "keys"),
    "a key in another folder": ("signer.keys[0]=../token", "keys"),
}

_HOST = "worker.extraVolumes[0].name=host,worker.extraVolumes[0].hostPath.path="

# Wrong together: refused by a guard.
BAD_COMBINATIONS = {
    "KEDA and an HPA": (
        "autoscaling.keda.enabled=true,autoscaling.keda.prometheusAddress=http://p,autoscaling.hpa.enabled=true",
        "enable one of them",
    ),
    "KEDA without Prometheus": ("autoscaling.keda.enabled=true", "prometheusAddress"),
    "fewer at most than at least": ("autoscaling.minReplicas=11", "larger than autoscaling.maxReplicas"),
    "two Redis": ("redis.external.url=redis://r/0", "two Redis"),
    "no Redis": ("redis.enabled=false", "There is no Redis"),
    "certificates for clear text": (
        "redis.enabled=false,redis.external.url=redis://r/0,redis.tls.existingSecret=t",
        "clear text",
    ),
    "certificates for the chart's Redis": ("redis.tls.existingSecret=t", "speaks no TLS"),
    "two registries": ("registry.external.url=https://r", "two registries"),
    "no registry": ("registry.enabled=false", "There is no registry"),
    "two registries on one disk": ("registry.replicas=2", "need one storage"),
    "two registries without a disk": (
        "registry.replicas=2,registry.persistence.enabled=false,registry.persistence.accessMode=ReadWriteMany",
        "need one storage",
    ),
    "a drain shorter than a build": ("settings.build_seconds=1800", "shorter than settings.build_seconds"),
    "a lease that cannot be renewed": ("settings.renew_seconds=9", "renew_seconds"),
    "an engine without privileges": ("engine.privileged=false", "runtimeClassName"),
    "the host's engine": (f"{_HOST}/var/run/docker.sock", "its own engine"),
    "the host's containerd": (f"{_HOST}/run/containerd/containerd.sock", "its own engine"),
    "the folder of its sockets": (f"{_HOST}/var/run", "its own engine"),
    "the whole host": (f"{_HOST}/", "its own engine"),
    "a deletion cost for a StatefulSet": (
        "worker.deletionCost=true,engine.persistence.enabled=true",
        "no effect on a StatefulSet",
    ),
    "a deletion cost without the way to tell it": ("worker.deletionCost=true", "networkPolicies.apiServer"),
    "hosts without a token": ("prewarm.enabled=true", "prewarm.existingSecret"),
    "hosts without an API": ("prewarm.enabled=true,prewarm.existingSecret=t,api.enabled=false", "needs api.enabled"),
    "hosts with all of /run": (
        "prewarm.enabled=true,prewarm.existingSecret=t,prewarm.socket=/run/cri-dockerd.sock",
        "prewarm.socket is directly in",
    ),
    "a pool of an unknown size": (f"{_POOL}huge", "not in settings.sizes"),
    "nodes of an unknown size": ("settings.node_sizes=huge", "not in settings.sizes"),
    "two pools of one name": (
        f"{_LARGE},{_ROOMY},worker.pools[1].name=large,worker.pools[1].sizes[0]=standard",
        "give each pool its own name",
    ),
    "a pool's name too long for a StatefulSet": (
        f"{_POOL}standard,fullnameOverride=a-release-whose-name-is-forty-letters-lo",
        "longer than 52 characters",
    ),
    "sandboxes larger than their engine": (_LARGE, "12 GiB"),
    "a pool that has no memory for a build": (
        f"{_LARGE},{_ROOMY},worker.pools[0].settings.node_memory_bytes=4294967296",
        "no memory for one build of the size large",
    ),
    "a drain shorter than a large build": (
        f"settings.sizes=large=memory:1GiB/seconds:1800,{_POOL}large",
        "drain_seconds of worker.pools large",
    ),
    "a pool's drain shorter than a build": (
        f"{_POOL}standard,worker.pools[0].settings.drain_seconds=60",
        "drain_seconds of worker.pools large",
    ),
    "fewer at most than at least in a pool": (
        f"{_POOL}standard,worker.pools[0].autoscaling.maxReplicas=1,worker.pools[0].autoscaling.minReplicas=2",
        "minReplicas of worker.pools large",
    ),
    "a pool's engine without privileges": (
        f"engine.privileged=false,worker.runtimeClassName=sysbox-runc,{_POOL}standard,worker.pools[0].runtimeClassName=",
        "runtimeClassName of worker.pools large",
    ),
    "a signer without a Secret": (_SIGNER, "signer.existingSecret"),
    "a signer without keys": (f"{_SIGNER},signer.existingSecret=s,signer.keys=null", "signer.keys is empty"),
    "git pushes without memory for them": ("settings.git_push=true", "api.resources.limits.memory"),
    "an ingress without a host": ("api.ingress.enabled=true", "api.ingress.host"),
    "an ingress without its proxies": (
        "api.ingress.enabled=true,api.ingress.host=builds.example.com",
        "api.trustedProxies",
    ),
}
