"""Three restores of one farm, and what each keeps and loses: ``python -m verify.restore`` on a farm that is up.

A farm has its own Redis and registry. Both are copied while they run, an hour's worth of things happens, and then the
farm starts again three times: without its Redis, with the copy of Redis, and with the copy of the registry.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from buildfarm.access.audit import Audit
from buildfarm.access.tokens import Tokens
from buildfarm.access.webhooks import Webhooks
from buildfarm.errors import BuildfarmError, NotFoundError, RegistryError, SetupError
from buildfarm.farm import Farm
from buildfarm.model import Failure, Fault
from buildfarm.model import State as BuildState
from buildfarm.oci.connection import NotInRegistryError
from buildfarm.oci.digest import Digest
from buildfarm.store import Leases
from testkit.cluster.shell import run, wait
from testkit.registry.own import storage_folder
from testkit.table import Claims
from verify.restore import rollouts, signing
from verify.restore.day import DEPLOYS, HOOK, Day, Made, Maker, before_the_copies, the_hour_after
from verify.restore.services import State, back_up_redis, copy, farm_on, new_state

LEASE_SECONDS = 1
_LOST = Failure(code="farm.node_lost", fault=Fault.FARM, phase=None, message="its node is gone")


def main() -> None:
    """Makes the farm and its copies, and restores it."""
    tenant = f"restore-{secrets.token_hex(4)}"
    with storage_folder() as top:
        day, copies, now = _made(top, f"{tenant}:")
        cases = {
            "Redis lost": (_redis_lost, new_state(top, registry_from=now)),
            "Redis an hour old": (_redis_old, new_state(top, redis_from=copies, registry_from=now)),
            "Registry an hour old": (_registry_old, new_state(top, redis_from=now, registry_from=copies)),
        }
        tables = []
        for title, (case, state) in cases.items():
            print(f"\n{title}", flush=True)
            tables.append(claims := Claims(title))
            with farm_on(state, f"{tenant}:") as farm:
                case(claims, Case(farm, state, day, claims))
        tables += [*signing.tables(top), *rollouts.tables(top)]
    raise SystemExit(max(claims.shown() for claims in tables))


def _made(top: Path, namespace: str) -> tuple[Day, State, State]:
    """The farm's day, its copies of both parts, and both as they were at its end."""
    now, copies = new_state(top), State(top / "copies")
    copies.folder.mkdir()
    with farm_on(now, namespace) as farm:
        maker = Maker(farm, now.registry)
        day = before_the_copies(maker)
        # Redis first: images that a record names are then in the copy of the registry.
        back_up_redis(farm.database.client, now.redis, copies.redis)
        copy(now.registry, copies.registry)
        the_hour_after(maker, day)
    return day, copies, now


class Case:
    """A farm that has been started over restored parts, and what is asked of it."""

    def __init__(self, farm: Farm, state: State, day: Day, claims: Claims) -> None:
        self.farm, self.day, self.claims = farm, day, claims
        self.maker = Maker(farm, state.registry)
        self.tenant = self.maker.life.tenant

    def known(self, builds: Iterable[Made]) -> int:
        """How many are shown with their record, image and whole log."""
        return sum(self._is_known(made) for made in builds)

    def _is_known(self, made: Made) -> bool:
        try:
            build = self.farm.get(made.id)
            log = tuple(line.text for line in self.farm.logs(made.id))
        except BuildfarmError:
            return False
        return build.result is not None and build.result.digest == made.digest and log == made.log

    def listed(self, app: str) -> set[str]:
        """The ids of an app's builds, in Redis and in the archive."""
        return set(self.maker.life.history(app=app))

    def state(self, build_id: str) -> str:
        """What the farm says of a build."""
        with suppress(NotFoundError):
            return str(self.farm.get(build_id).state)
        return "unknown"

    def whole(self, made: Made) -> bool:
        """Whether all of an image can be read, each part with the digest it has in its manifest."""
        try:
            manifest, _ = self.farm.registry.read_manifest(made.repository, made.digest)
            for part in (manifest.config, *manifest.layers):
                self.farm.registry.read_blob(made.repository, part.digest)
        except RegistryError:
            return False
        return True

    def pulled(self, images: Iterable[Made]) -> int:
        """How many an engine pulls."""
        count = 0
        for made in images:
            name = f"{self.farm.registry.host}/{made.image}"
            with suppress(RuntimeError):
                run("docker", "pull", "--quiet", name)
                count += 1
            run("docker", "rmi", "--force", name, check=False)
        return count

    def tag(self, app: str) -> str:
        """Where the registry has the app's tag."""
        try:
            return str(self.farm.registry.get_manifest(f"apps/{self.tenant}/{app}", "latest")[2])
        except NotInRegistryError:
            return ""

    def has_source(self, made: Made) -> bool:
        """Whether the source of an image is there."""
        return self.farm.registry.has_manifest(f"sources/{self.tenant}", Digest(made.source))

    def refused(self) -> bool:
        """Whether a collection that nobody has confirmed is refused."""
        try:
            self.maker.collect()
        except SetupError as error:
            return "gc --adopt" in error.advice
        return False

    def check_noticed(self) -> None:
        """The farm sees by itself that something is amiss, before anybody has told it."""
        self.claims.add("before: a collection is refused", "the marks of Redis and registry differ", self.refused())

    def check_images(self, images: list[Made]) -> None:
        """A collection is refused; the one that is confirmed, and the one after it, remove nothing that runs."""
        self.claims.add("a collection is refused until an operator confirms it", "gc --adopt", self.refused())
        self.maker.source()  # nothing names it
        first = self.maker.collect(adopt=True)
        again = self.maker.collect()
        whole = sum(map(self.whole, images))
        figure = f"{whole} of {len(images)} after {first.manifests} and {again.manifests} other manifests went"
        good = whole == len(images) and first.manifests > 0
        self.claims.add("images in use are whole after two collections", figure, good)
        pulled = self.pulled(images)
        self.claims.add("an engine pulls them", f"{pulled} of {len(images)}", pulled == len(images))
        there = sum(map(self.has_source, images))
        self.claims.add("their sources are there", f"{there} of {len(images)}", there == len(images))

    def check_archive(self, kept: list[Made], claim: str) -> None:
        """Builds are shown with their logs, listed once, and their images are there."""
        known = self.known(kept)
        self.claims.add(claim, f"{known} of {len(kept)} with record and whole log", known == len(kept))
        listed = set().union(*map(self.listed, (*self.day.apps, "runs", "late")))
        missing = [made.id for made in kept if made.id not in listed]
        self.claims.add("they are listed by app", f"{len(kept) - len(missing)} of {len(kept)}", not missing)

    def check_recorded_images(self, kept: list[Made]) -> None:
        """Images that archived records name stay, whatever their tags."""
        whole = sum(map(self.whole, kept))
        figure = f"{whole} of {len(kept)}, without a tag all but the newest"
        self.claims.add("images of archived builds are whole after the collections", figure, whole == len(kept))

    def check_builds_go_on(self) -> None:
        """The farm builds, archives and collects as before."""
        made = self.maker.build("web")
        moved = self.tag("web") == made.digest
        self.maker.life.archive()
        self.maker.collect()
        good = self.known([made]) == 1 and self.whole(made) and moved
        self.claims.add("the next build succeeds, moves its tag and is archived", made.id, good)

    def check_operators(self, *, limit: int, tokens: dict[str, bool], head: str, entries: int) -> None:
        """What operators have set."""
        found = self.farm.limits(self.tenant).tenant_running
        default = self.farm.settings.tenant_running_max
        expected = limit or default
        self.claims.add("limits", f"running {found} (set {limit or 'none, as the settings'})", found == expected)
        verified = {name: Tokens(self.farm.database).verify(getattr(self.day, name)) is not None for name in tokens}
        said = ", ".join(f"{name} {'valid' if valid else 'not valid'}" for name, valid in verified.items())
        self.claims.add("tokens", said, verified == tokens)
        audit = Audit(self.farm.database, lambda: self.farm.quick_registry).verify()
        right = (audit.entries, audit.head, audit.lost) == (entries, head, ())
        self.claims.add("the audit log verifies", f"{audit.entries} entries", right)

    def check_kept(self, *, kept: bool) -> None:
        """Retention, webhook and promoted builder, set before the copies."""
        retained = self.farm.retention(self.tenant).images == 3
        try:
            hook = Webhooks(self.farm.database).get(self.tenant).url == HOOK
        except NotFoundError:
            hook = False
        promoted = self.farm.builder() == self.day.builder
        found = [retained, hook, promoted]
        figure = "kept" if all(found) else "lost" if not any(found) else f"{found}"
        self.claims.add(
            f"retention, webhook, promoted builder are {'kept' if kept else 'lost'}", figure, found == [kept] * 3
        )


def _redis_lost(claims: Claims, case: Case) -> None:
    """An empty Redis, and the registry as it was."""
    case.check_noticed()
    day = case.day
    everything = [*day.archived, *day.late_archived]  # and the newer one of the app "old"
    claims.add("before: nothing is known", f"{case.known(everything)} builds", case.known(everything) == 0)
    done = case.maker.garbage().rebuild()
    figure = f"{done.found} builds found in {done.packs} packs"
    claims.add("buildfarm archive rebuild finds the archive", figure, done.found == done.builds == len(everything) + 1)
    case.check_archive(everything, "ended and archived builds survive")
    # The orchestrator has not reported yet: the registry's files say what ran at the newest collection.
    case.check_images(day.in_use)
    case.check_recorded_images(everything)
    tagged = case.tag("web") == day.late_archived[1].digest
    claims.add("tags stay where they were", "web:latest at its newest image", tagged)
    _lost_builds(claims, case)
    case.check_operators(
        limit=0, tokens={"token": False, "late_token": False, "revoked_late": False}, head="", entries=0
    )
    case.check_kept(kept=False)
    case.check_builds_go_on()


def _lost_builds(claims: Claims, case: Case) -> None:
    day = case.day
    states = [case.state(day.queued), case.state(day.late_queued)]
    claims.add("waiting and running builds are lost", ", ".join(states), set(states) == {"unknown"})
    lease = day.late_running
    held = True
    try:
        if lease is not None:
            case.maker.life.leases.renew(lease)
    except BuildfarmError:
        held = False
    claims.add("a node that still runs one is told to stop", "its lease is gone", not held)


def _redis_old(claims: Claims, case: Case) -> None:
    """Redis as it was an hour ago, and the registry as it was."""
    case.check_noticed()
    day = case.day
    everything = [*day.archived, *day.late_archived]
    done = case.maker.garbage().rebuild()
    late = len(day.late_archived)
    figure = f"{done.found} builds in packs that Redis did not know"
    claims.add("buildfarm archive rebuild finds what was archived since", figure, done.builds == len(everything) + 1)
    ran = {day.running.build_id if day.running else ""}
    shown = [made for made in everything if made.id not in ran]
    case.check_archive(shown, f"builds that were archived then, and {late - 1} that were since, survive")
    case.check_images(day.in_use)
    case.check_recorded_images(everything)
    tagged = case.tag("web") == day.late_archived[1].digest
    claims.add("tags stay where they were", "web:latest at its newest image", tagged)
    states = {"waited": case.state(day.queued), "made since": case.state(day.late_queued)}
    claims.add(
        "a build that waited waits again; one made since is lost",
        ", ".join(f"{name}: {state}" for name, state in states.items()),
        list(states.values()) == [BuildState.QUEUED, "unknown"],
    )
    _runs_again(claims, case)
    case.check_operators(
        limit=7, tokens={"token": True, "late_token": False, "revoked_late": True}, head=day.audit_head, entries=2
    )
    case.check_kept(kept=True)
    case.check_builds_go_on()


def _runs_again(claims: Claims, case: Case) -> None:
    """A build that ran when Redis was copied has ended since; the copy gives it to a node again."""
    old = case.day.running
    if old is None:
        raise RuntimeError("no build ran when the copies were taken")
    leases = Leases(case.farm.admission, LEASE_SECONDS, 3)
    database = case.farm.database
    with database.failures():
        database.client.zadd(database.key("leases"), {old.build_id: 1})  # it ended while Redis was away
    doubt = leases.take_back(old.build_id, _LOST)
    seconds = wait(lambda: leases.sweep() == "clear", "the leases stay in doubt", 30)
    answers = [leases.take_back(build_id, _LOST) for build_id in leases.expired(100)]
    figure = f"{doubt} at first, {', '.join(answers)} after {seconds:.0f} s"
    good = doubt == "stale" and case.state(old.build_id) == BuildState.QUEUED
    claims.add("a build that ran is given to a node again, once its node could have come back", figure, good)


def _registry_old(claims: Claims, case: Case) -> None:
    """Redis as it was, and the registry as it was an hour ago."""
    case.check_noticed()
    day = case.day
    in_copy = [made for made in day.in_use if made not in day.late_archived]
    done = case.maker.garbage().rebuild()
    lost = sum(pack.builds for pack in done.lost)
    figure = f"{done.builds} builds are there; packs with {lost} builds are named as lost"
    claims.add(
        "buildfarm archive rebuild lists what is there", figure, done.builds == len(day.archived) + 1 and lost > 0
    )
    case.check_archive(day.archived, "builds that were archived then survive")
    gone = [case.state(made.id) for made in day.late_archived]
    claims.add("builds archived since are lost", f"{gone.count('unknown')} of {len(gone)}", set(gone) == {"unknown"})
    newest = {f"apps/{case.tenant}/{app}" for app in ("web", "runs", "late")}
    claims.add(
        "apps whose newest image is lost are named", ", ".join(done.without_image), set(done.without_image) == newest
    )
    case.check_images(in_copy)
    case.check_recorded_images(day.archived)
    tagged = case.tag("web") == day.apps["web"][DEPLOYS - 1].digest
    claims.add("tags are where they were an hour ago", "web:latest at the image before", tagged)
    states = [case.state(day.late_queued), case.state(day.queued)]
    claims.add("waiting and running builds go on", ", ".join(states), states == [BuildState.QUEUED, BuildState.RUNNING])
    case.check_operators(
        limit=9, tokens={"token": True, "late_token": True, "revoked_late": False}, head=day.late_audit_head, entries=3
    )
    case.check_kept(kept=True)
    case.check_builds_go_on()


if __name__ == "__main__":
    os.environ.setdefault("BUILDFARM_LOG_LEVEL", "warning")
    main()
