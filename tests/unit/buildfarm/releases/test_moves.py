"""What moves of images to other bases say of them."""

from __future__ import annotations

import pytest

from buildfarm.releases.models import Rebase
from buildfarm.releases.rebases import Moves


def moved(image: str, previous: str) -> Rebase:
    return Rebase(at=1, image=image, previous=previous, base="b@new", previous_base="b@old", moved=True)


@pytest.mark.parametrize(
    ("moves", "origins"),
    [
        ([], {"built": "built"}),
        ([("second", "built")], {"second": "built", "built": "built", "other": "other"}),
        ([("third", "second"), ("second", "built")], {"third": "built", "second": "built"}),
        ([("built", "second"), ("second", "built")], {"second": "built", "built": "second"}),
    ],
    ids=["none", "one", "two", "there and back"],
)
def test_a_moved_image_goes_back_to_that_of_its_build(moves, origins):
    found = Moves.of([[moved(*one) for one in moves], []])
    assert {image: found.origin(image) for image in origins} == origins
    assert found.previous == {one[1] for one in moves[:1]}
