"""tools/words finds phrases to avoid and names what to write instead, and this checkout has none of them."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def words(load_program):
    return load_program(ROOT / "tools/words")


@pytest.mark.parametrize(
    ("sentence", "phrase"),
    [
        ("the file is no archive", "is no archive"),
        ("Raises SetupError where it cannot start.", "Raises SetupError where"),
        ("None where it is missing", "None where it"),
        ("Redis is away", "is away"),
        ("a tar archive in place of a folder", "in place of"),
        ("in a thread of its own", "a thread of its own"),
        ("Says whether it runs.", "Says whether"),
        ("the node is told at once", "is told"),
        ("it takes none any more", "any more"),
        ("sent to whoever reads it", "whoever"),
        ("'x' cannot name a tenant", "cannot name a tenant"),
    ],
)
def test_a_phrase_to_avoid_is_found(words, sentence, phrase):
    assert [found.phrase for found in words.findings("a.md", sentence)] == [phrase]


@pytest.mark.parametrize(
    "sentence",
    [
        "There is no build of this name, and there are no others.",
        "It is no longer in the settings, and is no larger than this.",
        "Returns the folder where it is. Raises SetupError if it cannot start.",
        "It has its own queue, by its own name.",
        "They walk away; the time told by the clock; the same for all",
        "more than any more than that",
    ],
)
def test_plain_english_passes(words, sentence):
    found = [finding.phrase for finding in words.findings("a.md", sentence)]
    assert found == []


def test_a_finding_names_file_line_and_the_better_words(words, tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/page.md").write_text("A title\n\nUse this in place of that.\n")
    (tmp_path / "docs/data.json").write_text('"in place of"')

    assert [str(found) for found in words.check(tmp_path)] == ["docs/page.md:3: 'in place of': write 'instead of'"]


def test_this_checkout_avoids_them_all(words):
    assert "\n".join(map(str, words.check(ROOT))) == ""
