"""A campaign on a real node: only apps with the component in their own layers are built again."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import zlib
from dataclasses import dataclass, replace

import pytest

from buildfarm.errors import ConflictError, RequestError
from buildfarm.farm import Farm
from buildfarm.model import BuildRequest, BuildResult, RunPolicy, State
from buildfarm.releases.facts.components.store import ComponentStore
from buildfarm.releases.rollouts.rules.parameters import Parameters
from buildfarm.releases.rollouts.rules.reports import HealthReport, Status
from buildfarm.releases.rollouts.rules.states import AppState, Phase, Rollout
from buildfarm.releases.rollouts.store import ROLLOUTS_MAX, Rollouts, digests_of_rollouts
from buildfarm.releases.rollouts.views import RolloutView
from buildfarm.store import OnlyIf
from testkit.builds import Builds, gateway_of, wait_for, write_files
from testkit.registry.deployed import Deployed
from workers.caches.facts.notes import ImageNotes

LODASH = "npm/lodash@<4.17.21"
OLD, NEW = ({"app/lodash/package.json": [["npm", "lodash", version, "", ""]]} for version in ("4.17.20", "4.17.21"))
RULES = Parameters(cohorts=("100%",), soak_seconds=0, failure_budget=1, min_reports=0.01)
# Its output is another one in each build, unless the app has a file `still`.
COMPILE = '#!/bin/bash\n[ -e "$1/still" ] || date +%s%N >"$1/stamp"\n'
RELEASE = "#!/bin/bash\nprintf -- '---\\ndefault_process_types:\\n  web: sh\\n'\n"


@dataclass
class Shop:
    """Apps of one tenant: two with the component in their own layers, one with it in its base, one without it."""

    built: Builds
    store: ComponentStore

    @property
    def farm(self) -> Farm:
        return self.built.farm

    def app(self, name: str) -> str:
        return f"{self.built.tenant}/{name}"

    def image(self, name: str) -> str:
        return self.farm.records.tag_target(f"apps/{self.app(name)}")

    def has(self, layers, files) -> None:
        """As a node would note it when it has read the layers."""
        told = {"version": 1, "files": files, "removed": [], "unread": {}}
        for layer in layers:
            self.store.put(layer, zlib.compress(json.dumps(told, separators=(",", ":")).encode()), of_base=False)

    def built_has(self, result: BuildResult, files) -> None:
        own = [layer.diff_id for layer in result.layers if layer.origin != "builder"]
        self.has(own, {})
        self.has(own[-1:], files)
        ImageNotes(self.farm.registry, self.store).note(f"{result.repository}@{result.digest}", own)

    def state(self, rollout: RolloutView) -> dict[str, AppState]:
        return {one.app.partition("/")[2]: one.state for one in self.farm.rollout_apps(rollout.id)}

    def looked(self, rollout: RolloutView) -> RolloutView:
        wait_for(lambda: self.farm.rollout(rollout.id).checked, 30)
        return self.farm.rollout(rollout.id)


@pytest.fixture(scope="module")
def shop(built, tmp_path_factory):
    farm, folder = built.farm, tmp_path_factory.mktemp("shop")
    write_files(
        folder / "pack", {"bin/detect": "#!/bin/bash\necho probe\n", "bin/compile": COMPILE, "bin/release": RELEASE}
    )
    for script in (folder / "pack/bin").iterdir():
        script.chmod(0o755)
    buildpacks = (str(farm.pack_buildpack(folder / "pack")),)
    made = Shop(built, ComponentStore(farm.database))
    for name, files in (("own", {"code": "1"}), ("still", {"code": "2", "still": ""})):
        build = built(write_files(folder / name, files), name, buildpacks=buildpacks)
        assert build.state is State.SUCCEEDED, build.failure
        made.built_has(build.result, OLD)
    deployed = Deployed(farm)
    base = deployed.base("2026-01-01T00:00:00Z", files={"patch": built.tenant})
    on_base = [str(one) for one in deployed.read(base).config.diff_ids]
    notes = ImageNotes(farm.registry, made.store)
    made.has(on_base, {})
    for name in ("base", "none"):
        own = base if name == "base" else farm.builder()
        digest = deployed.app(made.app(name), own)
        made.has(deployed.diff_ids, {})
        notes.note(f"apps/{made.app(name)}@{digest}", [*deployed.diff_ids][-1:])
    made.has(on_base[-1:], OLD)
    notes.note(base, on_base)
    builder = [str(one) for one in deployed.read(farm.builder()).config.diff_ids]
    made.has(builder, {})
    notes.note(farm.builder(), builder)
    return made


def test_only_apps_with_the_component_in_their_own_layers_are_rebuilt(shop):
    farm, before = shop.farm, {name: shop.image(name) for name in ("own", "still", "base", "none")}
    planned = shop.looked(farm.plan_rebuild(LODASH, RULES))
    assert shop.state(planned) == {"own": AppState.WAITING, "still": AppState.WAITING, "base": AppState.FROZEN}
    sources = {farm.recent(1, tenant=shop.built.tenant, app=name)[0].request.source.digest for name in ("own", "still")}
    assert {str(one) for one in sources} <= digests_of_rollouts(farm.database), "from the plan on"
    [base] = farm.rollout_apps(planned.id, [AppState.FROZEN])
    assert base.reasons[0].startswith("its base brings npm/lodash 4.17.20 (/app/lodash/package.json): a rollout")
    assert {name: shop.image(name) for name in before} == before, "nothing is built before it is started"
    rollout = farm.start_rollout(planned.id, reason="CVE-2021-23337")
    with pytest.raises(ConflictError, match="a campaign and another rollout cannot change the same apps"):
        farm.start_rollout(shop.looked(farm.plan_rebuild(LODASH, RULES)).id)

    def built():
        builds = [
            farm.get(one.build) for one in farm.rollout_apps(rollout.id) if one.build and _is_known(farm, one.build)
        ]
        return len(builds) == 2 and all(one.state is State.SUCCEEDED for one in builds) and builds

    wait_for(lambda: bool(built()), 60, lambda: farm.rollout_apps(rollout.id))
    builds = {one.request.app: one for one in built()}
    assert {one.build_class for one in builds.values()} == {"bulk"}
    assert farm.image_changes("0") == [], "its layers have not been read"
    assert shop.state(rollout)["own"] is AppState.BUILDING
    assert {str(one) for one in sources} <= digests_of_rollouts(farm.database), "it may have to be built again"
    shop.built_has(builds["own"].result, NEW)
    wait_for(lambda: shop.state(rollout)["own"] is AppState.ANNOUNCED, 30)
    [change] = farm.image_changes("0")
    assert (change.app, change.image, change.previous, change.rollout) == (
        shop.app("own"), shop.image("own"), before["own"], rollout.id,
    )  # fmt: skip
    farm.report_health(
        change.image,
        HealthReport(
            tenant=shop.built.tenant, app="own", status=Status.HEALTHY, observed_at=farm.database.now(),
        ),
    )  # fmt: skip
    wait_for(lambda: farm.rollout(rollout.id).phase.final, 30, lambda: farm.rollout(rollout.id))
    assert farm.rollout(rollout.id).phase is Phase.COMPLETE
    assert shop.state(rollout) == {"own": AppState.HEALTHY, "still": AppState.REVERTED, "base": AppState.FROZEN}
    [still] = farm.rollout_apps(rollout.id, [AppState.REVERTED])
    assert still.reasons == ("the rebuilt image still has npm/lodash 4.17.20 (/app/lodash/package.json)",)
    assert {name for name in before if shop.image(name) != before[name]} == {"own"}
    assert farm.app_bases.of(shop.built.tenant, "own").chosen == "", "builds stand on the channel's base as before"


def _is_known(farm, build_id):
    return bool(farm.database.client.exists(farm.database.key("build", build_id)))


def test_what_cannot_be_planned_is_refused_with_one_sentence(shop):
    with pytest.raises(RequestError, match="'lodash' does not name a component"):
        shop.farm.plan_rebuild("lodash")
    with pytest.raises(RequestError, match="No app has npm/ms in its own layers"):
        shop.farm.plan_rebuild("npm/ms")


def test_a_held_app_is_named_and_not_rebuilt(shop):
    shop.farm.hold_app(shop.built.tenant, "still", "an audit", days=1)
    try:
        planned = shop.looked(shop.farm.plan_rebuild(LODASH, RULES))
        with pytest.raises(ConflictError, match="has no app that can be rebuilt"):
            shop.farm.start_rollout(planned.id)
        [held] = shop.farm.rollout_apps(planned.id, [AppState.HELD])
        assert held.reasons[0].endswith("an audit")
    finally:
        shop.farm.release_app(shop.built.tenant, "still")


@pytest.fixture
def silent(shop):
    """The address of an archive that never comes: a build of it is open until it is cancelled."""
    with socket.create_server((gateway_of(shop.farm.settings.sandbox_network), 0)) as server:
        yield "http://{}:{}/a.tar".format(*server.getsockname())


def test_a_rebuild_is_accepted_only_if_nothing_is_newer(shop, silent):
    farm, planned = shop.farm, shop.looked(shop.farm.plan_rebuild(LODASH, RULES))
    revision = Rollouts(farm.database).get(planned.id).revision
    request = BuildRequest(
        tenant=shop.built.tenant, app="none", build_class="bulk",
        source={"kind": "archive", "url": silent, "sha256": "a" * 64},
    )  # fmt: skip
    newest = shop.image("none")
    for only_if in (
        OnlyIf(f"sha256:{'0' * 64}", planned.id, revision),
        OnlyIf(newest, planned.id, revision - 1),
        OnlyIf(newest, "r999", revision),
    ):
        with pytest.raises(ConflictError, match="is not rebuilt"):
            farm.submit_if(only_if, request, None)
    open_build = farm.submit(request.model_copy(update={"build_class": "interactive", "run_policy": RunPolicy.ALL}))
    with pytest.raises(ConflictError, match="is not rebuilt"):
        farm.submit_if(OnlyIf(newest, planned.id, revision), request, "feed")
    farm.cancel(open_build.id)
    shop.built.ended(open_build.id)
    accepted = farm.submit_if(OnlyIf(newest, planned.id, revision), request, "feed")
    assert farm.submit_if(OnlyIf("", "r999", 1), request, "feed").id == accepted.id, "the same one"
    farm.cancel(accepted.id)
    shop.built.ended(accepted.id)


def test_plans_that_were_never_started_make_room_before_rollouts_that_were(farm):
    rollouts, draft = Rollouts(farm.database), Rollout("", 0, "stable", "", "", phase=Phase.ABORTED)
    started = rollouts.add(replace(draft, waves=1), [])
    unstarted = [rollouts.add(draft, []) for _ in range(ROLLOUTS_MAX)]
    kept = {one.id for one in rollouts.all()}
    assert len(kept) == ROLLOUTS_MAX
    assert started.id in kept
    assert unstarted[0].id not in kept


def test_a_dry_run_on_the_command_line_names_every_app(shop):
    command = [sys.executable, "-m", "buildfarm", "rollouts", "rebuild", "--where", LODASH, "--dry-run"]
    environment = {**os.environ, "BUILDFARM_NAMESPACE": shop.farm.settings.namespace}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert f": rebuild for {LODASH}\nplanned since" in done
    assert f"frozen       {shop.app('base')}  its base brings npm/lodash 4.17.20" in done
    assert shop.farm.rollouts()[0].phase is Phase.PLANNED
