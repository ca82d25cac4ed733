"""Links where the node, which is root, expects a folder or a file: at once, or put there when the build seems over.

Canaries lie where such links lead: in a state directory of the farm, among copies of other tenants' caches, and in
/etc/shadow. They must be in no image, layer, cache or log.
"""

from __future__ import annotations

import functools
import gzip
import json
import os
import shlex
import subprocess
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from buildfarm.model import Build
from buildfarm.oci.digest import Digest
from testkit.cluster import containers
from tests.hostile.arena import Arena
from tests.hostile.attack import Outcome, attack, probes_held

COMPILE = "app.compile"
DONE = "succeeded"
LAYER = "caches"  # what a folder is called that is there inside the sandbox and, with a canary in it, outside
_PIECE_BYTES = 1 << 16


@functools.cache
def _planted(folder: Path) -> Mapping[str, bytes]:
    canaries = {}
    for place in (f"{LAYER}/0123456789abcdef", f"state/{LAYER}/redis-password", "state/secrets/farm-key"):
        marker = f"canary-of-{place.replace('/', '-')}-{os.urandom(16).hex()}".encode()
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(marker)
        canaries[place] = marker
    return canaries


def canaries(arena: Arena) -> dict[str, bytes]:
    """What must be nowhere, by where it is; planted with the first call."""
    settings = arena.farm.settings
    own = {"the farm's key": settings.farm_key, "Redis's address": settings.redis_url}
    known = {name: secret.get_secret_value().encode() for name, secret in own.items()}
    shadow = Path("/etc/shadow").read_bytes()
    return {
        **_planted(arena.folder),
        **{name: value for name, value in known.items() if len(value) >= 16},
        "/etc/shadow": shadow,
    }


def targets(arena: Arena) -> dict[str, str]:
    """Where links lead, as seen from the node."""
    canaries(arena)
    state = arena.folder / "state"
    return {
        "absolute": str(state),
        "relative": "../" * 20 + str(arena.folder).strip("/"),
        "file": "/etc/shadow",
        "root": f"/proc/self/root{arena.folder}",
    }


def judged(
    arena: Arena, builds: Mapping[str, Build], codes: Sequence[str], *, word: str = "", said: str = ""
) -> Outcome:
    """Holds where each ended with one of these codes in its first attempt, and no canary is in what it left.

    With ``word``, each has it in its log: the sign that the link was put there. With ``said``, each failure says it.
    """
    told: list[str] = []
    for name, build in builds.items():
        ended = arena.ended(build)
        code = ended.failure.code if ended.failure else str(ended.state)
        found = [place for place, value in canaries(arena).items() if _has(_left(arena, ended), value)]
        if found:
            told.append(f"{name}: {', '.join(found)} got through")
        elif code not in codes or ended.attempt != 1:
            told.append(f"{name}: {code} in attempt {ended.attempt}: {ended.failure}"[:150])
        elif ended.failure and said not in ended.failure.message:
            told.append(f"{name}: it failed for another reason: {ended.failure.message}"[:150])
        elif word not in arena.text(ended):
            told.append(f"{name}: it was not tried")
    return "; ".join(told) or f"{len(builds)} builds, each {' or '.join(codes)}; no canary", not told


def _left(arena: Arena, build: Build) -> dict[str, bytes]:
    """What a build left: its log, and the image and the cache where it made them."""
    left = {"log": arena.text(build).encode(), "record": build.model_dump_json().encode()}
    registry = arena.farm.registry
    if build.result is not None:
        manifest = arena.manifest(build)
        left["config"] = registry.read_blob(build.result.repository, manifest.config.digest)
        left |= {f"layer {digest}": gzip.decompress(content) for digest, content in arena.layers(build)}
    cache = f"caches/{build.request.tenant}/{build.request.app}"
    if build.result is not None and registry.has_manifest(cache, "cache"):
        for layer in json.loads(registry.get_manifest(cache, "cache")[1])["layers"]:
            content = registry.read_blob(cache, Digest(layer["digest"]), limit_bytes=1 << 28)
            left[f"cache {layer['digest']}"] = gzip.decompress(content)
    return left


def _has(left: Mapping[str, bytes], canary: bytes) -> bool:
    return any(canary in content for content in left.values())


def _cnb(arena: Arena, name: str, build: str) -> Build:
    """Starts a build with its own Cloud Native Buildpack, whose layer is called as the canaries' folder."""
    head = f"""#!/bin/bash
layers=$1
mkdir -p $layers/{LAYER}; echo own >$layers/{LAYER}/own
printf '[types]\\nlaunch = true\\n' >$layers/{LAYER}.toml
printf '[[processes]]\\ntype = "web"\\ncommand = ["true"]\\n' >$layers/launch.toml
"""
    toml = f'api = "0.10"\n[buildpack]\nid = "evil/{name}"\nversion = "1.0.0"\n'
    detect, build = "#!/bin/bash\nexit 0\n", f"{head}{build}\nexit 0\n"
    files: dict[str, str | bytes] = {"buildpack.toml": toml, "bin/detect": detect, "bin/build": build}
    folder = _named(arena, files)
    for program in ("detect", "build"):
        (folder / "bin" / program).chmod(0o755)
    reference = str(arena.farm.pack_buildpack(folder))
    return arena.submit(arena.source({"file": "x"}), f"cnb-{name}", buildpacks=(reference,))


def _named(arena: Arena, files: Mapping[str, str | bytes]) -> Path:
    """A folder with a name that a repository may have."""
    return arena.source({f"evil/{name}": content for name, content in files.items()}) / "evil"


def _swap(place: str, target: str) -> str:
    """Bash that puts a link where ``place``, a word of bash, is."""
    return f"mv -T {place} {place}.gone && ln -sT {shlex.quote(target)} {place} && echo SWAPPED >&2"


def _after(swap: str) -> str:
    """Bash that does it when the lifecycle, whose output this process keeps open, has ended: the spool's parent."""
    parent = "read -r _ _ _ lifecycle _ </proc/$PPID/stat && exec 9>/proc/$lifecycle/fd/2"
    return f"{parent}; ( while kill -0 $lifecycle 2>/dev/null; do sleep 0.01; done; {swap} ) 2>&9 &"


def _now(place: str, target: str) -> str:
    """Bash that does it at once: what the link leads to is there inside the sandbox as well, so all seems well."""
    at = target.removeprefix("/proc/self/root")
    inside = at if at.startswith("/") else f"/{at.lstrip('./')}"
    return f"mkdir -p {shlex.quote(inside)}; cp -a {place}/. {shlex.quote(inside)}; {_swap(place, target)}"


@attack("the app's fault, and none of the node's files in the image", quick=True)
def a_link_above_a_launch_layer(arena: Arena) -> Outcome:
    to = targets(arena)
    builds = {
        "at once, relative": _cnb(arena, "above-now-relative", _now("$layers", to["relative"])),
        "afterwards, absolute": _cnb(arena, "above-absolute", _after(_swap("$layers", to["absolute"]))),
    }
    return judged(arena, builds, [COMPILE], word="SWAPPED", said="is not a plain folder")


@attack("the same for links to folders, files and /proc/self/root, at once and when the lifecycle has ended")
def other_links_above_a_launch_layer(arena: Arena) -> Outcome:
    to = targets(arena)
    builds = {
        f"at once, {kind}": _cnb(arena, f"above-now-{kind}", _now("$layers", to[kind])) for kind in ("absolute", "root")
    }
    builds |= {
        f"afterwards, {kind}": _cnb(arena, f"above-{kind}", _after(_swap("$layers", to[kind])))
        for kind in ("relative", "file", "root")
    }
    return judged(arena, builds, [COMPILE], word="SWAPPED", said="is not a plain folder")


@attack("a launch layer that is a link itself is the app's fault")
def a_link_in_place_of_a_launch_layer(arena: Arena) -> Outcome:
    to, layer = targets(arena), f"$layers/{LAYER}"
    builds = {kind: _cnb(arena, f"layer-{kind}", _after(_swap(layer, target))) for kind, target in to.items()}
    builds["at once"] = _cnb(arena, "layer-now", _now(layer, f"{to['relative']}/{LAYER}"))
    return judged(arena, builds, [COMPILE], word="SWAPPED", said="is not a plain folder")


@attack("links inside a launch layer, and instead of the launcher's own folders, stay links")
def links_beside_and_inside_a_launch_layer(arena: Arena) -> Outcome:
    to = targets(arena)
    inside = "\n".join(f"ln -s {shlex.quote(target)} $layers/{LAYER}/{kind}" for kind, target in to.items())
    builds = {"inside": _cnb(arena, "inside", f"{inside}; echo SWAPPED >&2")}
    for place in ("config", "sbom"):
        made = f"mkdir -p /layers/{place}; {_swap(f'/layers/{place}', to['absolute'])}"
        builds[place] = _cnb(arena, place, _after(made))
    return judged(arena, builds, [DONE], word="SWAPPED")


@attack("none of the four folders, and nothing above them, can be replaced", quick=True)
def a_link_in_place_of_a_sandboxs_folder(arena: Arena) -> Outcome:
    canaries(arena)
    tries = []
    for place in ("/app", "/cache", "/layers", "/tmp"):
        tries.append(f"through 'move {place}' mv -T {place} {place}-gone")
        tries.append(f"through 'remove {place}' rmdir {place}")
        tries.append(f"through 'link over {place}' ln -sfT /etc {place}")
    return probes_held(arena, arena.script("\n".join(tries), app="folders"), len(tries))


FOLDERS = """
# folder PATH: what a buildpack could have made, large enough to be its own layer
folder() { mkdir -p "$1/deep"; head -c 5000000 /dev/urandom >"$1/deep/file"; }
"""


def _replaced(arena: Arena, top: str) -> str:
    """Bash that puts a link of every kind at each component of paths below ``top``."""
    lines = []
    for kind, target in targets(arena).items():
        for place in (
            f"{kind}-one",
            f"{kind}-two/deep",
            f"{kind}-three/deep/file",
            f".{kind}/one",
            f".{kind}/two/deep",
        ):
            lines.append(f"mkdir -p $(dirname {top}/{place}); ln -sT {shlex.quote(target)} {top}/{place}")
    return "\n".join([*lines, "echo SWAPPED"])


def _flipping(place: str, target: str) -> str:
    """Bash that leaves behind what changes a folder into a link and back until it is killed."""
    loop = (
        f"trap '' TERM HUP; while :; do mv -T {place} {place}.gone; ln -sT {shlex.quote(target)} {place}; "
        f"rm {place}; mv -T {place}.gone {place}; done"
    )
    return f"setsid nohup bash -c {shlex.quote(loop)} >/dev/null 2>&1 </dev/null &\necho SWAPPED"


@attack("links instead of an app's folders stay links, also where they change until the end", quick=True)
def links_in_the_app(arena: Arena) -> Outcome:
    state = targets(arena)["absolute"]
    flips = [f"folder /app/{name}\n{_flipping(f'/app/{name}{at}', state)}" for name, at in (("a", ""), ("b", "/deep"))]
    flip = "\n".join([FOLDERS, *flips])
    builds = {
        "every component": arena.script(_replaced(arena, "/app"), app="links"),
        "changing": arena.script(flip, app="flipping"),
    }
    return judged(arena, builds, [DONE], word="SWAPPED")


@attack("links in a cache stay links")
def links_in_the_cache(arena: Arena) -> Outcome:
    replaced = _replaced(arena, "/cache")
    told, holds = judged(arena, {"every component": arena.script(replaced, app="cached")}, [DONE], word="SWAPPED")
    _wait_for_cache(arena, "cached")
    flip = f"{FOLDERS}\nfolder /cache/flip\n{_flipping('/cache/flip', targets(arena)['absolute'])}"
    restored = arena.script("ls /cache; echo SWAPPED", app="cached")
    again = {"restored": restored, "changing": arena.script(flip, app="flip")}
    told_again, holds_again = judged(arena, again, [DONE], word="SWAPPED")
    return f"{told}; {told_again}", holds and holds_again


def _wait_for_cache(arena: Arena, app: str) -> None:
    deadline = time.monotonic() + 20
    while not arena.farm.registry.has_manifest(f"caches/{arena.tenant}/{app}", "cache"):
        assert time.monotonic() < deadline, "the cache was not kept"
        time.sleep(0.1)


@attack("a Procfile that is a link out of the app, whatever it leads to, is the app's fault", quick=True)
def a_link_in_place_of_the_procfile(arena: Arena) -> Outcome:
    to = {**targets(arena), "canary": f"{targets(arena)['absolute']}/secrets/farm-key"}
    builds = {
        kind: arena.script(f"rm Procfile; ln -sT {shlex.quote(target)} Procfile; echo SWAPPED", app=f"procfile-{kind}")
        for kind, target in to.items()
    }
    told, holds = judged(arena, builds, [COMPILE], word="SWAPPED")
    flip = {"changing": arena.script(_flipping("/app/Procfile", to["canary"]), app="procfile-flip")}
    told_flip, holds_flip = judged(arena, flip, [COMPILE, DONE], word="SWAPPED")
    return f"{told}; {told_flip}", holds and holds_flip


@attack("a manifest of the source that is a link out of it is the app's fault; an app.json is ignored")
def links_in_place_of_manifests(arena: Arena) -> Outcome:
    state = targets(arena)["absolute"]
    builds, ignored = {}, {}
    for name in (".buildpacks", "project.toml", "scalingo.json", "app.json", ".slugignore"):
        for kind, target in (("canary", f"{state}/secrets/farm-key"), ("folder", state)):
            source = arena.source({"index.html": "x"})
            (source / name).symlink_to(target)
            app = f"manifest-{name.strip('.').replace('.', '-')}-{kind}"
            kept = ignored if name == "app.json" else builds
            kept[f"{name} to a {kind}"] = arena.submit(source, app)
    told, holds = judged(arena, builds, [COMPILE, "app.source"])
    told_ignored, holds_ignored = judged(arena, ignored, [DONE], word="leads out of the app. It is ignored.")
    return f"{told}; {told_ignored}", holds and holds_ignored


def _classic(arena: Arena, name: str, swap: str, **links: str) -> Build:
    """Starts a build with its own classic buildpack, whose bin/release does this last of all."""
    lines = {"detect": "echo Evil", "compile": "true", "release": f"echo '{{}}'; {swap}", "report": "echo '{}'"}
    folder = _named(arena, {f"bin/{key}": f"#!/bin/bash\n{line}\n" for key, line in lines.items()})
    for program in lines:
        (folder / "bin" / program).chmod(0o755)
    for path, target in links.items():
        place = folder / path.replace("_", "/")
        if place.is_dir():
            subprocess.run(["rm", "-r", str(place)], check=True)
        place.unlink(missing_ok=True)
        place.symlink_to(target)
    reference = str(arena.farm.pack_buildpack(folder))
    return arena.submit(arena.source({"file": "x", "Procfile": "web: true"}), name, buildpacks=(reference,))


@attack("links on the way to bin/report are left to the sandbox")
def links_on_the_way_to_the_report(arena: Arena) -> Outcome:
    to = targets(arena)
    own = '"$(dirname "$(dirname "$0")")"'
    places = {"buildpacks": "/tmp/buildpacks", "buildpack": own, "bin": f"{own}/bin", "report": f"{own}/bin/report"}
    builds = {}
    for place, path in places.items():
        for kind in ("absolute", "relative", "file", "root") if place == "report" else ("absolute", "root"):
            swap = f"own={path}; {_swap('$own', to[kind])}"
            builds[f"{place}, {kind}"] = _classic(arena, f"report-{place}-{kind}", swap)
    return judged(arena, builds, [DONE], word="SWAPPED")


@attack("a buildpack whose own files are links is refused, or reads nothing but its sandbox")
def links_in_a_buildpack(arena: Arena) -> Outcome:
    to = targets(arena)
    builds = {
        f"{place}, {kind}": _classic(arena, f"pack-{place.replace('_', '-')}-{kind}", "true", **{place: to[kind]})
        for place in ("bin", "bin_compile", "bin_report", "bin_release")
        for kind in ("absolute", "file")
    }
    return judged(arena, builds, ["app.detect", COMPILE, DONE])


def searched(arena: Arena) -> Outcome:
    """Every blob that came into the registry since the arena opened, those of failed builds too."""
    root = containers.folder("registry")
    # By find: a registry that has been in use for long has hundreds of thousands of files.
    new = ["find", root, "-type", "f", "-newermt", f"@{arena.opened}", "-print0"]
    names = subprocess.run(new, capture_output=True, check=False).stdout  # an upload may end meanwhile
    blobs = [Path(os.fsdecode(name)) for name in names.split(b"\0") if name]
    found = []
    for path in blobs:
        contents = _contents(path)
        wanted = canaries(arena).items()
        found += [f"{place} in {path}" for place, value in wanted if any(value in content for content in contents)]
    return f"{len(blobs)} files searched, found in: {found or 'none'}", bool(blobs) and not found


def _contents(path: Path) -> list[bytes]:
    """As it is, and unpacked as far as it can be; what is gone meanwhile is in no image."""
    try:
        content = path.read_bytes()
    except OSError:
        return []
    unpacked: list[bytes] = []
    with suppress(zlib.error):
        unpacked += _members(content)
    return [content, b"".join(unpacked)]


def _members(content: bytes) -> Iterator[bytes]:
    """What the gzip members hold; by small pieces, since the rest of a piece is copied at the end of each member."""
    unpacker = zlib.decompressobj(31)
    for start in range(0, len(content), _PIECE_BYTES):
        piece = content[start : start + _PIECE_BYTES]
        while piece:
            yield unpacker.decompress(piece)
            piece = unpacker.unused_data
            if unpacker.eof:
                unpacker = zlib.decompressobj(31)


def watched(arena: Arena) -> Outcome:
    """Whether the node reached builds' files by the door alone, as an audit hook in it saw."""
    doors, others = arena.reached()
    told = f"{doors:,} times by the door, {len(others)} times otherwise"
    return f"{told}: {others[0]}" if others else told, doors > 0 and not others
