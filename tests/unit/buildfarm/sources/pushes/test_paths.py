"""Path filters say whether a push changes an app."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.sources.pushes.paths import check_pattern, touches

NAMES = st.text("abc.é *[!", min_size=1, max_size=5).filter(lambda name: name not in (".", ".."))
PATHS = st.lists(st.lists(NAMES, min_size=1, max_size=4).map("/".join), max_size=6)


@pytest.mark.parametrize(
    ("patterns", "path", "counts"),
    [
        (["services/web/**"], "services/web/app.py", True),
        (["services/web/**"], "services/web/a/b.py", True),
        (["services/web/**"], "services/webx/app.py", False),
        (["services/web/**"], "services/web", False),
        (["*.py"], "app.py", True),
        (["*.py"], "a/app.py", False),
        (["**/*.py"], "a/app.py", True),
        (["**/*.py"], "app.py", True),
        (["**", "!**/*.md"], "README.md", False),
        (["**", "!**/*.md", "docs/index.md"], "docs/index.md", True),
        (["!docs/**"], "app.py", True),
        (["!docs/**"], "docs/app.py", False),
        ([r"a\*b/**"], "a*b/c", True),
        ([r"a\*b/**"], "axb/c", False),
        (["é/**"], "é/ü", True),
    ],
)
def test_the_last_pattern_that_matches_decides(patterns, path, counts):
    assert touches(patterns, [path]) is counts
    assert touches(patterns, ["unrelated.txt" if counts is False and patterns[0][0] != "!" else path, path]) in (
        counts,
        touches(patterns, ["unrelated.txt"]) or counts,
    )


@given(PATHS)
def test_without_a_filter_or_without_paths_everything_is_built(paths):
    assert touches([], paths)
    assert touches(["a/**"], None)


@given(PATHS)
def test_a_folder_takes_what_is_below_it_and_nothing_else(paths):
    assert touches(["a/**"], paths) == any(path.startswith("a/") and path != "a/" for path in paths)


@given(PATHS, PATHS)
def test_more_changed_files_never_make_a_push_count_less(some, more):
    patterns = ["**/*.c", "!a/**", "b/**"]
    assert touches(patterns, [*some, *more]) == (touches(patterns, some) or touches(patterns, more))


@given(PATHS, st.lists(st.sampled_from(["a/**", "!a/**", "*", "!*", "**/b*", "!**/c"]), min_size=1, max_size=5))
def test_everything_behind_a_filter_decides_nothing_before_it_may_undo(paths, patterns):
    assert touches([*patterns, "**"], paths) == bool(paths)
    assert not touches([*patterns, "!**"], paths)


@pytest.mark.parametrize("text", ["", "!", "/etc/**", "a[", "!/x"])
def test_a_filter_that_can_match_nothing_is_refused(text):
    with pytest.raises(ValueError, match="is not a path filter"):
        check_pattern(text)
