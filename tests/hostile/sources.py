"""Sources that attack whoever unpacks, fetches or reads them."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import ValidationError

from buildfarm.model import BuildRequest, State
from buildfarm.sources.address import ArchiveSource, GitSource
from tests.hostile.arena import Arena
from tests.hostile.attack import Outcome, attack, fails_with, succeeds
from tests.hostile.traps import METADATA, PRIVATE

CANARY = "buildfarm-hostile-canary"


def write_tar(path: Path, entries: Callable[[tarfile.TarFile], None], mode: str = "w:gz") -> None:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        add_file(tar, "index.html", b"hi")
        entries(tar)


def add_file(tar: tarfile.TarFile, name: str, content: bytes = b"x", **fields: object) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    tar.addfile(info, io.BytesIO(content))


def outside_the_app(arena: Arena, name: str) -> Outcome:
    """Whatever became of the build: no canary outside of its own workspace, which is gone."""
    ended = arena.ended(arena.archive(name))
    places = [Path("/etc"), Path("/tmp"), Path("/var/lib/buildfarm"), Path("/root"), Path("/")]
    found = [str(place / CANARY) for place in places if (place / CANARY).exists()]
    told = ended.failure.code if ended.failure else str(ended.state)
    if found:
        return f"{told}; written: {found}", False
    if ended.state is State.SUCCEEDED:
        names = [entry.name for entry in image_entries(arena, ended)]
        strange = [entry for entry in names if not entry.startswith(("app", "etc/buildfarm"))]
        return f"{told}; nothing outside /app", not strange
    return f"{told}; nothing outside", told == "app.source" and ended.attempt == 1


def image_entries(arena: Arena, build: object) -> Iterator[tarfile.TarInfo]:
    for _, content in arena.layers(build):  # type: ignore[arg-type]
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(content))) as tar:
            yield from tar


@attack("nothing is written outside /app", quick=True)
def path_traversal(arena: Arena) -> Outcome:
    def entries(tar: tarfile.TarFile) -> None:
        for depth in (1, 4, 12):
            add_file(tar, "../" * depth + f"etc/{CANARY}")
            add_file(tar, "a/" + "../" * depth + CANARY)

    write_tar(arena.web_root / "dots.tar.gz", entries)
    return outside_the_app(arena, "dots.tar.gz")


@attack("nothing is written outside /app")
def absolute_names(arena: Arena) -> Outcome:
    write_tar(arena.web_root / "abs.tar.gz", lambda tar: add_file(tar, f"/etc/{CANARY}"))
    return outside_the_app(arena, "abs.tar.gz")


@attack("a link that leads out is not followed", quick=True)
def symlink_escape(arena: Arena) -> Outcome:
    def entries(tar: tarfile.TarFile) -> None:
        for name, target in (("out", "/etc"), ("up", "../../../../../tmp"), ("a", "."), ("a/b", "../../../..")):
            add_file(tar, name, b"", type=tarfile.SYMTYPE, linkname=target)
        for name in ("out", "up", "a/b/tmp"):
            add_file(tar, f"{name}/{CANARY}")

    write_tar(arena.web_root / "links.tar.gz", entries)
    return outside_the_app(arena, "links.tar.gz")


@attack("a hard link to a file of the host or the builder is refused")
def hard_link_escape(arena: Arena) -> Outcome:
    def entries(tar: tarfile.TarFile) -> None:
        for number, target in enumerate(("/etc/passwd", "../etc/shadow", "../../../../etc/hostname")):
            add_file(tar, f"link{number}", b"", type=tarfile.LNKTYPE, linkname=target)

    write_tar(arena.web_root / "hard.tar.gz", entries)
    return fails_with(arena, arena.archive("hard.tar.gz"), "app.source")


@attack("no device comes into being", quick=True)
def device_nodes(arena: Arena) -> Outcome:
    def entries(tar: tarfile.TarFile) -> None:
        add_file(tar, "sda", b"", type=tarfile.BLKTYPE, devmajor=8, devminor=0, mode=0o666)
        add_file(tar, "mem", b"", type=tarfile.CHRTYPE, devmajor=1, devminor=1, mode=0o666)

    write_tar(arena.web_root / "devices.tar.gz", entries)
    return fails_with(arena, arena.archive("devices.tar.gz"), "app.source")


@attack("no set-id bit reaches the image")
def set_uid_files(arena: Arena) -> Outcome:
    script = "cp /bin/true suid; chmod 6755 suid; mkdir d; chmod 3777 d; ls -la"
    built = succeeds(arena, arena.script(script))
    write_tar(
        arena.web_root / "suid.tar.gz", lambda tar: add_file(tar, "suid", b"#!/bin/sh", mode=0o6755, uid=0, gid=0)
    )
    unpacked = succeeds(arena, arena.archive("suid.tar.gz"))
    entries = [entry for build in (built, unpacked) for entry in image_entries(arena, build)]
    bad = [entry.name for entry in entries if entry.mode & 0o7000]
    there = sum(entry.name.endswith("/suid") for entry in entries)
    return f"{there} files in the images, {len(bad)} with set-id bits", there == 2 and not bad


@attack("it ends at the limit, as too large", quick=True)
def gzip_bomb(arena: Arena) -> Outcome:
    path = arena.web_root / "bomb.tar.gz"
    with gzip.open(path, "wb", compresslevel=9) as file:
        info = tarfile.TarInfo("zeros")
        info.size = 2 << 30
        file.write(info.tobuf())
        for _ in range(2048):
            file.write(bytes(1 << 20))
    told, holds = fails_with(arena, arena.archive("bomb.tar.gz"), "app.too_large")
    return f"{path.stat().st_size / 1e6:.1f} MB that unpack to 2 GiB: {told}", holds


@attack("a format that the farm does not take is refused, not tried")
def zip_bomb(arena: Arena) -> Outcome:
    path = arena.web_root / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("zeros", bytes(200 << 20))
    return fails_with(arena, arena.archive("bomb.zip"), "app.source")


@attack("it ends at the limit of entries, as too large")
def a_million_files(arena: Arena) -> Outcome:
    path = arena.web_root / "million.tar.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for number in range(1_000_000):
            file.write(tarfile.TarInfo(f"d{number % 100}/{number}").tobuf(tarfile.USTAR_FORMAT))
        file.write(bytes(1024))
    return fails_with(arena, arena.archive("million.tar.gz"), "app.too_large")


@attack("a hole counts as what it claims to be")
def sparse_terabyte(arena: Arena) -> Outcome:
    told, holds = fails_with(arena, arena.script("truncate -s 1T hole; ls -lh hole"), "app.too_large")
    cached = arena.script('truncate -s 1T "$npm_config_cache/hole" /cache/hole', app="hole")
    state = arena.ended(cached).state
    # An app that had a cache still has that one.
    kept = not arena.haunted and arena.farm.registry.has_manifest(f"caches/{arena.tenant}/hole", "cache")
    after = arena.ended(arena.script('[ ! -e "$npm_config_cache/hole" ] && [ ! -e /cache/hole ]', app="hole"))
    held = state is after.state is State.SUCCEEDED and not kept
    return f"{told}; in the cache: {state}, {'not kept' if held else 'kept'}", holds and held


@attack("names that are no text arrive as they are")
def names_that_are_not_utf8(arena: Arena) -> Outcome:
    built = succeeds(
        arena, arena.script("touch $'bad\\xff\\xfename' $'new\\nline' -- '--checkpoint-action=exec=id' '-rf'")
    )
    names = {entry.name for entry in image_entries(arena, built)}
    pulled = subprocess.run(
        ["docker", "run", "--rm", "--network=none", arena.farm.image(built), "bash", "-c", "ls -b"],
        capture_output=True, check=False,
    )  # fmt: skip
    there = b"bad\\377\\376name" in pulled.stdout
    return f"{len(names)} entries, the engine reads them", there and pulled.returncode == 0


@attack("refused where the farm's own image would suffer: whiteouts, and names no file system takes", quick=True)
def names_that_images_reserve(arena: Arena) -> Outcome:
    told, holds = fails_with(arena, arena.script("touch .wh.app.py .wh..wh..opq .wh..."), "app.compile")
    deep = "for n in $(seq 300); do mkdir aaaaaaaaaaaaaaaaaaaaaa && cd aaaaaaaaaaaaaaaaaaaaaa; done; touch end"
    told_deep, holds_deep = fails_with(arena, arena.script(deep), "app.too_large")
    return f"{told}; {told_deep}", holds and holds_deep


@attack("links stay links: no content of the host is in the image", quick=True)
def links_to_the_hosts_files(arena: Arena) -> Outcome:
    script = "ln -s /etc/shadow a; ln -s ../../../../../../root b; ln -s /proc/self/environ c; mkfifo pipe"
    built = succeeds(arena, arena.script(script))
    kinds = {entry.name: entry for entry in image_entries(arena, built)}
    links = all(kinds[f"app/{name}"].issym() for name in "abc")
    return "3 links in the image, the pipe left out", links and "app/pipe" not in kinds


@attack("refused before there is a build", quick=True)
def sources_that_are_options_or_files(arena: Arena) -> Outcome:
    urls = ["--upload-pack=touch /tmp/x", "file:///etc", "/etc", "ext::sh -c id", "ssh://-oProxyCommand=id/x",
            "fd::17", "https://user:token@example.org/x", "git@-oProxyCommand=id:x", "http://", "https://x y/",
            "gopher://x/"]  # fmt: skip
    taken = []
    for url in urls:
        for make in (lambda u=url: GitSource(url=u), lambda u=url: ArchiveSource(url=u, sha256="0" * 64)):
            try:
                make()
            except ValidationError:
                continue
            taken.append(url)
    for ref in ("--upload-pack=id", "-f", "a b", "a..b", "@{-1}"):
        try:
            GitSource(url="https://example.org/x", ref=ref)
        except ValidationError:
            continue
        taken.append(ref)
    for env in ({"../x": "x"}, {"A-B": "x"}, {"A=B": "x"}, {"A": "\0"}):
        try:
            BuildRequest(tenant="t", app="a", source=GitSource(url="https://example.org/x"), env=env)
        except ValidationError:
            continue
        taken.append(str(env))
    total = 2 * len(urls) + 9
    return f"{total - len(taken)} of {total} refused {taken}", not taken


def _fetch_refused(arena: Arena, targets: list[str]) -> Outcome:
    """Each target is asked for directly, through a redirect, and as a git repository."""
    seen = arena.trap.seen
    urls = [*targets, *(f"{arena.web}/to/{target.removeprefix('http://')}" for target in targets)]
    builds = []
    for number, url in enumerate(urls):
        # Each of its own app: a newer build would take the place of an older one.
        builds.append(arena.url(url, app=f"fetch-{number}"))
        request = BuildRequest(tenant=arena.tenant, app=f"clone-{number}", source=GitSource(url=url))
        builds.append(arena.farm.submit(request))
    codes = []
    got = []
    for build in builds:
        ended = arena.ended(build)
        codes.append(ended.failure.code if ended.failure else str(ended.state))
        got += [line for line in arena.text(ended).splitlines() if "has the SHA-256" in line]
    held = not got and arena.trap.seen == seen and set(codes) == {"app.source"}
    return f"{codes.count('app.source')} of {len(builds)} fetches refused, the trap saw {arena.trap.seen - seen}", held


@attack("an address of the node, asked for or redirected to, is not reached", quick=True)
def redirect_to_a_private_address(arena: Arena) -> Outcome:
    return _fetch_refused(arena, [f"http://{arena.gateway}:{arena.trap.port}/x"])


@attack("cloud metadata and other private machines are not reached by a fetch")
def fetch_from_metadata(arena: Arena) -> Outcome:
    (arena.web_root / "x").write_text("secret credentials")
    return _fetch_refused(arena, [f"http://{METADATA}/x", f"http://{PRIVATE}/x", "http://2852039166/x"])


@attack("nothing of a repository runs, and no other address than its own is asked")
def git_repository_with_hooks_and_submodules(arena: Arena) -> Outcome:
    seen = arena.trap.seen
    work = arena.source({"index.html": "hi", ".gitattributes": "* filter=evil\n*.x filter=lfs\n", "a.x": "x"})
    url = f"http://{arena.gateway}:{arena.trap.port}/sub.git"
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(work)]
    (work / ".gitmodules").write_text(f'[submodule "s"]\n\tpath = s\n\turl = {url}\n')
    (work / "hook").write_text("#!/bin/sh\necho OWNED >/app/owned\n")
    (work / "evil").symlink_to(".git/hooks/post-checkout")
    for command in (
        ["init", "-q", "-b", "main"],
        ["add", "."],
        ["update-index", "--add", "--cacheinfo", "160000,1234567890123456789012345678901234567890,s"],
        ["commit", "-qm", "one"],
    ):
        subprocess.run(
            [*git, *command], check=True, capture_output=True, env={**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null"}
        )
    bare = arena.web_root / "hooks.git"
    subprocess.run(["git", "clone", "-q", "--bare", str(work), str(bare)], check=True)
    for hook in ("post-checkout", "post-update"):
        (bare / "hooks" / hook).write_text("#!/bin/sh\necho OWNED >/app/owned\n")
        (bare / "hooks" / hook).chmod(0o755)
    subprocess.run(["git", "-C", str(bare), "update-server-info"], check=True)
    source = GitSource(url=f"{arena.web}/hooks.git", ref="main")
    built = arena.ended(arena.farm.submit(BuildRequest(tenant=arena.tenant, app="attack", source=source)))
    text = arena.text(built)
    names = {entry.name for entry in image_entries(arena, built)} if built.result else set()
    holds = built.state is State.SUCCEEDED and arena.trap.seen == seen and "app/owned" not in names
    return f"{built.state}; {'told that submodules are not fetched' if 'Submodules' in text else text[-80:]}", holds
