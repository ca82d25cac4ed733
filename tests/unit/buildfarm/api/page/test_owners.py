"""What operators set, by its owner, and what a form says of it."""

from __future__ import annotations

import pytest

from buildfarm.api.page.owners import owners, values_of
from buildfarm.errors import RequestError

FIELDS, OF_APPS = ("running", "waiting", "bytes"), ("running",)


def test_values_are_grouped_by_their_owner():
    found = owners({"shop:running": 5, "shop/web:running": 2, "shop:bytes": 10**10, "shop:image_days": 0.5})
    assert found == {
        "shop": {"running": "5", "bytes": "10000000000", "image_days": "0.5"},
        "shop/web": {"running": "2"},
    }


def test_empty_fields_of_the_owner_that_was_shown_go_back():
    form = {"owner": "shop", "shown": "shop", "running": "5", "waiting": "", "bytes": "10,000"}
    assert values_of(form, FIELDS, OF_APPS) == ("shop", None, {"running": 5, "waiting": None, "bytes": 10_000})
    form = {"owner": "shop/web", "shown": "shop/web", "running": ""}
    assert values_of(form, FIELDS, OF_APPS) == ("shop", "web", {"running": None})


@pytest.mark.parametrize("shown", [{}, {"shown": ""}, {"shown": "other"}, {"shown": "shop/web"}])
def test_values_that_were_not_shown_stay(shown):
    form = {"owner": "shop", "running": "5", "waiting": "", **shown}
    assert values_of(form, FIELDS, OF_APPS) == ("shop", None, {"running": 5})
    with pytest.raises(RequestError, match="sets nothing for shop"):
        values_of({**form, "running": ""}, FIELDS, OF_APPS)


def test_a_field_that_was_not_in_the_form_stays():
    form = {"owner": "shop", "shown": "shop", "running": ""}
    assert values_of(form, FIELDS, OF_APPS) == ("shop", None, {"running": None})


def test_a_field_that_an_app_cannot_have_is_not_left_out_in_silence():
    form = {"owner": "shop/web", "waiting": "5"}
    assert values_of(form, FIELDS, OF_APPS) == ("shop", "web", {"waiting": 5})


@pytest.mark.parametrize("text", ["many", "nan", "inf", "1.5", "1e99"])
def test_what_is_not_a_number_is_refused(text):
    with pytest.raises(RequestError, match="is not a number"):
        values_of({"owner": "shop", "running": text}, FIELDS, OF_APPS)
    with pytest.raises(RequestError, match="names no owner"):
        values_of({"running": "1"}, FIELDS, OF_APPS)
