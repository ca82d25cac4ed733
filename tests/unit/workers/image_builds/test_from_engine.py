"""An image of the engine on its way to the registry: nothing in it depends on when it was built."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from dataclasses import replace
from types import MappingProxyType

import pytest
import zstandard

from buildfarm.oci.digest import Digest
from buildfarm.oci.image import CREATED
from tests.unit.workers.image_builds.test_dockerfile import engine
from workers.image_builds.from_engine import normalised, read_image, undate


def test_a_pushed_config_does_not_tell_when_or_where_it_was_built():
    def config(year, container, parent):
        step = f'{{"created":"{year}","created_by":"RUN"}}'
        runtime = f'{{"User":"1","Image":"{parent}"}}'
        return f'{{"created":"{year}","container":"{container}","config":{runtime},"history":[{step}]}}'.encode()

    one, two = config("2026-01-01", "a", "sha256:a"), config("2027-01-01", "b", "sha256:b")
    diff_ids = [Digest.of(b"layer")]
    assert normalised(one, diff_ids) == normalised(two, diff_ids)
    assert b"RUN" in normalised(one, diff_ids)
    assert diff_ids[0].encode() in normalised(one, diff_ids)


def test_a_pushed_layer_does_not_tell_when_it_was_built_but_when_its_packages_were(tmp_path):
    def save(name, built_at):
        with tarfile.open(tmp_path / name, "w", format=tarfile.PAX_FORMAT) as archive:
            for path, mtime in (("packaged", 1_700_000_000), ("made", built_at + 0.5)):
                entry = tarfile.TarInfo(path)
                entry.size, entry.mtime, entry.mode, entry.uid = 4, mtime, 0o4755, 7
                entry.pax_headers = {"SCHILY.xattr.user.x": "y"}
                archive.addfile(entry, io.BytesIO(b"text"))
            link = tarfile.TarInfo("link")
            link.type, link.linkname, link.mtime = tarfile.LNKTYPE, "made", built_at
            archive.addfile(link)
        undate(tmp_path / name, built_at + 60)
        return (tmp_path / name).read_bytes()

    assert save("one", 1_760_000_000) == save("two", 1_770_000_000)
    with tarfile.open(tmp_path / "one") as archive:
        found = archive.getmembers()
        assert archive.extractfile("made").read() == b"text"
    assert [(entry.name, entry.mtime) for entry in found] == [("packaged", 1_700_000_000), ("made", 1), ("link", 1)]
    assert (found[1].mode, found[1].uid, found[1].pax_headers) == (0o4755, 7, {"SCHILY.xattr.user.x": "y"})
    assert (found[2].type, found[2].linkname) == (tarfile.LNKTYPE, "made")


def layer(*entries):
    """A layer of files of four bytes with these times."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for number, mtime in enumerate(entries):
            entry = tarfile.TarInfo(f"file{number}")
            entry.size, entry.mtime = 4, mtime
            archive.addfile(entry, io.BytesIO(b"text"))
    return content.getvalue()


def saved(config, files, layers):
    """What an engine answers that is asked for an image."""
    content = io.BytesIO()
    listed = [{"Config": "config.json", "RepoTags": None, "Layers": layers}]
    with tarfile.open(fileobj=content, mode="w") as archive:
        members = {"config.json": json.dumps(config).encode(), "manifest.json": json.dumps(listed).encode(), **files}
        for name, text in members.items():
            entry = tarfile.TarInfo(name)
            if isinstance(text, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, text
                archive.addfile(entry)
            else:
                entry.size = len(text)
                archive.addfile(entry, io.BytesIO(text))
    return content.getvalue()


def test_an_image_of_the_engine_has_the_same_digest_whenever_it_was_built(tmp_path):
    def read(name, built_at, known=MappingProxyType({})):
        base, own = layer(1, 1_700_000_000), layer(1_700_000_000, built_at - 30)
        step = {"created": f"2026-01-01T00:00:{built_at % 60:02}Z", "created_by": "RUN make"}
        config = {
            "created": step["created"],
            "history": [{"created": CREATED}, {"created": step["created"], "empty_layer": True}, step, step],
            "rootfs": {"type": "layers", "diff_ids": []},
            "config": {"User": "1"},
        }
        files = {"base/layer.tar": base, "own/layer.tar": own, "twice/layer.tar": "../own/layer.tar"}
        pieces = saved(config, files, list(files))
        (tmp_path / name).mkdir()
        with engine((200, pieces)) as (client, _):
            return read_image(client, "image:tag", tmp_path / name, known=known), base

    midnight = 1_767_225_600  # 2026-01-01T00:00:00Z
    (one, base), (two, _) = read("one", midnight + 5), read("two", midnight + 50)
    assert one.image.digest == two.image.digest
    assert one.layers[0].digests.diff_id == Digest.of(base)  # sent before: untouched
    assert one.layers[1] == one.layers[2]
    assert one.size_bytes == sum(each.file.stat().st_size for each in one.layers)
    assert one.uncompressed_bytes == sum(each.digests.uncompressed_bytes for each in one.layers)
    for each in one.layers:
        assert Digest.of(each.file.read_bytes()) == each.digests.digest

    known = {each.digests.diff_id: replace(each.digests, uncompressed_bytes=0) for each in one.layers}
    three, _ = read("three", midnight + 40, known)
    assert three.image == one.image
    assert [(each.digests, each.blob) for each in three.layers] == [(each.digests, None) for each in one.layers]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_layers_that_the_engine_saves_compressed_are_the_same_layers(tmp_path, pack):
    base, own = layer(1), layer(1_700_000_000)
    step = {"created": "2026-01-01T00:00:05Z", "created_by": "RUN make"}
    config = {"created": step["created"], "history": [{"created": CREATED}, step], "rootfs": {}, "config": {}}

    def read(name, *layers):
        files = {f"blobs/sha256/{number}": content for number, content in enumerate(layers)}
        (tmp_path / name).mkdir()
        with engine((200, saved(config, files, list(files)))) as (client, _):
            return read_image(client, "image:tag", tmp_path / name).image

    assert read("packed", pack(base), pack(own)) == read("plain", base, own)
