"""The configuration of lighttpd for a site and the files that it has.

Files of an image have one fixed time, so nothing may depend on times: there is no Last-Modified, and the ETag of
every file is a digest of the whole folder. lighttpd has no module for the content's own digest in its basic package.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from site_files import Headers, Rule, Site
from tree import Tree

MARK = "/~redirect"  # what a rule of a redirect rewrites to if there is no file, so that mod_redirect sees it
REGEX_MAX = 20_000  # characters; PCRE2 compiles at most 64 KB
HIDDEN = "^/(Procfile|Aptfile|Staticfile(\\.auth)?|(static|app|scalingo)\\.json|project\\.toml|_redirects|_headers)$"
QUERY = "(\\?.*)?$"


@dataclass(frozen=True)
class Pattern:
    """A source or a path of the site's rules as a regular expression."""

    regex: str
    names: tuple[str, ...]  # of its groups, in their order


def configure(site: Site, tree: Tree, root: Path, etag: str) -> str:
    """The whole configuration; `$PORT` is read by lighttpd itself."""
    sections = (
        _basics(site, root),
        _denied(site, tree),
        _passwords(site),
        _addresses(site, tree),
        _headers(site, etag),
        _unchanged(etag),
    )
    return "\n".join(line for section in sections for line in section) + "\n"


def _basics(site: Site, root: Path) -> list[str]:
    modules = [
        "mod_access",
        *(["mod_auth", "mod_authn_file"] if site.passwords else []),
        "mod_setenv",
        "mod_rewrite",
        "mod_redirect",
    ]
    return [
        f"server.document-root = {_text(str(root))}",
        "server.port = env.PORT",
        'server.bind = "0.0.0.0"',
        'server.errorlog = "/dev/stderr"',
        f"server.modules = ({', '.join(map(_text, [*modules, *(['mod_dirlisting'] if site.listing else [])]))})",
        'server.follow-symlink = "enable"',
        'index-file.names = ("index.html")',
        'include_shell "/usr/share/lighttpd/create-mime.conf.pl"',
        *(f'etag.use-{what} = "disable"' for what in ("inode", "mtime", "size")),
        *(['dir-listing.activate = "enable"', 'dir-listing.encoding = "utf-8"'] if site.listing else []),
    ]


def _denied(site: Site, tree: Tree) -> list[str]:
    patterns = [HIDDEN] if site.dot_files else ["^/\\.(?!well-known(/|$))", "^/.+/\\.", HIDDEN]
    patterns += [f"^/({names})(/|$)" for names in _alternatives(tree.outside, escape=_literal)]
    return [
        'url.access-deny = ("~", ".inc")',
        *(f'$HTTP["url"] =~ {_text(pattern)} {{ url.access-deny = ("") }}' for pattern in patterns),
    ]


def _passwords(site: Site) -> list[str]:
    if not site.passwords:
        return []
    return [
        'auth.backend = "htpasswd"',
        f"auth.backend.htpasswd.userfile = {_text(site.passwords)}",
        'auth.require = ("" => ("method" => "basic", "realm" => "Restricted", "require" => "valid-user"))',
    ]


def _addresses(site: Site, tree: Tree) -> list[str]:
    """What a request is answered with that is not simply a file."""
    forced: list[tuple[str, str]] = []
    otherwise = [(f"^/(?:{names})/?{QUERY}", "") for names in _alternatives(tree.indexes)]
    if site.clean:
        otherwise += [(f"^/({names})/?{QUERY}", "/$1.html$2") for names in _alternatives(tree.pages)]
    for number, rule in enumerate(site.rules):
        pattern = source_pattern(rule.source)
        target = _file(rule, pattern, tree) if rule.status == 200 else f"{MARK}/{rule.status}/{number}$0"
        (forced if rule.force else otherwise).append((f"^{pattern.regex}{QUERY}", target))
    if site.fallback in tree.files:
        otherwise.append(("^", f"/{quote(site.fallback)}"))
    lines = []
    if site.error_page in tree.files:
        lines.append(f"server.error-handler = {_text('/' + site.error_page)}")
    if forced:
        lines.append(f"url.rewrite-once = ({_pairs(forced)})")
    if otherwise:
        lines.append(f"url.rewrite-if-not-file = ({_pairs(otherwise)})")
    return [*lines, *_redirects(site), *(_to_https() if site.https_only else ())]


def _file(rule: Rule, pattern: Pattern, tree: Tree) -> str:
    """The file that a rewrite leads to; a page can be named without its ending."""
    name = rule.target.strip("/")
    for page in (f"{name}.html", f"{name}/index.html" if name else "index.html"):
        if name not in tree.files and page in tree.files:
            return f"/{quote(page)}"
    return substitute(rule.target, pattern)


def _redirects(site: Site) -> list[str]:
    lines = []
    for status in sorted({rule.status for rule in site.rules} - {200}):
        pairs = []
        for number, rule in enumerate(site.rules):
            if rule.status == status:
                pattern = source_pattern(rule.source)
                target, mark, fragment = substitute(rule.target, pattern).partition("#")
                pairs.append((f"^{MARK}/{status}/{number}{pattern.regex}{QUERY}", target + "${qsa}" + mark + fragment))
        lines.append(
            f'$HTTP["url"] =~ "^{MARK}/{status}/" {{ url.redirect-code = {status} url.redirect = ({_pairs(pairs)}) }}'
        )
    return lines


def _to_https() -> list[str]:
    return [
        '$REQUEST_HEADER["X-Forwarded-Proto"] == "http" {',
        '  url.redirect-code = 301 url.redirect = ("" => "https://${url.authority}${url.path}${qsa}")',
        "}",
    ]


def _headers(site: Site, etag: str) -> list[str]:
    """lighttpd takes the last block alone that matches, so each repeats what the wider ones say."""
    ours = {
        "Last-Modified": "",
        "Cache-Control": "public, max-age=0, must-revalidate",
        **({"ETag": f'"{etag}"'} if etag else {}),
    }
    paths = sorted(dict.fromkeys(one.path for one in site.headers), key=lambda path: (len(path.replace("*", "")), path))
    lines = [
        'setenv.set-request-header = ("If-Modified-Since" => "")',
        f"setenv.set-response-header = ({_merged(ours, ())})",
    ]
    for path in paths:
        wider = sorted((one for one in site.headers if covers(one.path, path)), key=lambda one: paths.index(one.path))
        lines.append(
            f'$HTTP["url"] =~ {_text(path_regex(path))} {{ setenv.set-response-header = ({_merged(ours, wider)}) }}'
        )
    return lines


def _merged(ours: dict[str, str], wider: list[Headers] | tuple[()]) -> str:
    merged = {name.lower(): (name, value) for name, value in ours.items()}
    for one in wider:
        merged.update({name.lower(): (name, value) for name, value in one.headers})
    return _pairs(list(merged.values()))


def _unchanged(etag: str) -> list[str]:
    """304 to visitors who have this very folder's files; lighttpd compares only ETags that it makes itself."""
    if not etag:
        return []
    return [
        f'$REQUEST_HEADER["If-None-Match"] =~ "{etag}" {{',
        '  $HTTP["request-method"] =~ "^(GET|HEAD)$" {',
        '    url.redirect-code = 304 url.redirect = ("" => "/")',
        f'    setenv.set-response-header = ("Location" => "", "ETag" => {_text(chr(34) + etag + chr(34))})',
        "  }",
        "}",
    ]


def source_pattern(source: str) -> Pattern:
    """The regular expression for a rule's source, which matches with and without a slash at the end."""
    regex = ""
    names: list[str] = []
    for part in source.strip("/").split("/"):
        if part == "*":
            regex, names = f"{regex}(?:/([^?]*))?", [*names, "splat"]
        elif part.startswith(":") and part[1:].isidentifier():
            regex, names = f"{regex}/([^/?]+)", [*names, part[1:]]
        elif part.endswith("*"):
            regex, names = f"{regex}/{_escape(part[:-1])}([^?]*)", [*names, "splat"]
        elif part:
            regex = f"{regex}/{_escape(part)}"
    return Pattern(regex if source.endswith("*") else f"{regex}/?", tuple(names))


def substitute(target: str, pattern: Pattern) -> str:
    """The target with lighttpd's groups for its placeholders; `$` and `%` are doubled, since lighttpd reads them."""
    escaped = re.sub(r"([$%])", r"\1\1", quote(target, safe="/:?#[]@!$&'()*+,;=%-._~"))
    for number, name in enumerate(pattern.names, 1):
        escaped = re.sub(rf":{name}\b", lambda _, number=number: f"${number}", escaped)  # type: ignore[misc]
    return escaped


def path_regex(path: str) -> str:
    """The regular expression for the path of a block of headers; a page without its ending is the page."""
    parts = (
        "[^/]+" if part.startswith(":") else ".*" if part == "*" else _literal(part)
        for part in re.findall(r"\*|(?<=/):\w+|[^*:]+|:", path)
    )
    return f"^{''.join(parts)}(\\.html|/?index\\.html)?$"


def covers(wide: str, path: str) -> bool:
    return wide == path or bool(re.search(path_regex(wide), path.replace("*", "any/thing")))


def _alternatives(names: list[str], escape: object = None) -> list[str]:
    """The names as regular expressions "a|b|…", each of a length that can be compiled."""
    groups: list[list[str]] = []
    size = REGEX_MAX
    for name in names:
        escaped = _literal(name) if escape else _escape(name)
        size += len(escaped) + 1
        if size > REGEX_MAX:
            groups.append([])
            size = len(escaped)
        groups[-1].append(escaped)
    return ["|".join(group) for group in groups]


def _escape(name: str) -> str:
    """A name as it stands in a request's address, for a regular expression."""
    return _literal(quote(name, safe="/!$&'()*+,;=:@~"))


def _literal(name: str) -> str:
    return re.sub(r'([\\.^$|?*+()\[\]{}"])', lambda found: f"\\x{ord(found[1]):02x}", name)


def _pairs(pairs: list[tuple[str, str]]) -> str:
    return ", ".join(f"{_text(key)} => {_text(value)}" for key, value in pairs)


def _text(value: str) -> str:
    """A string of lighttpd's language, in which nothing but the quotation mark is special."""
    return '"' + value.replace('"', '\\"') + '"'
