"""``php_site.py APP FOLDER``: prints the configuration of lighttpd for a PHP app whose FOLDER is served.

Files of an image have one fixed time, so a visitor's copy is never compared by time: files have no Last-Modified, and
those that are in the image have a digest of them all as ETag. What PHP answers keeps its
own ETag, and its Last-Modified at addresses without an ending.
"""

from __future__ import annotations

import os
import sys

from tree import Tree, digest, read_tree

TYPE_CHECKING = False  # of typing, whose import takes 4 ms of every build, as pathlib's and that of urllib do
if TYPE_CHECKING:
    from pathlib import Path

NAMES_MAX = 15_000  # characters of a regular expression; PCRE2 compiles at most 64 KB
REFUSED = (
    "^/\\\\.(?!well-known(/|$))",
    "^/.+/\\\\.",
    "^/(vendor|node_modules)/",
    "^/(Procfile|Aptfile|artisan|composer\\\\.(json|lock)|package(-lock)?\\\\.json|yarn\\\\.lock|pnpm-lock\\\\.yaml|app\\\\.json|scalingo\\\\.json|project\\\\.toml)$",
)
BASE = """\
server.document-root = "{root}"
server.port = env.PORT
server.bind = "0.0.0.0"
server.errorlog = "/dev/stderr"
server.modules = ("mod_access", "mod_setenv", "mod_rewrite", "mod_redirect", "mod_fastcgi")
server.follow-symlink = "enable"
index-file.names = ("index.php", "index.html")
url.access-deny = ("~", ".inc")
etag.use-inode = "disable"
etag.use-mtime = "disable"
etag.use-size = "disable"
include_shell "/usr/share/lighttpd/create-mime.conf.pl"
fastcgi.server = (".php" => ((
  "bin-path" => "/usr/bin/php-cgi", "socket" => "/tmp/php.socket", "max-procs" => 1,
  "broken-scriptfilename" => "enable",
  "bin-environment" => ("PHP_FCGI_CHILDREN" => env.WEB_CONCURRENCY, "PHP_FCGI_MAX_REQUESTS" => "10000")
)))
"""
FILES = """\
$HTTP["url"] =~ "(/|\\.(?!php($|[/?]))[^/.?]+)(\\?.*)?$" {
  setenv.set-request-header = ("If-Modified-Since" => "")
  setenv.set-response-header = ("Last-Modified" => "")
}
"""
UNCHANGED = """\
$HTTP["url"] =~ "{names}" {{
  setenv.set-request-header = ("If-Modified-Since" => "")
  setenv.set-response-header = (
    "Last-Modified" => "", "Cache-Control" => "public, max-age=0, must-revalidate", "ETag" => "\\"{etag}\\""
  )
  $REQUEST_HEADER["If-None-Match"] =~ "{etag}" {{
    $HTTP["request-method"] =~ "^(GET|HEAD)$" {{
      url.redirect-code = 304 url.redirect = ("" => "/")
      setenv.set-response-header = ("Location" => "", "ETag" => "\\"{etag}\\"")
    }}
  }}
}}
"""


def main(app: str, folder: str) -> None:
    root = os.path.join(app, folder)
    sys.stdout.write(configure(f"/app/{folder}".rstrip("/"), root, read_tree(root)))


def configure(address: str, root: Path | str, tree: Tree) -> str:
    files = [
        name for name in tree.files if not name.endswith(".php") and not name.startswith(("vendor/", "node_modules/"))
    ]
    etag = digest(root, Tree(files=files), "")
    parts = [
        BASE.format(root=address),
        *(f'$HTTP["url"] =~ "{pattern}" {{ url.access-deny = ("") }}\n'.replace("\\\\", "\\") for pattern in REFUSED),
    ]
    parts += [
        _rewrites(tree),
        FILES,
        *(UNCHANGED.format(names=f"^/({names})(\\?.*)?$", etag=etag) for names in _groups(files) if etag),
    ]
    return "".join(parts)


def _rewrites(tree: Tree) -> str:
    """A folder's own index comes first; else the app's index.php answers what is not a file."""
    pages = [(folder, page) for page in ("index.php", "index.html") for folder in _folders(tree, page)]
    own = dict(reversed(pages))
    rules = [
        f'"^/{_escape(folder)}{"/" if folder else ""}(\\?.*)?$" => "/{_quote(f"{folder}/{page}".lstrip("/"), "/")}$1"'
        for folder, page in sorted(own.items())
    ]
    if "index.php" in tree.files:
        # lighttpd itself sends a visitor of such a folder to its address with a slash.
        others = f"(?!(?:{'|'.join(_escape(folder) for folder in own if folder)})(?:\\?|$))" if len(own) > 1 else ""
        rules.append(f'"^/{others}[^?]*(\\?.*)?$" => "/index.php$1"')
    return f"url.rewrite-if-not-file = ({', '.join(rules)})\n" if rules else ""


def _folders(tree: Tree, page: str) -> list[str]:
    return [
        name.rpartition("/")[0]
        for name in tree.files
        if name.rpartition("/")[2] == page and not name.startswith(("vendor/", "node_modules/"))
    ]


def _groups(names: list[str]) -> list[str]:
    """The names as regular expressions "a|b|...", each of a length that can be compiled."""
    groups: list[list[str]] = []
    size = NAMES_MAX
    for name in map(_escape, names):
        size += len(name) + 1
        if size > NAMES_MAX:
            groups.append([])
            size = len(name)
        groups[-1].append(name)
    return ["|".join(group) for group in groups]


def _escape(name: str) -> str:
    """A file's name as it stands in a request, for a regular expression between quotation marks."""
    return "".join(
        letter if letter.isalnum() or letter in "/_-%~" else f"\\x{ord(letter):02x}"
        for letter in _quote(name, "/!$&'()*+,;=:@")
    )


def _quote(name: str, safe: str) -> str:
    """As urllib.parse does, also a name that is not UTF-8."""
    stay = f"{safe}_.-~".encode()
    return "".join(
        chr(byte) if byte in stay or bytes([byte]).isalnum() else f"%{byte:02X}" for byte in os.fsencode(name)
    )


if __name__ == "__main__":
    main(*sys.argv[1:3])
