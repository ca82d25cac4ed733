"""Path filters of monorepos: which changed files make a push build an app. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from buildfarm.sources.gitfiles.wildmatch import compile_glob


def check_pattern(text: str) -> str:
    """Return the pattern as it is. Raises ValueError if it can match nothing."""
    glob = text.removeprefix("!")
    if not glob or glob.startswith("/") or compile_glob(glob.encode()) is None:
        raise ValueError(f"{text[:100]!r} is not a path filter: write it like services/web/** or !**/*.md")
    return text


def touches(patterns: Sequence[str], paths: Iterable[str] | None) -> bool:
    """Return whether a push is to be built: no filter, unknown paths, or one path that the last fitting pattern takes.

    A pattern is git's: ``*`` stays in one folder, ``**`` does not. Behind ``!`` it leaves out what it matches; if only
    such patterns are given, all other paths count.
    """
    if not patterns or paths is None:
        return True
    compiled = [(not text.startswith("!"), compile_glob(text.removeprefix("!").encode())) for text in patterns]
    start = not any(takes for takes, _ in compiled)

    def counts(path: str) -> bool:
        name, answer = path.encode(errors="surrogateescape"), start
        for takes, pattern in compiled:
            if pattern is not None and pattern.match(name):
                answer = takes
        return answer

    return any(map(counts, paths))
