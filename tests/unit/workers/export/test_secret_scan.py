"""A secret's value is found in any file of a layer, however it is cut into chunks, and nothing else is."""

from __future__ import annotations

import base64
import io
import tarfile
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.errors import CompileError, StoreError
from buildfarm.oci.digest import Digest
from buildfarm.oci.layer import LayerStream, hash_raw
from buildfarm.oci.tree import tar_command, tree_names
from workers.export.needles import Needle, needles_of
from workers.export.search import NeedleFoundError, Search
from workers.export.secret_scan import SecretScan

MIB = 1024 * 1024
TOKEN = "s3cr3t-t0k3n+of/the=app"
LAYER = Digest("sha256:" + "1" * 64)


def found(needles, chunks):
    search = Search(needles)
    try:
        for chunk in chunks:
            search.add(chunk)
    except NeedleFoundError as error:
        return error.needle.name
    return None


def cut(data, sizes):
    at = 0
    for size in sizes:
        yield data[at : at + size]
        at += size
    yield data[at:]


CHUNKS = st.lists(st.integers(0, 12), max_size=40)
FEW = st.binary(max_size=60).map(lambda data: bytes(byte % 2 for byte in data))  # parts of a needle occur often


@pytest.mark.kind("secrets")
def test_a_value_across_any_border_of_chunks(record_property):
    examples = []

    @given(before=st.binary(max_size=40), after=st.binary(max_size=40), sizes=CHUNKS, writable=st.booleans())
    def check(before, after, sizes, writable):
        examples.append(sizes)
        chunks = list(cut(before + TOKEN.encode() + after, sizes))
        assert found(needles_of({"TOKEN": TOKEN}), map(memoryview, map(bytearray, chunks)) if writable else chunks)

    check()
    record_property("seen", f"found in {len(examples)} generated streams")


@given(data=FEW, forms=st.lists(FEW.filter(bool), min_size=1, max_size=4), sizes=CHUNKS)
def test_a_stream_has_a_needle_exactly_if_the_whole_has_one(data, forms, sizes):
    needles = [Needle(form, str(number)) for number, form in enumerate(forms)]
    name = found(needles, cut(data, sizes))
    assert (name is not None) == any(form in data for form in forms)
    assert name is None or forms[int(name)] in data


@given(
    value=st.text("ab+/=é \n", min_size=4, max_size=20).map(lambda text: f"12{text}34"),
    before=st.binary(max_size=7),
    after=st.binary(max_size=7),
)
def test_base64_of_any_text_around_a_value(value, before, after):
    text = before + value.strip().encode() + after
    for encoded in (base64.b64encode(text), base64.urlsafe_b64encode(text), text, quote(text, safe="").encode()):
        assert found(needles_of({"A": value}), [encoded]) == "A"


@pytest.mark.parametrize(
    ("value", "searched"),
    [("1234567", False), ("12345678", True), ("1234567\n", False), ("\n12345678\n", True), ("", False), ("äöüß", True)],
)
def test_only_values_of_at_least_8_bytes_are_searched(value, searched):
    needles = needles_of({"A": value})
    assert bool(needles) == searched
    assert not searched or needles[0].form == value.strip().encode()


def test_a_layer_that_has_all_of_a_value_but_one_byte_passes():
    assert found(needles_of({"A": TOKEN}), [TOKEN[:-1].encode(), b"?" + TOKEN[1:].encode()]) is None


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "app"
    (root / "lib").mkdir(parents=True)
    (root / "lib/big").write_bytes(bytes(3 * MIB))
    (root / "main.py").write_text("print(1)")
    return root


@pytest.fixture
def scanned(tree):
    """``scanned(A="value")`` reads the tree's layer with these secrets: its digest by both ways of reading it."""

    def run(**values):
        argv, names = tar_command(tree, owner=0, names=True), tree_names(tree)

        def pieces():
            yield from io.BytesIO(raw)

        def send(watch):
            with LayerStream(argv, names=names, watch=watch()) as stream:
                return len(b"".join(stream)) and stream.layer.diff_id

        with LayerStream(argv, names=names, compression="none") as stream:
            raw = b"".join(stream)
        scan = SecretScan(values)
        digests = {scan.guard(lambda watch: hash_raw(argv, names=names, watch=watch()), pieces)}
        return digests | {scan.guard(send, pieces), stream.layer.diff_id}

    return run


@pytest.mark.kind("secrets")
@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        pytest.param(".netrc", f"machine x password {TOKEN}\n".encode(), "/app/.netrc", id="a login file"),
        pytest.param("z", bytes(MIB - 1536 - 9) + TOKEN.encode(), "/app/z", id="the last bytes of a file"),
        pytest.param("lib/z\x1b[2J", TOKEN.encode(), r"'/app/lib/z\x1b[2J'", id="a name with control characters"),
        pytest.param(
            "c.json", base64.b64encode(f"user:{TOKEN}".encode()), "TOKEN in base64", id="a registry login in base64"
        ),
        pytest.param(
            "u", f"https://u:{quote(TOKEN, safe='')}@x".encode(), "TOKEN URL-encoded", id="a password in an address"
        ),
    ],
)
def test_the_file_with_the_value_is_named_and_the_value_is_not(tree, scanned, record_property, *, name, content, told):
    (tree / name).write_bytes(content)
    with pytest.raises(CompileError) as refused:
        scanned(OTHER="o" * 40, TOKEN=TOKEN)
    assert told in refused.value.message
    assert TOKEN not in refused.value.message
    assert "\x1b" not in refused.value.message
    record_property("seen", refused.value.message)


@pytest.mark.kind("secrets")
def test_a_short_value_is_not_searched(tree, scanned, record_property):
    (tree / "short").write_text("1234567")
    assert len(scanned(SHORT="1234567")) == 1
    record_property("seen", "the layer passes")


def test_a_layer_without_the_value_has_the_same_digest_as_without_secrets(scanned):
    assert len(scanned(TOKEN=TOKEN)) == 1


def test_a_name_and_a_links_target_do_not_count(tree, scanned):
    (tree / TOKEN.replace("/", "_")).write_text("x")
    (tree / "link").symlink_to(TOKEN)
    assert len(scanned(TOKEN=TOKEN, NAME=TOKEN.replace("/", "_"))) == 1


def test_what_begins_in_one_file_and_ends_in_the_next_does_not_count(tree, scanned):
    (tree / "a").write_bytes(bytes(512 - 8) + b"begin-of")
    (tree / "b").write_bytes(b"-value")
    assert len(scanned(A="begin-of-value")) == 1


def test_an_archive_of_names_that_are_not_utf_8_is_read():
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT, errors="surrogateescape") as tar:
        info = tarfile.TarInfo("app/\udcff")
        info.size = len(TOKEN)
        tar.addfile(info, io.BytesIO(TOKEN.encode()))
    with pytest.raises(CompileError, match=r"app/.udcff"):
        SecretScan({"A": TOKEN}).refuse(piece for piece in [archive.getvalue()])


class Memory:
    """Remembers in this process; ``broken``: Redis is unreachable."""

    def __init__(self, *, broken=False):
        self.known, self.broken = set(), broken

    def missing(self, repository, diff_id, values):
        if self.broken:
            raise StoreError("unreachable")
        return [value for value in values if (repository, diff_id, value) not in self.known]

    def add(self, repository, diff_id, values):
        if self.broken:
            raise StoreError("unreachable")
        self.known |= {(repository, diff_id, value) for value in values}


def test_a_known_layer_is_searched_once_for_each_new_value():
    memory = Memory()
    first = SecretScan({"A": TOKEN}, "apps/x", memory)
    assert first.left(LAYER) == first
    first.passed(LAYER)
    assert first.left(LAYER).needles == ()
    both = SecretScan({"A": TOKEN, "B": "another value"}, "apps/x", memory)
    assert dict(both.left(LAYER).values) == {"B": "another value"}
    assert SecretScan({"A": TOKEN}, "apps/y", memory).left(LAYER).needles != ()


def test_an_unreachable_memory_costs_a_search_and_nothing_else():
    scan = SecretScan({"A": TOKEN}, "apps/x", Memory(broken=True))
    scan.passed(LAYER)
    assert scan.left(LAYER).needles == scan.needles != ()


def test_without_secrets_nothing_is_watched_or_asked():
    scan = SecretScan({}, "apps/x", Memory(broken=True))
    assert scan.left(LAYER) is scan
    assert scan.guard(lambda make_watch: make_watch(), lambda: iter(())) is None
