"""What files say about the languages that they are for, by their paths and by the beginning of their content."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from itertools import islice
from typing import IO

CLASS_MAGIC = b"\xca\xfe\xba\xbe"
_CLASSES_MAX = 50
_ENCRYPTED = 0x1  # APPNOTE of ZIP, 4.4.4; Java opens no such entry, nor other compressions
_OWN_FOLDERS = ("/app/", "/layers/", "/tmp/", "/proc/", "/dev/")

_NEEDS = [
    (re.compile(r"(?:^|/)lib/python(\d+\.\d+)/site-packages/"), "python:{}"),
    (re.compile(r"\.cpython-(\d)(\d+)-[^/]*\.so$"), "python:{}.{}"),
    (re.compile(r"(?:^|/)vendor/bundle/ruby/(\d+\.\d+\.\d+)/"), "ruby:{}"),
    (re.compile(r"/no-debug-(?:non-)?zts-(\d{8})/[^/]*\.so$"), "php:{}"),
    (re.compile(r"(?:^|/)perl5/(5\.\d+)(?:\.\d+)?/.*\.so$"), "perl:{}"),
    (re.compile(r"(?:^|/)perl5/[^/]*linux[^/]*/auto/.*\.so$"), "same:perl"),
]
_BRINGS = [
    (re.compile(r"(?:^|/)bin/python(\d+\.\d+)$"), "python:{}"),
    (re.compile(r"(?:^|/)lib/(?:[^/]+/)?ruby/(\d+\.\d+\.\d+)/"), "ruby:{}"),
    (re.compile(r"(?:^|/)lib/php/(\d{8})/"), "php:{}"),
    (re.compile(r"/no-debug-(?:non-)?zts-(\d{8})/"), "php:{}"),
    (re.compile(r"(?:^|/)lib/(?:[^/]+/)?perl/(5\.\d+)(?:\.\d+)?/"), "perl:{}"),
    (re.compile(r"(?:^|/)lib/perl5/(5\.\d+)(?:\.\d+)?/"), "perl:{}"),
    (re.compile(r"(?:^|/)bin/(node|ruby|php|perl|java)$"), "own:{}"),
    (re.compile(r"(?:^|/)libnode\.so\.(\d{1,6})$"), "node:{}"),
]
_PROCESSES = "etc/buildfarm/processes/"
# The first word that is neither an option, as of env(1), nor a variable; none if it is a path or needs a shell to tell.
_FIRST_COMMAND = re.compile(r"(?:(?:-\S+|\w+=[\w./:-]*)\s+)*([A-Za-z0-9_][\w.+-]{0,63})(?=\s|$)(?!=)")
_PROGRAM = re.compile(r"(?:^|/)\.?s?bin/[^/]+$")
_READ = re.compile(r"(?:^|/)(?:pyvenv\.cfg|include/node/node_version\.h|(?:jvm/[^/]+|\.?jdk[^/]*|jre[^/]*)/release)$")


def by_path(name: str) -> tuple[list[str], list[str]]:
    """What a plain file of this name needs and brings."""
    return list(_matches(_NEEDS, name)), list(_matches(_BRINGS, name))


def is_read(name: str) -> bool:
    """Whether the content says more."""
    return name.startswith(_PROCESSES) or _READ.search(name) is not None


def is_program(name: str) -> bool:
    """Whether a PATH could find it, if it can be run."""
    return _PROGRAM.search(name) is not None


def by_content(name: str, head: bytes) -> tuple[list[str], list[str]]:
    """Likewise, by the beginning of such a file."""
    if name.startswith(_PROCESSES):
        return _command(head.decode(errors="surrogateescape").removeprefix("exec ")), []
    text = head.decode(errors="replace")
    if name.endswith("pyvenv.cfg"):
        found = re.search(r"^version(?:_info)?\s*=\s*(\d+\.\d+)", text, re.MULTILINE)
        return [f"python:{found[1]}"] if found else [], []
    if name.endswith("node_version.h"):
        found = re.search(r"^#define NODE_MODULE_VERSION (\d{1,6})\b", text, re.MULTILINE)
        return [], [f"node:{found[1]}"] if found else []
    found = re.search(r'^JAVA_VERSION="(?:1\.)?(\d{1,4})', text, re.MULTILINE)
    return [], [f"java:{44 + int(found[1])}"] if found else []


def interpreter(head: bytes) -> list[str]:
    """What the first line of a script needs to run it, unless it is the app's own."""
    line = head[2:].split(b"\n", 1)[0].decode(errors="surrogateescape").split()
    if not head.startswith(b"#!") or not line:
        return []
    found = [need for need in [outside(line[0])] if need]
    return found + (_command(" ".join(line[1:])) if line[0].endswith("/env") else [])


def outside(target: str) -> str | None:
    """A path that is not in the app's own folders, as a need; None of any other."""
    is_own = f"{target}/".startswith(_OWN_FOLDERS)
    return f"path:{target}" if target.startswith("/") and not is_own and len(target) <= 200 else None


def _command(line: str) -> list[str]:
    found = _FIRST_COMMAND.match(line)
    return [f"command:{found[1]}"] if found else []


def class_version(head: bytes) -> int:
    """The version of a class file (JVM specification, 4.1); 0 if it is none."""
    return int.from_bytes(head[6:8], "big") if head.startswith(CLASS_MAGIC) and len(head) >= 8 else 0


def jar_versions(file: IO[bytes]) -> set[int]:
    """The versions of a jar's first class files; none if no Java could open it. Raises what zipfile raises."""
    found: set[int] = set()
    try:
        with zipfile.ZipFile(file) as jar:
            classes = (one for one in jar.infolist() if _is_class(one))
            for one in islice(classes, _CLASSES_MAX):
                with jar.open(one) as content:
                    found.add(class_version(content.read(8)))
    except (zipfile.BadZipFile, zlib.error):
        return set()
    return found - {0}


def _is_class(one: zipfile.ZipInfo) -> bool:
    is_plain = not one.flag_bits & _ENCRYPTED and one.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    return is_plain and one.filename.endswith(".class") and not one.filename.startswith("META-INF/")


def _matches(rules: list[tuple[re.Pattern[str], str]], name: str) -> Iterator[str]:
    for pattern, text in rules:
        if found := pattern.search(name):
            yield text.format(*found.groups())
