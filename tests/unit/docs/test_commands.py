"""Commands in the documents are commands of this version: their names, options, targets of make, paths of the API."""

from __future__ import annotations

import re
import shlex
from types import SimpleNamespace

import click
import pytest
import yaml

from buildfarm.api.application import make_application
from buildfarm.cli import main
from buildfarm.settings import Settings
from tests.documents import PAGES, ROOT, Block, blocks, blocks_of

FOREIGN = {
    "tar",
    "curl",
    "git",
    "redis-cli",
    "cp",
    "export",
    "grep",
    "kubectl",
    "date",
    ".",
}  # programs of others, in commands of ours
OUTSIDE = re.compile(r"\$\((?P<inner>[^()]*)\)")
INLINE = re.compile(r"(?<!`)`(buildfarm [a-z][^`\n]*)`(?!`)")
PLACES = re.compile(r"BUILDFARM_URL(/v1[\w/{}-]*)")


def pieces(command: str) -> list[str]:
    """The parts of a line of shell that are commands by themselves."""
    inner = [found["inner"] for found in OUTSIDE.finditer(command)]
    return [part.strip() for text in [OUTSIDE.sub("X", command), *inner] for part in re.split(r" \|\|? | && ", text)]


def check(words: list[str], command: click.Command = main) -> None:
    """Raises click.UsageError if this version has no such command or option, or a choice has no such value."""
    context = click.Context(command, info_name=command.name)
    values, rest, _ = command.make_parser(context).parse_args(list(words))
    if isinstance(command, click.Group):
        found = command.get_command(context, rest[0]) if rest else None
        if found is None and rest:
            raise click.UsageError(f"{command.name} has no command {rest[0]}")
        return check(rest[1:], found) if found else None
    if rest and not command.allow_extra_args:
        raise click.UsageError(f"{command.name} takes no {rest[0]}")
    for one in command.params:
        if isinstance(one.type, click.Choice) and isinstance(value := values.get(one.name), str):
            one.type_cast_value(context, value)
    return None


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def wrong(command: str) -> str:
    """What is wrong with a command of a document, or nothing."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        return str(error)
    program, *rest = words
    if program == "buildfarm":
        try:
            check(rest)
        except click.UsageError as error:
            return error.format_message()
        return ""
    if program == "make":
        return ", ".join({word for word in rest if "=" not in word} - make_targets())
    return "" if program in FOREIGN else f"{program} is neither ours nor listed here"


@pytest.mark.parametrize("block", list(blocks()), ids=lambda block: f"{block.page}:{block.line}")
def test_a_block_has_only_commands_of_this_version(block):
    assert block.commands
    faults = {piece: wrong(piece) for command in block.commands for piece in pieces(command)}
    assert {piece: fault for piece, fault in faults.items() if fault} == {}


def test_commands_within_sentences_are_of_this_version():
    found = {
        (str(path.relative_to(ROOT)), command)
        for pattern in PAGES
        for path in ROOT.glob(pattern)
        for command in INLINE.findall(path.read_text())
    }
    assert len(found) > 40
    faults = {place: fault for place in found if (fault := wrong(plain(place[1])))}
    assert faults == {}


def plain(command: str) -> str:
    """A command without the signs of a synopsis: optional parts, alternatives, dots."""
    shown = re.sub(r"\[\w*\]|\[@?[A-Z-]+\]|\.{3}|…", "", command)
    return re.sub(r"(?<=\w)(?:\|\w[\w-]*)+", "", shown).replace("[", "").replace("]", "")


def test_paths_of_the_api_exist():
    text = "".join(block.text for block in blocks())
    services = SimpleNamespace(metrics=None, farm=SimpleNamespace(settings=Settings()))
    known = [re.sub(r"\{[^}]*\}", "[^/]+", path) for path in make_application(services).openapi()["paths"]]
    named = set(PLACES.findall(text))
    assert len(named) >= 3
    assert {path for path in named if not any(re.fullmatch(one, path) for one in known)} == set()


def test_every_block_is_run_or_says_why_not():
    run = [block for block in blocks() if not block.not_run]
    foreign = {
        block.page: piece
        for block in run
        for line in block.commands
        for piece in pieces(line)
        if not piece.startswith("buildfarm ")
    }
    assert run
    assert foreign == {}  # the test that runs them runs our program alone


@pytest.mark.parametrize(
    "command",
    [
        "buildfarm build . --no-such",
        "buildfarm bild .",
        "buildfarm build . --run-policy never",
        "make no-such",
        "rm -r /",
    ],
)
def test_a_wrong_command_is_found(command):
    assert wrong(command)


def test_a_mark_gives_the_reason():
    marked = "<!-- not run: it ends everything -->\n\n```console\n$ a b   # why\n$ c \\\n    d\nout\n```\n"
    text = f"{marked}\n```console\n$ e\n```\n"
    assert list(blocks_of(text, "p.md")) == [
        Block("p.md", 3, "$ a b   # why\n$ c \\\n    d\nout\n", "it ends everything"), Block("p.md", 10, "$ e\n"),
    ]  # fmt: skip
    assert next(blocks_of(text, "p.md")).commands == ["a b", "c d"]


def test_the_site_shows_every_page():
    entries = re.findall(r"[\w./-]+\.md|[\w-]+/\*", str(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    folders = {entry.removesuffix("/*") for entry in entries if entry.endswith("/*")}
    pages = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")} - {"README.md"}
    assert {page for page in pages if page not in entries and page.partition("/")[0] not in folders} == set()
