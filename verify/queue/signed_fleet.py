"""What signatures add to moving a fleet: ``PART=signed APPS=60 python -m verify.fleet`` on a farm that is up.

The same apps are moved twice, each time with a separate registry: on a farm that does not sign, and on one with a
signer in a process of its own. A move has ended when every tag is at its new image.
"""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from buildfarm.errors import SignatureError
from buildfarm.farm import Farm, open_farm
from buildfarm.oci.signatures import checking
from buildfarm.oci.signatures.keys import PublicKey
from buildfarm.releases.rollouts.rules.parameters import Parameters
from buildfarm.releases.rollouts.rules.states import Phase
from buildfarm.releases.signing.public_keys import SigningKeys
from buildfarm.settings import read_settings
from buildfarm.store import Nodes
from buildfarm.telemetry import logger
from testkit.builds import empty_namespace, wait_for
from testkit.queue.signing import make_key, signer_process
from testkit.registry.own import registry_on, storage_folder
from testkit.table import Claims
from verify.queue.fleet import APPS, THREADS, base_of, deploy, names_of, orchestrator, run_to_its_end
from workers.wiring import open_rollouts

MOST_SECONDS = 150.0
MOST = 2.5  # times as long as without signatures
READY_SECONDS = 60
TAGS_SECONDS = 600.0


@dataclass(frozen=True)
class Moved:
    """A fleet on another base."""

    seconds: float
    whole: bool  # the rollout is complete, and every tag is at an image on the new base
    signed: int = 0  # apps whose image has all three signatures


def run(claims: Claims) -> None:
    """Moves the apps without signatures and with them."""
    plain, signed = _moved(signs=False), _moved(signs=True)
    figure = f"{signed.seconds:.1f} s against {plain.seconds:.1f} s: {signed.seconds / plain.seconds:.2f}x"
    whole = plain.whole and signed.whole
    claims.add(
        f"{APPS} apps are moved and signed in at most {MOST}x of the time without signatures",
        figure,
        whole and signed.seconds <= MOST * plain.seconds,
    )
    claims.add(
        f"{APPS} apps are moved and signed in {MOST_SECONDS:.0f} s",
        f"{signed.seconds:.1f} s, {signed.seconds / APPS * 1000:.0f} ms an app",
        whole and signed.seconds <= MOST_SECONDS,
    )
    claims.add(
        "each moved image has its signature as tag and bundle, and its provenance",
        f"{signed.signed} of {APPS}",
        signed.signed == APPS,
    )


def _moved(*, signs: bool) -> Moved:
    with _farm(signs=signs) as farm, ExitStack() as stack:
        bases, _ = deploy(farm)
        if signs:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            log = stack.enter_context(_signer(farm, folder))
            wait_for(lambda: SigningKeys(farm.database).reported_at(), READY_SECONDS, log)
        engine = open_rollouts(farm, Nodes(farm.database), logger())
        planned = farm.plan_rollout(bases[1], Parameters(cohorts=("1", "10%", "100%"), soak_seconds=0))
        engine.turn()
        farm.start_rollout(planned.id)
        with orchestrator(farm):
            started = time.monotonic()
            done = run_to_its_end(farm, engine, planned.id)
            wait_for(lambda: not farm.database.client.zcard(farm.database.key("signing")), TAGS_SECONDS)
            seconds = time.monotonic() - started
        names = names_of(farm)
        with ThreadPoolExecutor(THREADS) as pool:
            on_base = sum(pool.map(lambda name: base_of(farm, name) == bases[1], names))
            signed = sum(pool.map(partial(_has_all, farm, _keys(farm)), names)) if signs else 0
        return Moved(seconds, done is Phase.COMPLETE and on_base == APPS, signed)


@contextmanager
def _farm(*, signs: bool) -> Iterator[Farm]:
    settings = read_settings()
    with ExitStack() as stack:
        registry = stack.enter_context(registry_on(stack.enter_context(storage_folder()), settings.docker_url))
        changes = {
            "namespace": f"verify-{secrets.token_hex(4)}:",
            "registry_url": f"http://{registry.host}",
            "builder": "",
            "signing": "1" if signs else "0",
        }
        own = settings.model_copy(update=changes)
        stack.callback(empty_namespace, own)
        yield stack.enter_context(open_farm(own))


@contextmanager
def _signer(farm: Farm, folder: Path) -> Iterator[Callable[[], str]]:
    """It takes over the images of the apps, which no build made; yields what shows its log."""
    key = make_key(folder)
    with signer_process(farm, [key]):
        yield lambda: key.with_suffix(".log").read_text()[-2000:]


def _keys(farm: Farm) -> list[PublicKey]:
    return [PublicKey.parse(pem.encode()) for pem in SigningKeys(farm.database).all()]


def _has_all(farm: Farm, keys: list[PublicKey], name: str) -> bool:
    """Whether the image at the app's tag has all that the signer attaches."""
    try:
        found = checking.verify(farm.registry, f"apps/{name}", "latest", keys)
    except SignatureError:
        return False
    return found.forms == ("tag", "bundle") and len(found.provenance) == 1
