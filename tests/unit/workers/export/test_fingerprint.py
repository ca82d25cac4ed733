"""What the file system says of files is enough to know them again."""

from __future__ import annotations

import hashlib
import os
import shutil

from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import LayerDigests
from buildfarm.oci.tree import Found, scan
from buildfarm.store import KnownLayer
from workers.export.fingerprint import RECENT_MAX, Recent, identity_of, shape_of


def both(root, prefix=b"", salt="gzip"):
    found = scan(root).found
    return shape_of(found, prefix, salt), identity_of(found, prefix, salt)


def make(root):
    (root / "a").mkdir(parents=True)
    (root / "a/b").write_text("one")
    return root


def test_an_untouched_tree_keeps_both(tmp_path):
    root = make(tmp_path / "app")
    assert both(root) == both(root)


def test_a_shape_does_not_depend_on_how_it_is_computed():
    """Nodes of another version find the same layers; there are more fields than are hashed at once."""
    found = [Found(f"app/{number}", False, number, f"f 644 {number}", f"{number}") for number in range(3000)]
    shape = [*(item.name for item in found), *(item.shape for item in found)]
    for fingerprint, fields in ((shape_of, shape), (identity_of, [*shape, *(item.identity for item in found)])):
        whole = b"gzip\x003\0web" + "\0".join(fields).encode()
        assert fingerprint(found, b"web", "gzip") == hashlib.sha256(whole).hexdigest()


def test_a_copy_keeps_its_shape_only(tmp_path):
    root = make(tmp_path / "app")
    copy = tmp_path / "two/app"
    shutil.copytree(root, copy)
    assert both(root)[0] == both(copy)[0]
    assert both(root)[1] != both(copy)[1]


def test_other_content_of_the_same_size_is_another_identity_even_with_the_old_time(tmp_path):
    root = make(tmp_path / "app")
    before, status = both(root), (root / "a/b").stat()
    (root / "a/b").write_text("two")
    os.utime(root / "a/b", ns=(status.st_atime_ns, status.st_mtime_ns))
    after = both(root)
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_size_name_permission_processes_and_compression_are_part_of_the_shape(tmp_path):
    root = make(tmp_path / "app")
    seen = {both(root)[0], both(root, b"web")[0], both(root, salt="zstd")[0]}
    (root / "a/b").chmod(0o755)
    seen.add(both(root)[0])
    (root / "a/b").write_text("three")
    seen.add(both(root)[0])
    (root / "a/b").rename(root / "a/c")
    seen.add(both(root)[0])
    assert len(seen) == 6


def test_what_was_not_used_for_longest_is_forgotten_first():
    remembered = Recent()
    digest = Digest("sha256:" + "0" * 64)
    layer = KnownLayer(LayerDigests(digest, digest, 1, 1), "r")
    for number in range(RECENT_MAX):
        remembered.put(str(number), layer)
    assert remembered.get("0") == layer
    remembered.put("new", layer)
    assert remembered.get("0") == layer
    assert remembered.get("1") is None
