"""Prints the plan of a PHP app as one JSON object; run by bin/plan."""

from __future__ import annotations

import json
import re
import sys

import kept
import php_builder
from planning.app import App, read_app
from planning.front_end import FrontEnd, read_front_end
from planning.ranges import WrongRangeError, meets

TYPE_CHECKING = False  # of typing, whose import takes 4 ms of every build
if TYPE_CHECKING:
    from typing import Any

INSTALL = "composer install"
COMPILE = "composer run-script compile"
FILES = ("composer.json", "composer.lock", "artisan", "bin/console", "index.php", "public/index.php", "package.json")
ROOTS = ("public", "web", "www", "htdocs")
WEB = "lighttpd -D -f /app/.php/lighttpd.conf"
# Extensions that the distribution has in a package of another name than php8.4-NAME
PACKAGES = {
    "pdo_sqlite": "sqlite3",
    "sqlite3": "sqlite3",
    "pdo_odbc": "odbc",
    "pdo_firebird": "interbase",
    "pdo_dblib": "sybase",
}
NAMES = {
    "amqp", "apcu", "ast", "bcmath", "bz2", "dba", "ds", "enchant", "excimer", "gd", "gearman", "gmagick", "gmp",
    "gnupg", "http", "igbinary", "imagick", "inotify", "interbase", "ldap", "mailparse", "maxminddb", "mcrypt",
    "memcache", "memcached", "mongodb", "msgpack", "oauth", "odbc", "pcov", "pq", "ps", "pspell", "psr", "raphf",
    "redis", "rrd", "smbclient", "snmp", "soap", "solr", "sqlite3", "ssh2", "stomp", "sybase", "tidy", "uopz",
    "uploadprogress", "uuid", "xdebug", "xmlrpc", "yac", "yaml", "zmq", "zstd",
}  # fmt: skip


class Composer:  # no dataclass: their import takes 10 ms of every build
    """``problems`` are sentences about files that cannot be read."""

    manifest: dict[str, Any]
    lock: dict[str, Any]
    problems: list[str]

    def __init__(self) -> None:
        self.manifest, self.lock, self.problems = {}, {}, []

    @property
    def packages(self) -> list[dict[str, Any]]:
        return [one for one in self.lock.get("packages") or [] if isinstance(one, dict)]

    def extra(self, name: str) -> Any:
        """What the manifest says to platforms, below "extra": "paas" is Scalingo's, "heroku" is Heroku's."""
        extra = _map(self.manifest.get("extra"))
        return next(
            (_map(extra.get(platform))[name] for platform in ("paas", "heroku") if name in _map(extra.get(platform))),
            None,
        )


def main(root: str, config: str) -> None:
    version, *extensions = php_builder.read_php()
    plan = make(read_app(root, config), version, extensions, read_front_end(root, config))
    sys.stdout.write(json.dumps(plan) + "\n")


def make(app: App, have: str, extensions: list[str], front: FrontEnd) -> dict[str, Any]:
    composer = read_composer(app)
    wanted, version_problem = choose_version(composer, have)
    root, because = choose_root(app, composer)
    commands = composer.extra("compile") or []
    steps = (
        [INSTALL, *([COMPILE] if "compile" in _map(composer.manifest.get("scripts")) else []), *map(str, commands)]
        if app.has("composer.json")
        else []
    )
    return {
        "buildpack": "php",
        "found": app.has(*FILES),
        "manager": {
            "name": "composer",
            "version": "the builder's",
            "because": " and ".join(app.has("composer.json", "composer.lock")),
        }
        if steps
        else None,
        "language": {"name": "php", "version": have, "because": wanted},
        "front_end": front.steps,
        **({"front_end_plan": front.plan} if front.plan else {}),
        "steps": [*front.steps, *steps],
        **kept.choose(app, composer.manifest, composer.packages),
        "document_root": root,
        "laravel": bool(app.has("artisan")),
        "processes": {"web": WEB},
        "because": f"{because}, served by lighttpd with PHP's FastCGI",
        "warnings": [*front.warnings, *unlocked(app, composer)],
        "problems": [
            *front.problems,
            *composer.problems,
            *version_problem,
            *missing_extensions(app, composer, have, extensions),
        ],
    }


def read_composer(app: App) -> Composer:
    composer = Composer()
    for name, target in (("composer.json", "manifest"), ("composer.lock", "lock")):
        if app.has(name):
            try:
                read = json.loads(app.text(name))
            except ValueError as wrong:
                read = None
                composer.problems.append(f"{name} is not valid JSON ({wrong}). Correct it and build again.")
            if read is not None and not isinstance(read, dict):
                composer.problems.append(f"{name} is not a JSON object. Make it with composer init.")
            setattr(composer, target, _map(read))
    return composer


def choose_version(composer: Composer, have: str) -> tuple[str, list[str]]:
    wanted = _map(composer.manifest.get("require")).get("php")
    if not isinstance(wanted, str):
        return "the builder's", []
    if "php" in _map(_map(composer.manifest.get("config")).get("platform")):
        return "config.platform.php in composer.json", []
    because = f"{wanted} in composer.json"
    try:
        if meets(have, wanted):
            return because, []
    except WrongRangeError:
        return because, []  # Composer itself knows more of ranges
    advice = f"Allow it there, like ^{have.rpartition('.')[0]}."
    return because, [f"composer.json asks for PHP {wanted}, and the builder has {have} alone. {advice}"]


def missing_extensions(app: App, composer: Composer, have: str, extensions: list[str]) -> list[str]:
    """A sentence for each extension that neither the builder has nor the app brings."""
    there = {_name(one) for one in extensions} | {_name(path.stem) for path in app.root.glob(".apt/usr/lib/php/*/*.so")}
    # The buildpack apt, which runs before, has not run yet where only the plan is asked for.
    there |= {extension for extension in PACKAGES if PACKAGES[extension] in _aptfile(app)} | _aptfile(app)
    provided = {
        name.lower() for one in composer.packages for name in _map(one.get("provide")) | _map(one.get("replace"))
    }
    asked: dict[str, str] = {}
    for source, requires in [
        ("composer.json", composer.manifest.get("require")),
        *((str(one.get("name")), one.get("require")) for one in composer.packages),
    ]:
        for name in _map(requires):
            if name.lower().startswith("ext-"):
                asked.setdefault(name.lower(), source)
    return [
        _advice(name[4:], source, have)
        for name, source in sorted(asked.items())
        if _name(name[4:]) not in there and name not in provided
    ]


def _aptfile(app: App) -> set[str]:
    lines = (line.split("#")[0].strip() for line in app.text("Aptfile").splitlines())
    return {re.sub(r"^php[0-9.]*-", "", line.split("=")[0]) for line in lines if line.startswith("php")}


def _advice(name: str, source: str, have: str) -> str:
    package = PACKAGES.get(_name(name), name)
    if package not in NAMES:
        return f"{source} asks for ext-{name}, which neither the builder's PHP nor its distribution has. Do without it."
    line = f"php{'.'.join(have.split('.')[:2])}-{package}"
    advice = f"Write {line} into an Aptfile, and apt and php, a line each, into .buildpacks."
    return f"{source} asks for ext-{name}, which the builder's PHP has not. {advice}"


def _name(extension: str) -> str:
    """Composer writes "Zend OPcache" as zend-opcache, and calls PDO's drivers with a line below."""
    return extension.lower().replace("zend ", "").replace("zend-", "").replace(" ", "-").strip()


def choose_root(app: App, composer: Composer) -> tuple[str, str]:
    """The folder that is served, below the app, and why."""
    named = composer.extra("document-root")
    if isinstance(named, str) and (app.root / named).is_dir() and ".." not in named:
        return named.strip("/"), "document-root in composer.json"
    for page in ("index.php", "index.html"):
        for folder in ROOTS:
            if app.has(f"{folder}/{page}"):
                return folder, f"{folder}/{page}"
        if app.has(page):
            return "", page
    return "", "the whole folder"


def unlocked(app: App, composer: Composer) -> list[str]:
    needs = [name for name in _map(composer.manifest.get("require")) if "/" in name]
    if not needs or app.has("composer.lock"):
        return []
    advice = "Run composer update and commit composer.lock."
    return [f"There is no composer.lock, so the first build of each day takes the newest packages. {advice}"]


def _map(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
