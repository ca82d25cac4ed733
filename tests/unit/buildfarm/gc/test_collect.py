"""A collection of a registry's files: what it frees, what pushes meanwhile keep, and what a dead one leaves."""

from __future__ import annotations

import fcntl
import random
import re
import time
from types import SimpleNamespace

import pytest

from buildfarm.errors import SetupError
from buildfarm.gc.choose import Rules
from buildfarm.gc.collect import Budget, collect
from buildfarm.gc.files import trash
from buildfarm.gc.files.aside import Aside
from buildfarm.gc.files.trash import left_over
from buildfarm.gc.plan import make_plan
from buildfarm.gc.storage import Storage
from testkit.registry.disk import Disk

EAGER = Rules(images=1, source_seconds=0, grace_seconds=0)
OLD = 1000.0


@pytest.fixture
def disk(tmp_path):
    return Disk(tmp_path, time.time()).make()


@pytest.fixture
def storage(tmp_path):
    return Storage(tmp_path)


def run(storage, rules=EAGER, used=(), **options):
    return collect(storage, used, rules, really=True, settle_seconds=0, **options)


def blobs(storage):
    return {digest for digest, _, _ in storage.blobs()}


def test_a_layer_that_no_manifest_names_goes_and_its_bytes_are_told(disk, storage):
    lonely, used = disk.blob(b"lonely", OLD), disk.blob(b"used", OLD)
    disk.manifest("apps/a", [used], ["latest"], age=OLD)
    dry = collect(storage, (), EAGER, really=False)
    assert lonely in blobs(storage)
    done = run(storage)
    assert (dry.freed_bytes, done.freed_bytes, done.blobs) == (6, 6, 1)
    assert used in blobs(storage)
    assert lonely not in blobs(storage)


def test_a_collection_that_runs_is_seen_by_others(disk, storage):
    assert not storage.is_locked()
    with storage.locked():
        assert storage.is_locked()
    assert not storage.is_locked()


def test_a_process_that_only_asks_whether_a_collection_runs_keeps_none_from_beginning(disk, storage, monkeypatch):
    with storage.locked():
        pass
    asking = (storage.top / "collection.lock").open("rb")
    fcntl.flock(asking, fcntl.LOCK_SH)
    monkeypatch.setattr(time, "sleep", lambda _: asking.close())
    with storage.locked():
        assert asking.closed


def test_blobs_that_are_young_stay(disk, storage):
    disk.blob(b"of a build that runs")
    assert run(storage, Rules()).blobs == 0


def test_a_blob_that_a_record_names_stays_without_a_manifest_and_its_repository_lists_it(disk, storage):
    log = disk.blob(b"the log of a build", OLD, "archive/t/a")
    assert run(storage, used={log}).blobs == 0
    assert [entry.name for entry in storage.links("archive/t/a")] == [log.removeprefix("sha256:")]
    assert run(storage).blobs == 1
    assert list(storage.links("archive/t/a")) == []


def test_the_empty_folder_of_a_pack_that_was_deleted_goes_after_the_grace(disk, storage):
    kept = disk.manifest("archive/t/a", tags=["1-a"], age=OLD)
    empty = storage.revision("archive/t/a", "sha256:" + "0" * 64)
    empty.mkdir()
    run(storage, Rules())
    assert empty.is_dir()
    run(storage)
    assert not empty.exists()
    assert storage.revision("archive/t/a", kept).is_dir()


def test_an_old_blob_that_a_build_has_just_mounted_stays(disk, storage):
    disk.blob(b"old", OLD)
    mounted = disk.blob(b"mounted", 5, "apps/a")
    disk.blob(b"mounted", OLD)
    rules = Rules(grace_seconds=100)
    assert run(storage, rules).blobs == 1
    assert blobs(storage) == {mounted}


def test_an_image_goes_with_all_its_files(disk, storage):
    empty = disk.inodes()
    layer = disk.blob(b"layer", OLD, "apps/a")
    gone = disk.manifest("apps/a", [layer], age=OLD)
    disk.manifest("apps/a", [layer], age=OLD, subject=gone)
    newest = disk.manifest("apps/a", age=1, text="newest")
    done = run(storage)
    assert (done.manifests, done.blobs) == (2, 3)
    assert [item.digest for item in storage.manifests()] == [newest]
    assert list(storage.links("apps/a")) == []
    assert disk.inodes() < empty + 25
    assert run(storage).blobs == 0


def test_entries_in_the_history_of_a_tag_go_with_their_images(disk, storage):
    old = [disk.manifest("apps/a", tags=["latest"], age=OLD - number, text=str(number)) for number in range(5)]
    run(storage)
    history = storage.folder("apps/a") / "_manifests/tags/latest/index/sha256"
    assert [path.name for path in history.iterdir()] == [old[-1].removeprefix("sha256:")]


def push_between(monkeypatch, push):
    """Calls ``push`` after everything was listed, and before anything is moved."""
    opened = Aside.open

    def open_later(storage):
        push()
        return opened(storage)

    monkeypatch.setattr(Aside, "open", open_later)


def test_a_layer_that_is_named_meanwhile_is_put_back(disk, storage, monkeypatch):
    layer = disk.blob(b"layer", OLD, "apps/late")
    push_between(monkeypatch, lambda: disk.manifest("apps/late", [layer], ["latest"]))
    done = run(storage)
    assert (done.blobs, done.put_back) == (0, 1)
    assert layer in blobs(storage)
    assert [link.name for link in storage.links("apps/late")] == [layer.removeprefix("sha256:")]


@pytest.mark.parametrize("tags", [[], ["latest"]], ids=["pushed again", "tagged"])
def test_an_image_that_is_pushed_again_meanwhile_stays_whole(disk, storage, monkeypatch, tags):
    layer = disk.blob(b"layer", OLD, "apps/a")
    image = disk.manifest("apps/a", [layer], age=OLD)
    disk.manifest("apps/a", age=1, text="newest")
    push_between(monkeypatch, lambda: disk.manifest("apps/a", [layer], tags, age=OLD if tags else 1))
    done = run(storage)
    assert done.manifests == 0
    assert {image, layer} <= blobs(storage)
    assert image in {item.digest for item in storage.manifests()}


@pytest.mark.parametrize("again", ["tagged", "pushed"])
def test_an_image_that_gets_a_tag_meanwhile_comes_back_with_its_signatures(disk, storage, monkeypatch, again):
    layer, blob = disk.blob(b"layer", OLD, "apps/a"), disk.blob(b"signature", OLD, "apps/a")
    image = disk.manifest("apps/a", [layer], age=OLD)
    name = f"sha256-{image.removeprefix('sha256:')}"
    signatures = disk.manifest("apps/a", [blob], [f"{name}.sig"], age=OLD)
    bundle = disk.manifest("apps/a", [blob], age=OLD, subject=image, text="bundle")
    index = disk.manifest("apps/a", tags=[name], age=OLD, manifests=[bundle])
    disk.manifest("apps/a", age=1, text="newest")
    age = OLD if again == "tagged" else 1
    push_between(monkeypatch, lambda: disk.manifest("apps/a", [layer], ["latest"], age=age))
    done = run(storage)
    assert done.manifests == 0
    assert {image, signatures, bundle, index} <= {item.digest for item in storage.manifests()}
    assert {tag for item in storage.manifests() for tag in item.tags} == {"latest", name, f"{name}.sig"}
    assert {layer, blob} <= blobs(storage)


def test_an_index_that_is_pushed_meanwhile_brings_its_parts_back(disk, storage, monkeypatch):
    layer = disk.blob(b"layer", OLD, "apps/a")
    part = disk.manifest("apps/a", [layer], age=OLD)
    disk.manifest("apps/a", age=1, text="newest")
    push_between(monkeypatch, lambda: disk.manifest("apps/a", tags=["v2"], manifests=[part]))
    run(storage)
    assert part in {item.digest for item in storage.manifests()}
    assert {part, layer} <= blobs(storage)


def garbage(disk, images=6):
    layers = [disk.blob(f"layer {number}".encode(), OLD, "apps/a") for number in range(images)]
    found = [disk.manifest("apps/a", layers[: number + 1], age=OLD - number) for number in range(images)]
    for number, digest in enumerate(found):
        disk.manifest("apps/a", age=OLD, subject=digest, text=str(number))
    disk.manifest("caches/t/a", layers[:1], ["cache"], age=OLD)


def picture(storage):
    """What the registry would answer."""
    return (
        blobs(storage),
        {(item.repository, item.digest, item.tags) for item in storage.manifests()},
        {(name, link.name) for name in storage.repositories() for link in storage.links(name)},
    )


@pytest.mark.parametrize("step", (1, 4, 8, 12, 15))
def test_a_collection_that_died_is_completed_by_the_next(disk, storage, monkeypatch, tmp_path, step):
    rules = Rules(images=2, cache_seconds=0, grace_seconds=0)
    garbage(disk)
    other = tmp_path / "other"
    other.mkdir()
    garbage(Disk(other, disk.now).make())
    run(Storage(other), rules)
    steps = 0
    taken = Aside.take

    def die(self, part):
        nonlocal steps
        steps += 1
        if steps == step:
            raise KeyboardInterrupt
        return taken(self, part)

    monkeypatch.setattr(Aside, "take", die)
    with pytest.raises(KeyboardInterrupt):
        run(storage, rules)
    assert left_over(storage)
    monkeypatch.setattr(Aside, "take", taken)
    done = run(storage, rules)
    assert done.recovered == step - 1
    assert picture(storage) == picture(Storage(other))
    assert not left_over(storage)


def test_what_was_half_removed_goes_and_does_not_come_back(disk, storage, monkeypatch):
    garbage(disk)
    with monkeypatch.context() as patch:
        patch.setattr(trash.shutil, "rmtree", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(storage)
    assert left_over(storage)
    done = run(storage)
    assert (done.recovered, done.manifests, left_over(storage)) == (0, 0, False)


def test_the_budget_of_bytes_leaves_the_newest_for_the_next_run(disk, storage):
    old, new = disk.blob(b"o" * 100, OLD), disk.blob(b"n" * 100, OLD - 1)
    first = run(storage, budget=Budget(freed_bytes=50))
    assert (first.freed_bytes, first.left_bytes, blobs(storage)) == (100, 100, {new})
    assert old not in blobs(storage)
    second = run(storage, budget=Budget(freed_bytes=50))
    assert (second.freed_bytes, second.left_bytes) == (100, 0)


def test_without_time_nothing_goes(disk, storage):
    garbage(disk)
    before = picture(storage)
    done = run(storage, budget=Budget(seconds=0))
    assert (done.manifests, done.blobs, picture(storage)) == (0, 0, before)


def test_reading_a_large_registry_takes_nothing_of_the_time(disk, storage, monkeypatch):
    garbage(disk)
    clock = SimpleNamespace(now=time.monotonic())
    monkeypatch.setattr("buildfarm.gc.collect.time.monotonic", lambda: clock.now)

    def slowly(*args):
        clock.now += 1000
        return make_plan(*args)

    monkeypatch.setattr("buildfarm.gc.collect.make_plan", slowly)
    assert run(storage, budget=Budget(seconds=600)).freed_bytes > 0


def test_two_collections_do_not_run_at_once(disk, storage):
    with storage.locked(), pytest.raises(SetupError, match="Another process is collecting"):
        run(storage)


def test_what_stays_is_counted_once_by_its_first_reason(disk, storage):
    shared = disk.blob(b"s" * 1000, OLD)
    named = disk.manifest("apps/t/a", [shared], age=OLD)
    disk.manifest("apps/t/b", [shared], ["latest"], age=OLD, text="b")
    done = run(storage, used=[named])
    assert done.kept["record"].manifests == 1
    assert done.kept["record"].bytes > 1000 > done.kept["tag"].bytes > 0
    assert done.stored_bytes == sum(share.bytes for share in done.kept.values())


def test_a_tenant_is_charged_for_its_own_blobs(disk, storage):
    base, own = disk.blob(b"b" * 5000, OLD), disk.blob(b"o" * 100, OLD)
    disk.manifest("builder", [base], ["v1"], age=OLD)
    disk.manifest("apps/shop/a", [base, own], ["latest"], age=OLD)
    disk.manifest("apps/shop/b", [base, own], ["latest"], age=OLD)
    usage = run(storage).usage
    assert set(usage) == {"shop"}
    assert 100 < usage["shop"]["apps"] < 2000


def test_nothing_that_is_referred_to_ever_goes(disk, storage):
    dice = random.Random(7)
    layers = [disk.blob(f"{number}".encode(), OLD) for number in range(40)]
    expected, used = set(), []
    for number in range(60):
        named = dice.sample(layers, 3)
        tags = [f"v{number}"] if dice.random() < 0.3 else []
        digest = disk.manifest(f"apps/t/{number % 5}", named, tags, age=OLD - number, text=str(number))
        if not tags and dice.random() < 0.3:
            used.append(digest)
        if tags or digest in used or number >= 55:
            expected |= {digest, *named}
    done = run(storage, used=used)
    assert blobs(storage) == expected
    assert done.freed_bytes > 0


def test_a_manifest_or_a_tag_that_cannot_be_read_stops_the_collection(disk, storage):
    image = disk.manifest("apps/a", [disk.blob(b"needed", OLD)], ["latest"], age=OLD)
    before = disk.inodes()
    for path in (storage.blob(image) / "data", storage.folder("apps/a") / "_manifests/tags/latest/current/link"):
        content = path.read_bytes()
        path.unlink()
        path.mkdir()  # reading it fails, as on a damaged disk
        said = re.escape(f"{path}, of the registry's files, cannot be read or moved: Is a directory.")
        with pytest.raises(SetupError, match=said), storage.failures():
            run(storage)
        path.rmdir()
        path.write_bytes(content)
    assert disk.inodes() == before + 1  # the lock


def test_what_cannot_be_moved_back_is_not_removed(tmp_path):
    source = tmp_path / "part"
    source.mkdir()
    with pytest.raises(OSError, match="Invalid argument"):
        trash.rename(source, source / "below" / "itself")
    assert source.is_dir()
