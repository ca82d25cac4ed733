"""The public keys that signers report, also of several with different ones."""

from __future__ import annotations

from buildfarm.releases.signing.public_keys import KEPT_SECONDS, SigningKeys


def aged(farm, key, seconds):
    """As if the key had been reported so long ago."""
    farm.database.client.zincrby(farm.database.key("signing:public-keys"), -seconds, key)


def test_signers_with_different_keys_are_all_heard(farm):
    keys = SigningKeys(farm.database)
    for _ in range(2):
        keys.report(["new", "old"])
        keys.report(["old"])
        assert set(keys.all()) == {"new", "old"}


def test_the_first_key_of_a_signer_stays_the_first(farm):
    keys = SigningKeys(farm.database)
    keys.report(["new", "old"])
    assert keys.all() == ("new", "old")


def test_a_key_that_is_no_longer_reported_is_dropped(farm):
    keys = SigningKeys(farm.database)
    keys.report(["new", "old"])
    aged(farm, "old", KEPT_SECONDS)
    assert keys.all() == ("new",)
    keys.report(["new"])
    assert farm.database.client.zcard(farm.database.key("signing:public-keys")) == 1


def test_while_no_signer_runs_the_last_keys_stay(farm):
    keys = SigningKeys(farm.database)
    keys.report(["new", "old"])
    for key in ("new", "old"):
        aged(farm, key, 10 * KEPT_SECONDS)
    assert keys.all() == ("new", "old")


def test_keys_of_an_older_signer_count_until_a_newer_one_reports(farm):
    keys, old = SigningKeys(farm.database), farm.database.key("signing:keys")
    farm.database.client.rpush(old, "first", "second")
    assert keys.all() == ("first", "second")
    keys.report(["new"])
    assert keys.all() == ("new",)
    assert not farm.database.client.exists(old)


def test_keys_of_an_older_signer_that_runs_again_count_too(farm):
    keys, old = SigningKeys(farm.database), farm.database.key("signing:keys")
    keys.report(["new"])
    farm.database.client.rpush(old, "older", "new")
    assert keys.all() == ("new", "older")
