"""A build without a sandbox: its lease, log, image, tag and end are those of a node, and nothing runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from buildfarm.errors import FarmError, Interruption, StoreError
from buildfarm.farm import Farm
from buildfarm.input_digest import input_digest
from buildfarm.model import BuildResult, Failure, Fault, Phase
from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import Descriptor, Manifest, media_types
from buildfarm.store import Lease, Leases, Unclaimed
from buildfarm.telemetry import Logger
from verify.soak import made
from workers.attempt.claim import claim
from workers.attempt.spool import Spool
from workers.upkeep.spools import Spools

BUILDER = "sha256:" + "b" * 64
_BATCH_LINES = 1000
_CLAIM_SECONDS = 15.0
_RETRY_SECONDS = 1.0
FAILURE = Failure(code="app.compile", fault=Fault.APP, phase=Phase.COMPILE, message="it fails", log_tail=("it fails",))


@dataclass(frozen=True)
class Building:
    """Does builds on a node of a soak."""

    farm: Farm
    leases: Leases
    spools: Spools
    logger: Logger

    def build(self, build_id: str) -> None:
        """Does one build. What fails by the farm's fault is logged, and given back as a node does it."""
        settings = self.farm.settings
        try:
            lease = claim(self.leases, build_id, settings.node_id, _CLAIM_SECONDS, settings.offer_seconds)
        except StoreError as error:
            self.logger.warning("claim_failed", reason=error.message)
            return
        if isinstance(lease, Unclaimed):
            return
        spool, number = self.spools.begin(lease), made.number_of(lease.build_id)
        try:
            self._do(lease, spool, number)
        except (FarmError, Interruption) as error:
            self.logger.warning("attempt_failed", build=lease.build_id, code=error.code, reason=error.message)
            failure = Failure(code=error.code, fault=Fault.FARM, phase=Phase.PUBLISH, message=error.message)
            self.leases.give_back(lease, failure, wait_seconds=_RETRY_SECONDS)
        finally:
            self.spools.end(lease, spool, "/".join(made.place_of(number)))

    def _do(self, lease: Lease, spool: Spool, number: int) -> None:
        self._print(lease, spool, number)
        spool.announce()
        if made.fails(number):
            self.leases.fail(lease, FAILURE)
            return
        request = self.farm.get(lease.build_id).request
        result, manifest = self._result(lease, request.repository, number)
        self.leases.publish(lease, request.target, result)
        sent = {str(result.digest): (media_types("oci").manifest, manifest)}
        self.farm.registry.move_tag(
            request.repository, request.tag, lambda: self.farm.records.tag_target(request.target), sent
        )
        self.leases.succeed(lease, result, input_digest=input_digest(request, BUILDER, self.farm.settings))

    def _print(self, lease: Lease, spool: Spool, number: int) -> None:
        lines, batch = made.lines_of(number), 0
        while some := list(islice(lines, _BATCH_LINES)):
            self._send(lease, spool, some, batch := batch + 1)

    def _send(self, lease: Lease, spool: Spool, lines: Sequence[str], batch: int) -> None:
        first = spool.lines
        for line in lines:
            spool.add(Phase.COMPILE, line)
        spool.sent(first, len(lines), self.spools.logs.append(lease, Phase.COMPILE, lines, batch))

    def _result(self, lease: Lease, repository: str, number: int) -> tuple[BuildResult, bytes]:
        """Pushes the image; returns its manifest too."""
        types, registry, layer = media_types("oci"), self.farm.registry, made.layer_of(number)
        digest = registry.put_blob(repository, layer, look=False)
        config = {
            "architecture": "amd64", "os": "linux", "config": {"Cmd": ["/none"]},
            "rootfs": {"type": "layers", "diff_ids": [digest]}, "created_by": lease.build_id,
        }  # fmt: skip
        content = json.dumps(config).encode()
        manifest = Manifest(
            types.manifest,
            Descriptor(types.config, registry.put_blob(repository, content, look=False), len(content)),
            (Descriptor(types.layers["none"], digest, len(layer)),),
        ).encode()
        image: Digest = registry.put_manifest(repository, manifest, types.manifest, tag=None)
        result = BuildResult(
            repository=repository, digest=image, tag="latest", layers=(), uploaded_bytes=len(layer),
            phase_seconds={Phase.COMPILE: 0.1}, node=self.farm.settings.node_id, attempt=lease.attempt,
        )  # fmt: skip
        return result, manifest
