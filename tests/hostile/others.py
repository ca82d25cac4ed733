"""Code that goes for others: their builds, their secrets, their caches, and the farm's own parts."""

from __future__ import annotations

import subprocess
import time

from buildfarm.model import Build, BuildRequest, State
from testkit.cluster import containers
from tests.hostile.arena import Arena
from tests.hostile.attack import Outcome, attack, probes_held, succeeds
from tests.hostile.traps import METADATA, PRIVATE, WIRESERVER, WIRESERVER_PORTS

CANARY = "canary-value-of-somebody-else"


def until(arena: Arena, build: Build, word: str) -> str:
    """The log as soon as it holds a word."""
    deadline = time.monotonic() + 60
    while word not in (text := arena.text(build)):
        assert time.monotonic() < deadline and not arena.farm.get(build.id).state.final, text[-500:]
        time.sleep(0.1)
    return text


@attack(
    "the farm's Redis, registry, engine and every other port of the node are closed; the world and lookups are open",
    quick=True,
)
def reaching_the_farm(arena: Arena) -> Outcome:
    seen = arena.trap.seen
    node = subprocess.run(["hostname", "-I"], check=True, capture_output=True, text=True).stdout.split()
    targets = [(containers.address("redis"), 6379), (containers.address("registry"), 5000)]
    for address in {arena.gateway, *[found for found in node if "." in found]}:
        targets += [(address, port) for port in (arena.trap.port, 6390, 5050, 2375)]
    tries = [f"through '{address} {port}' connect {address} {port}" for address, port in targets]
    web = arena.web.removeprefix("http://").replace(":", " ")
    ways = [f"connect {web}", "getent hosts pypi.org", "connect pypi.org 443"]
    # The world may lose a packet.
    open_ways = "\n".join(f"{{ {way} || {way} || {way}; }} >/dev/null || exit 1" for way in ways)
    # Side by side, some at a time: a closed port answers nothing, and a machine may have many addresses.
    rounds = [" &\n".join([*tries[at : at + 8], "wait"]) for at in range(0, len(tries), 8)]
    told, holds = probes_held(arena, arena.script("\n".join([*rounds, open_ways])), len(tries))
    return f"{told}; the trap saw {arena.trap.seen - seen}", holds and arena.trap.seen == seen


@attack("cloud metadata and private machines are closed", quick=True)
def reaching_the_metadata_address(arena: Arena) -> Outcome:
    tries = [f"through '{host} {port}' connect {host} {port}" for host in (METADATA, PRIVATE) for port in (80,)]
    tries += [f"through 'http {METADATA}' curl -sm 3 http://{METADATA}/latest/meta-data/"]
    return probes_held(arena, arena.script("\n".join(tries)), 3)


@attack("Azure's metadata address, which is public by its number, answers lookups and nothing else", quick=True)
def reaching_the_wireserver(arena: Arena) -> Outcome:
    closed = [port for port in WIRESERVER_PORTS if port != 53]
    number = int.from_bytes(map(int, WIRESERVER.split(".")))
    tries = [f"through '{WIRESERVER} {port}' connect {WIRESERVER} {port}" for port in closed]
    tries += [f"through 'http {host}' curl -sm 3 http://{host}/machine?comp=goalstate" for host in (WIRESERVER, number)]
    return probes_held(arena, arena.script("\n".join([*tries, f"connect {WIRESERVER} 53 || exit 1"])), len(tries))


@attack("two builds at once on one node see nothing of each other: no port, process, file, or config var", quick=True)
def reaching_another_sandbox(arena: Arena) -> Outcome:
    victim = arena.script(
        "hostname -i; python3 -m http.server 8000 >/dev/null 2>&1 & sleep 1; echo READY; "
        "for n in $(seq 25); do [ -e /tmp/stop ] || { sleep 1; echo .; }; done",
        app="victim",
        env={"STOLEN": CANARY},
    )
    text = until(arena, victim, "READY")
    address = next(line.strip() for line in text.splitlines() if line.strip().startswith(("172.", "192.168.", "10.")))
    attacker = arena.script(f"""
through 'port of the other' connect {address} 8000
through 'config var by files' grep -rqs {CANARY} /platform /app /cache /tmp /var/lib /run /dev/shm --exclude=attack.sh
through 'config var by processes' bash -c 'cat /proc/[0-9]*/environ | tr "\\0" "\\n" | grep -v "^_=" | grep -q {CANARY}'
through 'processes of the other' bash -c 'cat /proc/[0-9]*/cmdline | tr "\\0" " " | grep -q "http.serve[r]"'
through 'workspaces' ls /var/lib/buildfarm
through 'disks' bash -c 'find / -xdev -name "disk.ext4" 2>/dev/null | grep -q .'
through 'abstract sockets' bash -c 'grep -q docker /proc/net/unix'
through 'shared memory' bash -c '[ "$(ipcs -m | grep -c 0x)" != 0 ]'
""")
    told, holds = probes_held(arena, attacker, 8)
    still = arena.farm.get(victim.id).state is State.RUNNING
    arena.farm.cancel(victim.id)
    arena.ended(victim)
    return f"{told}; the other ran on: {still}", holds and still


@attack("a cache is its app's own, and a build that fails writes none")
def poisoning_another_apps_cache(arena: Arena) -> Outcome:
    plant = 'echo POISON >"$npm_config_cache/poison"; echo POISON >/cache/poison'
    seek = "if find /cache | grep -q poison; then echo THROUGH poison; else echo held poison; fi"
    succeeds(arena, arena.script(plant, app="evil"))
    other, holds = probes_held(arena, arena.script(seek, app="good"), 1)
    arena.ended(arena.script(f"{plant}; exit 1", app="failing"))
    failed, failed_holds = probes_held(arena, arena.script(seek, app="failing"), 1)
    source, _ = arena.farm.pack(arena.source({"index.html": ""}), arena.tenant)
    own = arena.ended(arena.script(seek.replace("THROUGH", "kept"), app="evil"))
    kept = "kept poison" in arena.text(own)
    tenant = arena.ended(arena.farm.submit(BuildRequest(tenant=f"{arena.tenant}-b"[:30], app="evil", source=source)))
    unseen = "restored" if "Cache restored" in arena.text(tenant) else "none"
    return (
        f"other app: {other}; after a failure: {failed}; other tenant: {unseen}; own cache kept: {kept}",
        holds and failed_holds and unseen == "none" and kept,
    )


@attack("a cache of other buildpacks is dropped")
def cache_of_other_buildpacks(arena: Arena) -> Outcome:
    succeeds(arena, arena.script("echo x >/cache/marker", app="switch"))
    other = arena.ended(arena.submit(arena.source({"index.html": ""}), "switch"))
    return "dropped, and said so", other.state is State.SUCCEEDED and "Cache dropped" in arena.text(other)
