"""What moves of images to other bases say of them."""

from __future__ import annotations

import pytest

from buildfarm.releases.models import Rebase
from buildfarm.releases.rebases import Moves


def moved(image: str, previous: str, built: str = "built") -> Rebase:
    return Rebase(at=1, image=image, previous=previous, built=built, base="b@new", previous_base="b@old", moved=True)


@pytest.mark.parametrize(
    ("moves", "origins"),
    [
        ([], {"built": "built"}),
        ([("second", "built")], {"second": "built", "built": "built", "other": "other"}),
        ([("third", "second"), ("second", "built")], {"third": "built", "second": "built"}),
        ([("built", "second"), ("second", "built")], {"second": "built", "built": "built"}),
        (
            [("built", "third"), ("third", "second"), ("second", "built")],
            {"third": "built", "second": "built", "built": "built"},
        ),
        ([("again", "newer", "newer"), ("second", "built")], {"again": "newer", "newer": "newer", "second": "built"}),
        ([("second", "built", "")], {"second": "built"}),
        (
            [(f"{number}", f"{number - 1}") for number in range(25, 5, -1)],
            {f"{number}": "built" for number in range(6, 26)},
        ),
    ],
    ids=["none", "one", "two", "there and back", "three bases and back", "a build between", "without", "25 moves"],
)
def test_a_moved_image_goes_back_to_that_of_its_build(moves, origins):
    found = Moves.of([[moved(*one) for one in moves], []])
    assert {image: found.origin(image) for image in origins} == origins
    assert found.previous == {one[1] for one in moves[:1]}
