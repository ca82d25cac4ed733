"""An image's variables as differences to those of its base. Pure.

Variables come as an image's config has them: a list of NAME=VALUE, whose order is part of the image's digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

PATH = "PATH"


@dataclass(frozen=True)
class EnvChange:
    """What an app's image says differently from its base, in the order of the image.

    ``path`` stands in front of the base's PATH, without the colon between them. A PATH that does not end with the
    base's is among ``set``, as a whole.
    """

    set: tuple[tuple[str, str], ...] = ()
    unset: tuple[str, ...] = ()
    path: str = ""


def difference(base: Sequence[str], image: Sequence[str]) -> EnvChange:
    """What makes the image's variables out of the base's.

    If the image has the base's variables in another order, all of them are part of the difference.
    """
    before, after = _values(base), _values(image)
    path = _in_front(before.get(PATH, ""), after.get(PATH, ""))
    changed = EnvChange(
        tuple(
            (name, value) for name, value in after.items() if before.get(name) != value and not (path and name == PATH)
        ),
        tuple(name for name in before if name not in after),
        path,
    )
    return changed if applied(changed, base) == list(image) else EnvChange(tuple(after.items()), tuple(before))


def applied(change: EnvChange, base: Iterable[str]) -> list[str]:
    """The base's variables in their order, as changed; then the new ones."""
    values = _values(base)
    for name in change.unset:
        values.pop(name, None)
    values |= dict(change.set)
    if change.path:
        own = values.get(PATH, "")
        # An empty entry would be the folder in which a process was started.
        values[PATH] = f"{change.path}:{own}" if own else change.path
    return [f"{name}={value}" for name, value in values.items()]


def _values(lines: Iterable[str]) -> dict[str, str]:
    return dict(line.partition("=")[::2] for line in lines)


def _in_front(before: str, after: str) -> str:
    """What stands in front of the base's PATH; empty if the image's is another one."""
    return after.removesuffix(f":{before}") if before and after.endswith(f":{before}") else ""
