"""What the server of static files is told: redirects, headers, pages, links, and what is never served."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as some

sys.path.insert(0, str(Path(__file__).parents[3] / "images/builder/root/usr/lib/buildfarm/static_site"))

import lighttpd
import serve
from site_files import Headers, Read, Rule, Site, read_headers, read_redirects
from tree import digest, read_tree

NAMES = some.text(some.sampled_from('ab.-_%$+(é"|'), min_size=1, max_size=6).filter(lambda name: not set(name) <= {"."})


def write(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


def config(folder: Path, site: Site | None = None) -> str:
    return serve.configuration(folder, site or Site())


def redirects(text: str) -> Read:
    read = Read()
    read_redirects(text, read)
    return read


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("/a /b", Rule("/a", "/b", 301)),
        ("/a   https://x.example/b?c=d 302 # why", Rule("/a", "https://x.example/b?c=d", 302)),
        ("/* /index.html 200", Rule("/*", "/index.html", 200)),
        ("/u/:id/* /user?id=:id 307!", Rule("/u/:id/*", "/user?id=:id", 307, force=True)),
        ("/a /b#c", Rule("/a", "/b#c", 301)),
    ],
)
def test_a_line_of_redirects_is_a_rule(line, rule):
    assert (redirects(f"# first\n\n{line}\n").rules, redirects(line).warnings) == ([rule], [])


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("/a", "does not name where"),
        ("/a id=:id /b", "query parameters"),
        ("/a /b 302 Country=de", "conditions"),
        ("/a https://x.example/ 200", "proxy"),
        ("https://x.example/a /b", "not a path"),
        ("/a/*/b /c", "not at its end"),
        ("/a /b 418", "not one of the statuses"),
        ("/a /b 404", "custom page"),
        ("/a/:1/:2/:3/:4/:5/:6/:7/:8/* /b", "more than 8"),
        ('/a" /b', "not a path"),
    ],
)
def test_a_line_that_is_not_followed_is_named_with_the_reason(line, why):
    read = redirects(f"/ok /there\n{line}\n")
    assert read.rules == [Rule("/ok", "/there")]
    assert len(read.warnings) == 1
    assert read.warnings[0].startswith("_redirects, line 2: ")
    assert why in read.warnings[0]


def test_a_page_for_what_is_not_found_can_be_named():
    assert redirects("/* /gone.html 404").error_page == "gone.html"


def test_headers_belong_to_the_path_above_them():
    read = Read()
    read_headers('/*\n  X-A: 1\n  # no\n  X-B: a:b\n/c\n\tX-C: "q"\n  ! X-A\n  B"d: 1\nnot a path\n  X-D: 1\n', read)
    assert read.headers == [
        Headers("/*", (("X-A", "1"),)),
        Headers("/*", (("X-B", "a:b"),)),
        Headers("/c", (("X-C", '"q"'),)),
    ]
    assert [warning.split(":")[0] for warning in read.warnings] == [
        f"_headers, line {number}" for number in (7, 8, 9, 10)
    ]


@pytest.mark.parametrize(
    ("source", "path", "groups"),
    [
        ("/a", "/a", ()),
        ("/a", "/a/", ()),
        ("/a", "/ab", None),
        ("/a/*", "/a", (None,)),
        ("/a/*", "/a/b/c", ("b/c",)),
        ("/a/*", "/ab", None),
        ("/*", "/b", ("b",)),
        ("/u/:id/:page", "/u/7/mail", ("7", "mail")),
        ("/u/:id", "/u/7/mail", None),
        ("/a.b", "/axb", None),
        ("/é", "/%C3%A9", ()),
    ],
)
def test_which_addresses_a_source_matches(source, path, groups):
    found = re.fullmatch(lighttpd.source_pattern(source).regex, path)
    assert (found.groups() if found else None) == groups


def test_placeholders_become_groups_and_percent_signs_stay():
    pattern = lighttpd.source_pattern("/u/:id/*")
    assert (
        lighttpd.substitute("https://x.example/:splat?id=:id&p=100%25$", pattern)
        == "https://x.example/$2?id=$1&p=100%%25$$"
    )


@pytest.mark.parametrize(
    ("path", "served"),
    [
        ("/.env", False),
        ("/.git/config", False),
        ("/a/.env", False),
        ("/.well-known", True),
        ("/.well-known/security.txt", True),
        ("/.well-known/.secret", False),
        ("/.well-knownx", False),
        ("/a/.well-known/x", False),
        ("/a.b/c.d", True),
        ("/Procfile", False),
        ("/Staticfile.auth", False),
        ("/out/passwd", False),
        ("/outer", True),
    ],
)
def test_dot_files_and_links_that_lead_out_are_refused(tmp_path, path, served):
    write(tmp_path / "site", "index.html")
    (tmp_path / "site/out").symlink_to("/etc")
    patterns = re.findall(
        r'^\$HTTP\["url"\] =~ "(.*)" \{ url.access-deny = \(""\) \}$', config(tmp_path / "site"), re.MULTILINE
    )
    assert len(patterns) == 4
    assert any(re.search(pattern, path) for pattern in patterns) != served


def test_links_inside_of_the_folder_are_followed_once(tmp_path):
    site = write(tmp_path / "site", "dist/app.js", "index.html")
    (site / "assets").symlink_to("dist")
    (site / "dist/loop").symlink_to("..")
    (site / "nothing").symlink_to("missing")
    tree = read_tree(site)
    assert tree.files == ["assets/app.js", "dist/app.js", "index.html"]
    assert tree.outside == []


def test_pages_have_an_address_without_their_ending(tmp_path):
    tree = read_tree(
        write(
            tmp_path,
            "index.html",
            "about.html",
            "docs.html",
            "docs/index.html",
            "docs/x.html",
            "a.txt",
            ".hidden/b.html",
        )
    )
    assert (tree.pages, tree.indexes) == (["about", "docs/x"], ["", "docs"])


@given(some.lists(NAMES, min_size=1, max_size=20, unique=True))
def test_names_of_pages_are_matched_as_requests_spell_them(names):
    whole = re.compile("|".join(lighttpd._alternatives(names)))
    for name in names:
        assert whole.fullmatch(quote(name, safe="/!$&'()*+,;=:@~"))


def test_long_lists_are_cut_to_what_can_be_compiled():
    groups = lighttpd._alternatives([f"page-{number}" for number in range(10_000)])
    assert len(groups) > 4
    assert all(len(group) <= lighttpd.REGEX_MAX for group in groups)
    assert sum(group.count("|") + 1 for group in groups) == 10_000


def test_the_validator_is_the_content(tmp_path):
    site = write(tmp_path / "site", "index.html", "a.txt")
    tree = read_tree(site)
    first = digest(site, tree, "")
    assert digest(site, tree, "another configuration") != first
    (site / "a.txt").write_text("b.txt")  # of the same length, and the time is not looked at
    assert digest(site, tree, "") != first
    text = config(site)
    assert 'setenv.set-request-header = ("If-Modified-Since" => "")' in text
    assert re.search(r'"Last-Modified" => "".*"ETag" => "\\"[0-9a-f]{32}\\""', text)
    assert all(f'etag.use-{what} = "disable"' in text for what in ("inode", "mtime", "size"))


def test_a_folder_too_large_to_read_at_start_has_no_etag(tmp_path, monkeypatch):
    monkeypatch.setattr("tree.HASHED_MAX_BYTES", 3)
    text = config(write(tmp_path, "index.html"))
    assert '"ETag"' not in text
    assert "If-None-Match" not in text
    assert '"Last-Modified" => ""' in text


def test_narrow_headers_repeat_the_wider_ones(tmp_path):
    site = write(tmp_path, "index.html")
    (site / "_headers").write_text("/assets/*\n  Cache-Control: max-age=9\n/*\n  X-A: 1\n  Cache-Control: no-store\n")
    blocks = re.findall(
        r'^\$HTTP\["url"\] =~ "(.*?)" \{ setenv.set-response-header = \((.*)\) \}', config(site), re.MULTILINE
    )
    assert [re.search(r'"Cache-Control" => "([^"]*)"', headers)[1] for _, headers in blocks] == [
        "no-store",
        "max-age=9",
    ]
    assert all('"X-A" => "1"' in headers and '"Last-Modified" => ""' in headers for _, headers in blocks)


def test_the_fallback_is_the_last_resort(tmp_path):
    site = write(tmp_path, "index.html", "about.html")
    (site / "_redirects").write_text("/old /new\n/forced /new 302!\n")
    text = config(site, Site(fallback="index.html"))
    rules = re.search(r"^url.rewrite-if-not-file = \((.*)\)$", text, re.MULTILINE)[1]
    assert rules.endswith('"^" => "/index.html"')
    assert rules.index("about") < rules.index("/old") < rules.index('"^"')
    assert re.search(r'^url.rewrite-once = \("\^/forced/\?.*/~redirect/302/1\$0"\)$', text, re.MULTILINE)


def test_a_fallback_that_is_not_there_is_left_out(tmp_path):
    assert '"^"' not in config(write(tmp_path, "a.txt"), Site(fallback="index.html"))
