"""What files say about the languages that they are for, by their paths and by the beginning of their content."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from typing import IO

CLASS_MAGIC = b"\xca\xfe\xba\xbe"
_CLASSES_MAX = 50
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
_READ = re.compile(r"(?:^|/)(?:pyvenv\.cfg|include/node/node_version\.h|(?:jvm/[^/]+|\.?jdk[^/]*|jre[^/]*)/release)$")


def by_path(name: str) -> tuple[list[str], list[str]]:
    """What a plain file of this name needs and brings."""
    return list(_matches(_NEEDS, name)), list(_matches(_BRINGS, name))


def is_read(name: str) -> bool:
    """Whether the content says more."""
    return _READ.search(name) is not None


def by_content(name: str, head: bytes) -> tuple[list[str], list[str]]:
    """Likewise, by the beginning of such a file."""
    text = head.decode(errors="replace")
    if name.endswith("pyvenv.cfg"):
        found = re.search(r"^version(?:_info)?\s*=\s*(\d+\.\d+)", text, re.MULTILINE)
        return [f"python:{found[1]}"] if found else [], []
    if name.endswith("node_version.h"):
        found = re.search(r"^#define NODE_MODULE_VERSION (\d{1,6})\b", text, re.MULTILINE)
        return [], [f"node:{found[1]}"] if found else []
    found = re.search(r'^JAVA_VERSION="(?:1\.)?(\d{1,4})', text, re.MULTILINE)
    return [], [f"java:{44 + int(found[1])}"] if found else []


def interpreter(head: bytes) -> str | None:
    """What the first line of a script runs it with; None if it is none, or the app's own."""
    line = head[2:].split(b"\n", 1)[0].strip().split()
    return outside(line[0].decode(errors="surrogateescape")) if head.startswith(b"#!") and line else None


def outside(target: str) -> str | None:
    """A path that is not in the app's own folders, as a need; None of any other."""
    is_own = f"{target}/".startswith(_OWN_FOLDERS)
    return f"path:{target}" if target.startswith("/") and not is_own and len(target) <= 200 else None


def class_version(head: bytes) -> int:
    """The version of a class file (JVM specification, 4.1); 0 if it is none."""
    return int.from_bytes(head[6:8], "big") if head.startswith(CLASS_MAGIC) and len(head) >= 8 else 0


def jar_version(file: IO[bytes]) -> int:
    """The highest version of a jar's first class files. Raises what zipfile raises."""
    newest, count = 0, 0
    with zipfile.ZipFile(file) as jar:
        for one in jar.infolist():
            if one.filename.endswith(".class") and not one.filename.startswith("META-INF/"):
                with jar.open(one) as content:
                    newest = max(newest, class_version(content.read(8)))
                count += 1
            if count == _CLASSES_MAX:
                break
    return newest


def _matches(rules: list[tuple[re.Pattern[str], str]], name: str) -> Iterator[str]:
    for pattern, text in rules:
        if found := pattern.search(name):
            yield text.format(*found.groups())
