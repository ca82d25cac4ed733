"""Policies of retention: which is in force, what is not one, and which would delete running images."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from buildfarm.errors import RequestError
from buildfarm.gc.retention import (
    COUNT_MAX,
    DAY,
    DAYS_MAX,
    Running,
    check_values,
    effective,
    lowers,
    refuse,
    would_delete,
)
from buildfarm.settings import Settings

POLICY = effective(Settings(), {}, "shop")


def test_a_policy_comes_from_the_app_else_the_tenant_else_the_settings():
    values = {"shop:images": 5.0, "shop:source_days": 1.0, "shop/web:images": 2.0, "other:images": 9.0}
    settings = Settings(retain_images=10, retain_caches=3, record_seconds=86400)
    assert effective(settings, values, "shop", "web").images == 2
    assert effective(settings, values, "shop", "api").images == 5
    assert effective(settings, values, "new").images == 10
    found = effective(settings, values, "shop", "web")
    assert (found.source_days, found.caches, found.record_days) == (1, 3, 1)


@pytest.mark.parametrize(
    ("values", "app", "said"),
    [
        ({"image": 1}, None, "no field named image"),
        ({"sources": 1}, "web", "policy of an app has no field named sources"),
        ({"images": -1}, None, "images must be from 0 to 100,000"),
        ({"image_days": 4000}, "web", "image_days must be from 0 to 3,650"),
        ({"record_days": 0}, None, "record_days must be from 0.001"),
        ({"images": float("nan")}, None, "images must be"),
        ({"images": 2.5}, None, "images must be a whole number from 0 to 100,000, not 2.5"),
    ],
)
def test_what_is_not_a_policy(values, app, said):
    with pytest.raises(RequestError, match=said):
        check_values(values, app)


def test_the_largest_settings_are_a_policy():
    most = dict.fromkeys(("retain_images", "retain_sources", "retain_caches", "retain_records"), COUNT_MAX)
    most |= dict.fromkeys(("retain_image_days", "retain_source_days", "retain_cache_days"), DAYS_MAX)
    most["record_seconds"] = DAYS_MAX * DAY
    assert effective(Settings(**most), {}, "shop").record_days == DAYS_MAX
    for name, value in most.items():
        with pytest.raises(ValidationError, match=name):
            Settings(**{name: value + 1})


@pytest.mark.parametrize(
    ("images", "days", "newer", "age", "deleted"),
    [
        (3, 0, 2, 50, False),
        (3, 0, 3, 50, True),
        (3, 60, 3, 50, False),
        (0, 0, None, None, True),
        (0, 0, 0, 0.5, True),
    ],
)
def test_what_a_policy_would_delete(images, days, newer, age, deleted):
    policy = POLICY.model_copy(update={"images": images, "image_days": days})
    assert bool(would_delete([Running(digest="d", newer=newer, days=age)], policy)) == deleted


def test_only_a_policy_that_keeps_fewer_images_can_be_refused():
    assert lowers(POLICY, POLICY.model_copy(update={"images": POLICY.images - 1}))
    assert lowers(POLICY, POLICY.model_copy(update={"image_days": 0}))
    assert not lowers(POLICY, POLICY.model_copy(update={"sources": 0, "images": POLICY.images + 1}))


def test_the_refusal_says_how_many_images_are_needed():
    error = refuse("shop/web", [Running(digest="sha256:a", newer=6, days=9.0), Running(digest="b", newer=2, days=9.0)])
    assert "2 running images of shop/web: sha256:a, b." in error.message
    assert "newest 7 images" in error.advice
