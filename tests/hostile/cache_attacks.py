"""What a build leaves in its cache for the app's next build: things that overlays, archives and walks stumble over."""

from __future__ import annotations

from buildfarm.model import State
from tests.hostile.arena import Arena
from tests.hostile.attack import Outcome, attack, probes_held, succeeds
from tests.hostile.leavings import CACHE, leavings

LINKS = 20_000
LEAVE = leavings(LINKS)
# found NAME COMMAND...: the command must succeed
FOUND = """
found() { local name=$1; shift; if "$@"; then echo "held $name"; else echo "THROUGH $name"; fi; }
is() { [ "$1" = "$2" ]; }
"""
LOOK = rf"""
cd {CACHE} || exit 1
found 'no device' is '' "$(find /cache -type b -o -type c)"
found 'all its own' is '' "$(find /cache -mindepth 1 ! -uid $(id -u) -print -quit)"
found 'no overlay attribute' is '' "$(find . ! -type l -exec python3 -c 'import os, sys
for path in sys.argv[1:]:
    try: names = os.listxattr(path)
    except OSError: names = []
    for name in names: print(path, name)' {{}} +)"
found 'a file' is "$(cat kept/one)" one
found 'a file below' is "$(cat kept/deep/two)" two
found 'a hard link' is "$(cat kept/linked)" one
found 'what a whiteout is beside' is "$(cat hidden/real)" real
found 'no redirected folder' is "$(ls kept/deep)" two
found 'a name like a whiteout' is "$(cat .wh.kept)" real
found 'a file where a whiteout was' bash -c 'rm -f hidden/gone && echo x >hidden/gone && grep -q x hidden/gone'
found 'a folder that is emptied' bash -c 'rm -rf hidden && mkdir hidden && [ -z "$(ls -A hidden)" ]'
found 'a program that is just its own' is "$(./suid -c 'id -u')" "$(id -u)"
found 'a locked folder' bash -c 'chmod 700 locked && chmod 600 locked/file && grep -q secret locked/file'
found 'a newline in a name' is "$(cat $'a\nname\n')" newline
found 'an odd name' is "$(cat $'\377\033]0;x\007 -rf')" odd
found "all links: $(find farm -type l | wc -l)" is "$(find farm -type l | wc -l)" {LINKS}
found 'a link of the farm' is "$(readlink farm/2)" /etc/shadow
found 'no file in the farm' is '' "$(find farm -mindepth 1 ! -type l)"
"""
LOOKS = LOOK.count("\nfound ")


def leave(arena: Arena, app: str, script: str = LEAVE) -> None:
    """Has a build of this app leave its cache; returns when that is in the registry."""
    build = arena.script(script, app=app)
    before = arena.cache(app)
    succeeds(arena, build)
    arena.wait_for_cache(app, before)


@attack("the next build, and the one after it, find plain files alone, each with its content", quick=True)
def odd_things_in_a_cache(arena: Arena) -> Outcome:
    leave(arena, "odd-cache")
    for _ in range(2):
        build = arena.script(f"{FOUND}\n{LOOK}\n{LEAVE}", app="odd-cache", cached_result=False)
        told, holds = probes_held(arena, build, LOOKS)
        if not holds:
            return told, False
    return told, True


@attack("another app of the tenant finds nothing of it", quick=True)
def odd_things_in_another_apps_cache(arena: Arena) -> Outcome:
    leave(arena, "odd-neighbour", f"{LEAVE}\necho other >{CACHE}/other; ln -s /app /cache/other")
    probe = f"through 'a file' test -e {CACHE}/other\nthrough 'a link' test -L /cache/other"
    return probes_held(arena, arena.script(probe, app="beside-odd"), 2)


@attack("a cache that is itself a link or a file, or is gone, leaves the next build an empty folder or what it kept")
def a_cache_without_its_top(arena: Arena) -> Outcome:
    leave(arena, "no-top")
    tried = arena.script(
        "chmod 0 /cache/left /cache/left/kept; rm -rf /cache/left/farm; chmod 0 /cache; exit 0", app="no-top"
    )
    first = arena.ended(tried)
    again = arena.ended(arena.script("chmod 700 /cache; mkdir -p /cache/new && echo x >/cache/new/file", app="no-top"))
    return f"{first.state}, then {again.state}: {again.failure}", again.state is State.SUCCEEDED
