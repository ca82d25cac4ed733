"""Images that got their tags without the signer: from a node with signing off, or after a restore of Redis."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from buildfarm.errors import RegistryError, UnsignableError
from buildfarm.model import place_of
from buildfarm.oci.digest import Digest
from buildfarm.releases.signing.adopted import Adopted
from buildfarm.releases.signing.app_tags import AppTags
from signer.evidence import Evidence
from signer.work import Work

LOOK_SECONDS = 10.0
PAGE = 100  # targets of one look, about
WAITING_MAX = 10  # requests to the signer, builds too: with so many, it is asked for no more
FAILED_MAX = 5  # images of one look that the registry fails on


@dataclass
class UnsignedImages:
    """Asks for the signatures of images that tags point to, while something still speaks for them.

    Records of builds speak for seven days. Later such an image could not move to a patched base. Images from before
    signing are left out: they are signed whenever they are asked for.
    """

    work: Work
    stop: threading.Event = field(default_factory=threading.Event)
    seen: dict[str, str] = field(default_factory=dict)  # by target: the image that needs no second look
    _cursor: int = 0
    _failed: set[str] = field(default_factory=set)  # targets that the registry failed on; the next round tries again

    def look(self) -> int:
        """Look at the next targets, and return how many were asked for. Raises StoreError.

        A look that ends early is continued by the next one.
        """
        database, asked, failed = self.work.farm.database, 0, 0
        with database.failures():
            found: Any = database.client.hscan(database.key("tags"), self._cursor, count=PAGE)
        cursor, targets = found
        for target, digest in targets.items():
            if not digest or self.seen.get(target) == digest or target in self._failed:
                continue
            if self.stop.is_set() or failed >= FAILED_MAX or self.work.requests.waiting()[0] >= WAITING_MAX:
                return asked
            try:
                asked += self._look(target, digest)
                self.seen[target] = digest
            except RegistryError as error:
                failed += 1
                self._failed.add(target)
                self.work.logger.warning("image_not_looked_at", target=target, digest=digest, reason=error.message)
        self._cursor = int(cursor)
        if not self._cursor:
            self._failed.clear()
        return asked

    def _look(self, target: str, digest: str) -> bool:
        farm, requests = self.work.farm, self.work.requests
        try:
            if Adopted(farm.database).has(target, digest) or requests.has(target):
                return False
            if AppTags(farm.registry, farm.records).is_signed(target, digest):
                return False
            keys = tuple(one.public_key for one in self.work.attaching.signers)
            image = self.work.images.read(place_of(target)[0], Digest(digest))
            Evidence(self.work.images, keys, self.work.provenance).check(target, image)
        except (UnsignableError, ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
            # Not a refusal: the tag is where it was before signing, and no alert is due.
            self.work.logger.info("image_stays_unsigned", target=target, digest=digest, reason=str(error))
            return False
        requests.ask(target)
        return True
