"""Mounts that mount(8) of the distribution cannot make: clones with other owners, overlays, and mounts others see.

Numbers are those of x86-64 and arm64 alike. Every function raises NodeError.
"""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import threading
from pathlib import Path

from buildfarm.errors import NodeError

# include/uapi/linux/mount.h
_RDONLY, _NOSUID, _NODEV, _NOATIME, _NOSYMFOLLOW = 0x1, 0x2, 0x4, 0x400, 0x100
_PLAIN = _NOSUID | _NODEV | _NOATIME  # a remount replaces all flags
_REMOUNT, _BIND, _SHARED = 0x20, 0x1000, 1 << 20
_MNT_DETACH = 0x2
_OPEN_TREE_CLONE, _MOUNT_ATTR_IDMAP, _MOVE_MOUNT_F_EMPTY_PATH = 0x1, 0x00100000, 0x4

# include/uapi/asm-generic/unistd.h
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442

_AT_FDCWD, _AT_EMPTY_PATH = -100, 0x1000

# redirect_dir: a folder of the lower tree is renamed as any other; without it npm and pip meet EXDEV.
# metacopy: what changed has its content in the upper tree, so an empty folder there is an unchanged one.
# xino: all files have one device number, for tar and rsync take another one for another file system.
# volatile: nothing of it has to reach the disk, so making it read-only waits for no write. It outlives no crash anyway.
_OVERLAY = "redirect_dir=on,metacopy=off,xino=on,volatile"

_libc = ctypes.CDLL(None, use_errno=True)


class _MountAttributes(ctypes.Structure):
    """``struct mount_attr`` of mount_setattr(2)."""

    _fields_ = [
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    ]


def share(mount: Path) -> None:
    """Let others see what is mounted below this mount later: a sandbox has its folders before its build is known."""
    _mount(None, mount, None, _SHARED)


def bind(source: Path, at: Path) -> None:
    """Mount a folder at another place."""
    _mount(source, at, None, _BIND)


def protect(mount: Path) -> None:
    """Make this mount read-only, and make the kernel refuse links below it, in addition to `BuildFolder`.

    Only this mount changes; the engine's mounts of the same folders in the sandbox keep their flags. Kernels before
    5.10 ignore the flag for links.
    """
    _mount(Path("none"), mount, None, _REMOUNT | _BIND | _RDONLY | _PLAIN | _NOSYMFOLLOW)


def make_read_only(mount: Path) -> bool:
    """Make its whole file system read-only, wherever it is mounted; False if a file is still open for writing."""
    if _libc.mount(b"none", os.fsencode(mount), None, ctypes.c_ulong(_REMOUNT | _RDONLY | _PLAIN), None) == 0:
        return True
    if ctypes.get_errno() == errno.EBUSY:
        return False
    raise _error("freeze", mount)


def overlay(lower: Path, upper: Path, work: Path, at: Path, *, linked: bool) -> None:
    """Mount the tree ``lower`` with the changes in ``upper``; ``work`` is an empty folder beside it.

    If ``linked``, hard links of the lower tree stay together: what is written to one is in all. Otherwise a write is to
    one of them alone. Attributes are kept as ``trusted.*``, which a build can neither set nor read.
    """
    index = "on" if linked else "off"
    options = f"lowerdir={lower},upperdir={upper},workdir={work},{_OVERLAY},index={index}"
    _mount(Path("overlay"), at, options, _PLAIN, kind="overlay")


def clone(source: Path, at: Path, *, owner: int, seen_as: int) -> None:
    """Mount a folder a second time, where files of the user and group ``owner`` are those of ``seen_as``."""
    tree = _call(_OPEN_TREE, _AT_FDCWD, os.fsencode(source), _OPEN_TREE_CLONE | os.O_CLOEXEC)
    try:
        if owner != seen_as:
            attributes = _MountAttributes(_MOUNT_ATTR_IDMAP, 0, 0, _NAMESPACES.of(owner, seen_as))
            size = ctypes.c_size_t(ctypes.sizeof(attributes))
            _call(_MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH, ctypes.byref(attributes), size)
        _call(_MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(at), _MOVE_MOUNT_F_EMPTY_PATH)
    finally:
        os.close(tree)


def sync(descriptor: int) -> None:
    """Write everything of this file system; raises also if a write failed since the descriptor was opened."""
    if _libc.syncfs(descriptor) != 0:
        raise NodeError(f"The node's disk did not take all of a workspace: {os.strerror(ctypes.get_errno())}.")


def detach(mount: Path) -> None:
    """Unmount, with all that is mounted below; a process that still uses it keeps it until it is done."""
    if _libc.umount2(os.fsencode(mount), _MNT_DETACH) != 0:
        raise _error("unmount", mount)


class _Namespaces:
    """User namespaces that say which owner is seen as whom. Each is made once, for no process needs to be in it."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, int], int] = {}
        self._lock = threading.Lock()

    def of(self, owner: int, seen_as: int) -> int:
        """The descriptor of one."""
        with self._lock:
            if (owner, seen_as) not in self._found:
                self._found[owner, seen_as] = _new_namespace(owner, seen_as)
            return self._found[owner, seen_as]


_NAMESPACES = _Namespaces()


def _new_namespace(owner: int, seen_as: int) -> int:
    command = ["unshare", "--user", "cat"]
    try:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin is not None and process.stdout is not None
            # What comes back was read by a program that is in the namespace.
            process.stdin.write(b".")
            process.stdin.flush()
            process.stdout.read(1)
            for name in ("uid_map", "gid_map"):
                Path(f"/proc/{process.pid}/{name}").write_text(f"{owner} {seen_as} 1\n")
            return os.open(f"/proc/{process.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise NodeError(f"The node cannot make a user namespace: {error.strerror}.") from error


def _mount(source: Path | None, at: Path, options: str | None, flags: int, *, kind: str | None = None) -> None:
    encoded = [os.fsencode(text) if text is not None else None for text in (source, at, kind, options)]
    if _libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3]) != 0:
        raise _error("mount", at)


def _call(number: int, *arguments: object) -> int:
    result: int = _libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        raise NodeError(f"The node's kernel refuses a mount (system call {number}): {os.strerror(ctypes.get_errno())}.")
    return result


def _error(what: str, at: Path) -> NodeError:
    return NodeError(f"The node cannot {what} {at.name}: {os.strerror(ctypes.get_errno())}.")
