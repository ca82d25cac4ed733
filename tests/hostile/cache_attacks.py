"""What a build leaves in its cache for the app's next build: things that overlays, archives and walks stumble over."""

from __future__ import annotations

import gzip

from buildfarm.model import State
from tests.hostile.arena import Arena
from tests.hostile.attack import Outcome, attack, probes_held, succeeds
from tests.hostile.leavings import CACHE, leavings

LINKS = 20_000
LINKS_OF_MOVES = 10
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
found 'a tree' is "$(cd kept/tree-of/tree && LC_ALL=C ls -A | tr '\n' ' ')" 'deep link '
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
    """Has a build of this app leave its cache; returns when that is in the registry, and on the node as a snapshot."""
    build = arena.script(script, app=app)
    before = arena.cache(app)
    succeeds(arena, build)
    arena.wait_for_cache(app, before)
    arena.wait_for_snapshot(app)


@attack("the next build, and the one after it, find plain files alone, each with its content", quick=True)
def odd_things_in_a_cache(arena: Arena) -> Outcome:
    leave(arena, "odd-cache")
    for _ in range(2):
        build = arena.script(f"{FOUND}\n{LOOK}\n{LEAVE}", app="odd-cache", cached_result=False)
        told, holds = probes_held(arena, build, LOOKS)
        if not holds:
            return told, False
    return told, True


# A build may move trees between the parts of its snapshot and put others in their place: the image must have what is
# there, whatever the node takes for unchanged.
MOVE = r"""
cd /run/buildfarm/merged && keep=/usr/lib/buildfarm/keep
grep -q ' /app overlay ' /proc/mounts && echo 'held on a snapshot' || echo 'THROUGH on a snapshot'
$keep restore /cache/left tree-of key /app/one || echo 'THROUGH nothing restored'
python3 - <<'EOF'
import os
for path in ("app/one", "app", "spare", "cache"):
    for name, value in (("opaque", b"y"), ("redirect", b"/spare/left"), ("redirect", b"/../../..")):
        try:
            os.setxattr(path, "trusted.overlay." + name, value)
            print("THROUGH attribute")
        except OSError:
            pass
print("held attribute")
EOF
mv app/one/deep spare/elsewhere; mkdir app/one/deep; echo planted >app/one/deep/file
mv cache/left/kept/deep app/two; mv app/two cache/left/kept/deep
through 'a whiteout' mknod app/one/whiteout c 0 0
through 'the top' mv app app2
through 'the whole' mv spare app/spare
through 'beside it' touch own
through 'the trees behind it' ls ../node /files/node
cat /app/one/deep/file | sed 's/planted/held what is there/'
"""


@attack("what is moved behind /app and /cache is in the image as it is, and the next build finds its cache", quick=True)
def moves_on_a_snapshot(arena: Arena) -> Outcome:
    leave(arena, "moves", f"{leavings(LINKS_OF_MOVES, plain=True)}\necho of-moves >{CACHE}/moves")
    build = arena.script(MOVE, app="moves")
    told, holds = probes_held(arena, build, MOVE.count("through '") + 3)
    contents = b"".join(gzip.decompress(layer) for _, layer in arena.layers(arena.ended(build)))
    if not holds or b"planted" not in contents or b"moved\n" in contents:
        return f"{told}; the image has {'what is there' if b'planted' in contents else 'something else'}", False
    again = arena.script(f'{FOUND}\nfound deep is "$(cat {CACHE}/kept/deep/two)" two', app="moves")
    return probes_held(arena, again, 1)


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
