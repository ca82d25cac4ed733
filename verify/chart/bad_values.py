"""Values that the chart must refuse, and the words it must do so with."""

from __future__ import annotations

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
    "an ingress without a host": ("api.ingress.enabled=true", "api.ingress.host"),
    "an ingress without its proxies": (
        "api.ingress.enabled=true,api.ingress.host=builds.example.com",
        "api.trustedProxies",
    ),
}
