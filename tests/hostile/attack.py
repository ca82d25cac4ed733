"""What an attack is, and how its verdict is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from buildfarm.model import Build, State
from tests.hostile.arena import Arena

Outcome = tuple[str, bool]


@dataclass(frozen=True)
class Attack:
    """``run`` tries it on the arena and gives the outcome in words, and whether the promise held."""

    name: str
    promise: str
    run: Callable[[Arena], Outcome]
    quick: bool  # part of `make test`; the rest is `make hostile` only


ATTACKS: list[Attack] = []


def attack(promise: str, *, quick: bool = False) -> Callable[[Callable[[Arena], Outcome]], Callable[[Arena], Outcome]]:
    """Enters a function into the list; its name is the attack's."""

    def enter(run: Callable[[Arena], Outcome]) -> Callable[[Arena], Outcome]:
        ATTACKS.append(Attack(run.__name__.replace("_", " "), promise, run, quick))
        return run

    return enter


def fails_with(arena: Arena, build: Build, *codes: str) -> Outcome:
    """Holds where the build ended with one of these codes at its first attempt: the app's fault, and known as such."""
    ended = arena.ended(build)
    code = ended.failure.code if ended.failure else str(ended.state)
    told = f"{code}: {ended.failure.message[:70]}" if ended.failure else code
    return told, code in codes and ended.attempt == 1


def probes_held(arena: Arena, build: Build, wanted: int) -> Outcome:
    """Holds where the build succeeded, and each of its ``wanted`` probes said that it did not get through."""
    ended = arena.ended(build)
    text = arena.text(ended)
    through = [line.partition("THROUGH ")[2] for line in text.splitlines() if "THROUGH " in line]
    held = sum(line.strip().startswith("held ") for line in text.splitlines())
    if through:
        return f"got through: {', '.join(through)[:90]}", False
    if ended.state is not State.SUCCEEDED or held != wanted:
        return f"{ended.state}, {held} of {wanted} probes told: {ended.failure}"[:140], False
    return f"{held} of {wanted} tries refused", True


def succeeds(arena: Arena, build: Build) -> Build:
    """The ended build. Raises AssertionError if it did not succeed."""
    ended = arena.ended(build)
    assert ended.state is State.SUCCEEDED, f"{ended.failure}"
    return ended
