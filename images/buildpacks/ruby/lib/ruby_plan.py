"""``ruby_plan.py BUILD_DIR ENV_DIR RUBY MACHINE``: prints the plan of a Ruby app on a machine with that Ruby."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import gemfile
from gemfile import Asked, Lock
from planning.app import App, read_app
from planning.front_end import FrontEnd, read_front_end
from planning.ranges import WrongRangeError, meets, number, starts_with

INSTALL = "bundle install"
# Gems whose content can be another under the same Gemfile, where no lock file says which it was
MOVING = re.compile(r"\b(path|git|github|gist|bitbucket|gemspec|\w*eval\w*|load|require\w*|File|IO|Dir|Pathname)\b")
ASSET_GEMS = {
    "sprockets",
    "sprockets-rails",
    "propshaft",
    "webpacker",
    "shakapacker",
    "vite_ruby",
    "vite_rails",
    "jsbundling-rails",
    "cssbundling-rails",
}
COMPILED = ("public/assets/.manifest.json", "public/assets/manifest-*.json", "public/assets/.sprockets-manifest-*.json")
FILES = (
    "Gemfile",
    "Gemfile.lock",
    ".ruby-version",
    ".tool-versions",
    "Rakefile",
    "config/environment.rb",
    "config.ru",
    "app.rb",
    "package.json",
)
# A server that the app brings, and how it serves config.ru on all addresses
SERVERS = {
    "puma": "bundle exec puma -p $PORT -e $RACK_ENV",
    "falcon": "bundle exec falcon serve -b http://0.0.0.0:$PORT",
    "unicorn": "bundle exec unicorn -o 0.0.0.0 -p $PORT -E $RACK_ENV",
    "thin": "bundle exec thin start -a 0.0.0.0 -p $PORT -e $RACK_ENV",
}


def main(root: str, config: str, have: str, machine: str) -> None:
    sys.stdout.write(
        json.dumps(make(read_app(root, config), have, machine, read_front_end(root, config)), indent=2) + "\n"
    )


def make(app: App, have: str, machine: str, front: FrontEnd) -> dict[str, Any]:
    locked = bool(app.has("Gemfile.lock"))
    lock = gemfile.read_lock(app.text("Gemfile.lock"))
    language, problems, warnings = choose_ruby(gemfile.read_asked(app), lock, have)
    adding, why = missing_platform(lock, machine)
    assets, because = choose_assets(app, gemfile.read_gems(app, lock))
    processes = choose_processes(app, gemfile.read_gems(app, lock))
    return {
        "buildpack": "ruby",
        "found": app.has(*FILES),
        "manager": {
            "name": "bundler",
            "version": "of that Ruby" if language["fetched"] else "the builder's",
            "because": " and ".join(app.has("Gemfile", "Gemfile.lock")),
        },
        "language": language,
        "front_end": front.steps,
        **({"front_end_plan": front.plan} if front.plan else {}),
        "steps": [*front.steps, *([adding] if adding else []), INSTALL, *([assets] if assets else [])],
        "kept": "." not in lock.paths and (locked or not MOVING.search(app.text("Gemfile"))),
        "daily": not locked,
        "inputs": [
            *app.has("Gemfile", "Gemfile.lock", ".ruby-version", ".tool-versions"),
            *sorted(lock.paths),
            *(["vendor/cache"] if (app.root / "vendor/cache").is_dir() else []),
        ],
        "processes": processes,
        "because": because,
        "warnings": [*front.warnings, *warnings, *([why] if why else []), *unlocked(app)],
        "problems": [*front.problems, *problems],
    }


def choose_ruby(asked: Asked, lock: Lock, have: str) -> tuple[dict[str, Any], list[str], list[str]]:
    """The Ruby to use, the app's faults, and what its author should know."""
    builders = {
        "name": "ruby",
        "version": have,
        "because": f"{asked.range} in {asked.because}" if asked.range else asked.because,
        "fetched": False,
    }
    try:
        if not asked.range or meets(have, asked.range) or (starts_with(have, asked.range) and not asked.enforced):
            return builders, [], []
    except WrongRangeError:
        return builders, [_unreadable(asked, have)], []
    if not asked.enforced and number(asked.range)[:2] == number(have)[:2] and number(asked.range) < number(have):
        return (
            builders,
            [],
            [f"{asked.because} asks for Ruby {asked.range}: the builder's {have} is a later patch of it."],
        )
    exact = _exact(asked.range.removeprefix("=").strip(), lock, asked)
    if exact:
        return {**builders, "version": exact, "fetched": True}, [], []
    return builders, [_not_to_be_had(asked, have)], []


def _exact(version: str, lock: Lock, asked: Asked) -> str:
    """The version to fetch: the one that is named, or the one that the lock file was made with."""
    if re.fullmatch(r"\d+\.\d+\.\d+", version):
        return version
    return lock.ruby if lock.ruby.count(".") == len("..") and meets(lock.ruby, asked.range) else ""


def _unreadable(asked: Asked, have: str) -> str:
    if re.match(r"(jruby|truffleruby|mruby|rbx)", asked.range):
        return (
            f"{asked.because} asks for {asked.range}, and this farm has only Ruby itself. Name a version like {have}."
        )
    minor = have.rpartition(".")[0]
    return f"{asked.because} asks for Ruby '{asked.range}', which is not a version. Write it like {have} or ~> {minor}."


def _not_to_be_had(asked: Asked, have: str) -> str:
    verb = "ask" if " and " in asked.because else "asks"
    if starts_with(have, asked.range):
        only = f"{asked.range}.0"
        return f"{asked.because} {verb} for Ruby {asked.range}, which is {only} alone to Bundler. Write ~> {only}."
    advice = "Allow that, or name another exactly, like 3.4.7."
    return f"{asked.because} {verb} for Ruby {asked.range}, and the builder has {have}. {advice}"


def missing_platform(lock: Lock, machine: str) -> tuple[str, str]:
    """The command that adds this machine to a lock file made elsewhere, and what its author should do."""
    if gemfile.fits(lock.platforms, machine):
        return "", ""
    command = f"bundle lock --add-platform {machine}-linux"
    others = ", ".join(lock.platforms)
    advice = f"Run `{command}` and commit the file."
    return command, f"Gemfile.lock is for {others} alone, so this build adds {machine}-linux to it. {advice}"


def choose_assets(app: App, gems: set[str]) -> tuple[str, str]:
    """The command that compiles the assets, if any, and why or why not."""
    command = "bin/rails assets:precompile" if app.has("bin/rails") else "bundle exec rake assets:precompile"
    if not app.has("Rakefile"):
        return "", "no Rakefile, so no assets"
    compiled = next((str(path.relative_to(app.root)) for name in COMPILED for path in sorted(app.root.glob(name))), "")
    if compiled:
        return "", f"the assets are compiled: {compiled}"
    if app.has("config/application.rb") and gems & ASSET_GEMS:
        return command, f"assets by {', '.join(sorted(gems & ASSET_GEMS))}"
    tasks = [
        app.text("Rakefile"),
        *(path.read_text(errors="replace") for path in sorted(app.root.glob("lib/tasks/**/*.rake"))),
    ]
    if any(re.search(r"assets:precompile|namespace[\s(]+:assets|SprocketsTask", _code(text)) for text in tasks):
        return command, "the Rakefile has the task assets:precompile"
    return "", "no task assets:precompile"


def _code(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))


def choose_processes(app: App, gems: set[str]) -> dict[str, str]:
    if app.has("config/environment.rb") and app.has("bin/rails"):
        return {"web": "bin/rails server -b 0.0.0.0 -p $PORT -e $RAILS_ENV", "console": "bin/rails console"}
    if app.has("config.ru"):
        server = next(
            (command for gem, command in SERVERS.items() if gem in gems),
            "bundle exec rackup --host 0.0.0.0 --port $PORT config.ru",
        )
        return {"web": server}
    program = next(iter(app.has("app.rb", "main.rb", "server.rb")), "")
    return {"web": f"bundle exec ruby {program}"} if program else {}


def unlocked(app: App) -> list[str]:
    if app.has("Gemfile.lock"):
        return []
    advice = "Run bundle install and commit Gemfile.lock."
    return [f"There is no Gemfile.lock, so the first build of each day takes the newest gems. {advice}"]


if __name__ == "__main__":
    main(*sys.argv[1:5])
