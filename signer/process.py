"""The signer as a process: threads that wait for requests until SIGTERM or SIGINT."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing

from buildfarm.errors import BuildfarmError, SettingsError
from buildfarm.farm import Farm, open_farm
from buildfarm.oci.signatures.attaching import Attaching
from buildfarm.oci.signatures.signer import Signer, open_signer
from buildfarm.releases.signing.known_bases import KnownBases
from buildfarm.releases.signing.public_keys import SigningKeys
from buildfarm.settings import Settings
from buildfarm.telemetry import Logger, logger
from buildfarm.telemetry.serving import serve_metrics
from buildfarm.telemetry.traces import open_tracer
from signer.beginning import begin
from signer.claims import RENEW_SECONDS
from signer.report import Report
from signer.unsigned import LOOK_SECONDS, UnsignedImages
from signer.work import Work

THREADS = 4
_AFTER_FAILURE_SECONDS = 1.0
_TIDY_SECONDS = 5.0
_KEYS_SECONDS = 60.0  # a Redis that was emptied or restored knows them again after this


def run(settings: Settings) -> None:
    """Sign until the process is asked to stop. Raises SettingsError, SetupError and StoreError if it cannot begin."""
    log = logger(node=settings.node_id)
    signers = open_signers(settings)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with ExitStack() as resources:
        farm = resources.enter_context(open_farm(settings))
        report = Report(resources.enter_context(closing(open_tracer(settings, "buildfarm-signer"))))
        _prepare(farm, log)
        tell_keys = _keys_of(farm, signers)
        tell_keys()
        resources.enter_context(serve_metrics(report.registry, settings.metrics_host, settings.signer_metrics_port))
        attaching = Attaching(farm.registry, signers)
        resources.callback(attaching.close)
        work = Work.of(farm, attaching, log, report)
        threads = [threading.Thread(target=serve, args=(work, stop, log), name=f"signer-{n}") for n in range(THREADS)]
        threads.append(threading.Thread(target=repeat, args=(work.claims.renew, RENEW_SECONDS, stop, log)))
        threads.append(threading.Thread(target=repeat, args=(tell_keys, _KEYS_SECONDS, stop, log)))
        threads.append(threading.Thread(target=repeat, args=(attaching.tidy, _TIDY_SECONDS, stop, log)))
        if settings.signs:
            look = UnsignedImages(work, stop).look
            threads.append(threading.Thread(target=repeat, args=(look, LOOK_SECONDS, stop, log)))
        for thread in threads:
            thread.start()
        log.info("signer_started", keys=[one.public_key.hint for one in signers])
        stop.wait()
        for thread in threads:
            thread.join()
        log.info("stopped")


def serve(work: Work, stop: threading.Event, log: Logger) -> None:
    """Do requests as they come. A failed one stays in Redis, and comes again after its claim has ended."""
    while not stop.is_set():
        try:
            if not work.turn() and (repository := work.requests.wait()):
                work.prepare(repository)
        except BuildfarmError as error:
            log.warning("request_put_off", code=error.code, reason=error.message)
            stop.wait(_AFTER_FAILURE_SECONDS)
        except Exception:
            log.exception("signer_bug")
            stop.wait(_AFTER_FAILURE_SECONDS)


def repeat(act: Callable[[], object], seconds: float, stop: threading.Event, log: Logger) -> None:
    """Do this every so many seconds; what fails is done again at the next turn."""
    while not stop.wait(seconds):
        try:
            act()
        except BuildfarmError as error:
            log.warning("upkeep_failed", code=error.code, reason=error.message)
        except Exception:
            log.exception("signer_bug")


def open_signers(settings: Settings) -> list[Signer]:
    """The keys of the settings, the newest first. Raises SettingsError and SetupError."""
    addresses = [line.strip() for line in settings.signing_keys.get_secret_value().splitlines() if line.strip()]
    if not addresses:
        raise SettingsError(
            "The signer has no key.", advice="Set BUILDFARM_SIGNING_KEYS to file:PATH: docs/signing.md."
        )
    return [open_signer(address) for address in addresses]


def _prepare(farm: Farm, log: Logger) -> None:
    begin(farm, log)
    KnownBases(farm.database).add(farm.settings.builder)  # also for builds on it after the settings name another
    if not farm.settings.builder and KnownBases(farm.database).is_empty():
        log.warning(
            "no_base_known", advice="Set a channel's base, or BUILDFARM_BUILDER for the signer: docs/signing.md."
        )


def _keys_of(farm: Farm, signers: list[Signer]) -> Callable[[], None]:
    pems = [one.public_key.pem for one in signers]
    return lambda: SigningKeys(farm.database).report(pems)
