"""Images that got their tags without the signer: from a node with signing off, or after a restore of Redis."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from buildfarm.errors import UnsignableError
from buildfarm.model import place_of
from buildfarm.oci.digest import Digest
from buildfarm.releases.signing.app_tags import AppTags
from signer.evidence import Evidence
from signer.work import Work

LOOK_SECONDS = 60.0
PAGE = 500  # targets of one look, about


@dataclass
class UnsignedImages:
    """Asks for the signatures of images that tags point to, while something still speaks for them.

    Records of builds speak for seven days. Later such an image could not move to a patched base.
    """

    work: Work
    seen: dict[str, str] = field(default_factory=dict)  # by target: the image that needs no second look
    _cursor: int = 0

    def look(self) -> int:
        """Look at the next targets, and return how many were asked for. Raises StoreError and RegistryError."""
        database, asked = self.work.farm.database, 0
        with database.failures():
            found: Any = database.client.hscan(database.key("tags"), self._cursor, count=PAGE)
        cursor, targets = found
        for target, digest in targets.items():
            if digest and self.seen.get(target) != digest:
                asked += self._look(target, digest)
                self.seen[target] = digest
        self._cursor = int(cursor)
        return asked

    def _look(self, target: str, digest: str) -> bool:
        farm, requests = self.work.farm, self.work.requests
        if AppTags(farm.registry, farm.records).is_signed(target, digest) or requests.has(target):
            return False
        try:
            keys = tuple(one.public_key for one in self.work.attaching.signers)
            image = self.work.images.read(place_of(target)[0], Digest(digest))
            Evidence(self.work.images, keys, self.work.provenance).check(target, image)
        except (UnsignableError, ValueError, TypeError, AttributeError, RecursionError) as error:
            # Not a refusal: the tag is where it was before signing, and no alert is due.
            self.work.logger.info("image_stays_unsigned", target=target, digest=digest, reason=str(error))
            return False
        requests.ask(target)
        return True
