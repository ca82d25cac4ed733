"""What to say of an app that no buildpack takes: what was looked for, what is there, who takes such an app. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from buildfarm.errors import DetectError

# What the farm's own buildpacks take an app by.
LOOKED_FOR = {
    "inline": ("bin/detect", "bin/compile"),
    "go": ("go.mod", "go.work", "main.go"),
    "python": ("requirements.txt", "pyproject.toml"),
    "ruby": ("Gemfile",),
    "php": ("composer.json", "index.php"),
    "java": ("pom.xml", "build.gradle"),
    "perl": ("cpanfile", "app.psgi"),
    "rust": ("Cargo.toml",),
    "deno": ("deno.json",),
    "nodejs": ("package.json",),
    "cpp": ("CMakeLists.txt", "meson.build", "configure", "Makefile"),
    "shell": ("start.sh",),
    "static": ("index.html", "Staticfile", "static.json"),
    "apt": ("Aptfile",),
    "procfile": ("Procfile",),
}

# Those of them that only an app has
_MANIFESTS = {
    "go.mod", "requirements.txt", "pyproject.toml", "Gemfile", "composer.json", "pom.xml", "build.gradle", "cpanfile",
    "Cargo.toml", "deno.json", "package.json", "CMakeLists.txt", "meson.build",
}  # fmt: skip
_SHOWN = 8


@dataclass(frozen=True)
class Sign:
    """A file that tells what an app is, though no buildpack of the farm's own takes it."""

    pattern: str
    told: str


_PUBLIC = "{0}, which a public buildpack takes: name {1} as the app's buildpack."


def _public(language: str, address: str) -> str:
    return _PUBLIC.format(language, address)


SIGNS = (
    Sign("mix.exs", _public("an Elixir app", "https://github.com/HashNuke/heroku-buildpack-elixir")),
    Sign("rebar.config", _public("an Erlang app", "https://github.com/heroku/heroku-buildpack-erlang")),
    Sign("*.sln", _public("a .NET app", "https://github.com/heroku/heroku-buildpack-dotnet")),
    Sign("*.csproj", _public("a .NET app", "https://github.com/heroku/heroku-buildpack-dotnet")),
    Sign("*.fsproj", _public("a .NET app", "https://github.com/heroku/heroku-buildpack-dotnet")),
    Sign("build.sbt", _public("a Scala app", "https://github.com/heroku/heroku-buildpack-scala")),
    Sign("project.clj", _public("a Clojure app", "https://github.com/heroku/heroku-buildpack-clojure")),
    Sign("Package.swift", _public("a Swift app", "https://github.com/vapor-community/heroku-buildpack")),
    Sign("shard.yml", _public("a Crystal app", "https://github.com/crystal-lang/heroku-buildpack-crystal")),
    Sign("stack.yaml", _public("a Haskell app", "https://github.com/mfine/heroku-buildpack-stack")),
    Sign("pubspec.yaml", _public("a Dart app", "https://github.com/igrigorik/heroku-buildpack-dart")),
    Sign("init.R", _public("an R app", "https://github.com/virtualstaticvoid/heroku-buildpack-r")),
    *(
        Sign(name, _public("a Hugo site", "https://github.com/roperzh/heroku-buildpack-hugo"))
        for name in ("hugo.toml", "hugo.yaml", ".hugo_build.lock")
    ),
    Sign("environment.yml", _public("a conda environment", "https://github.com/heroku-python/conda-buildpack")),
    Sign(
        "Cargo.toml",
        "a Rust library beside a package.json: a src/main.rs makes it a program, and the name rust as the app's "
        "buildpack builds it nevertheless.",
    ),
    Sign("Dockerfile", "which is not used here: an app is built by buildpacks, from the files that they look for."),
    Sign("docker-compose.yml", "which is not used here: an app is built by buildpacks, from the files they look for."),
)


def unclaimed(names: Collection[str], asked: Sequence[str]) -> DetectError:
    """The error of an app with these files; ``asked`` are the farm's buildpacks where it has an own order."""
    top = _top(names)
    found = _sign(top)
    return DetectError(
        f"No buildpack takes this app: found {found[0]}, {found[1]}" if found else "No buildpack detects this app.",
        advice=" ".join(filter(None, [_looked_for(asked), _there_is(top), _below(names)])),
    )


def refused(error: DetectError, asked: Sequence[str], names: Collection[str]) -> DetectError:
    """The error of an app with these files that one of the buildpacks ``asked`` for does not take."""
    looked_for = [f"{name} looks for {' or '.join(LOOKED_FOR[name])}." for name in asked if name in LOOKED_FOR]
    more = error.advice if len(looked_for) < len(asked) else ""  # the log has nothing from the farm's own
    return DetectError(error.message, advice=" ".join(filter(None, [*looked_for, _there_is(_top(names)), more])))


def _top(names: Collection[str]) -> list[str]:
    return sorted({name.partition("/")[0] for name in names})


def _there_is(top: Sequence[str]) -> str:
    return f"There is {_listed(top)} at the source's top."


def _below(names: Collection[str]) -> str:
    """Which folders are apps by themselves, as in a repository of several."""
    places = (name.rpartition("/") for name in names)
    apps = sorted({folder for folder, _, file in places if folder and "/" not in folder and file in _MANIFESTS})
    if not apps:
        return ""
    told = f"The folder {apps[0]} looks" if len(apps) == 1 else f"The folders {_listed(apps)} look"
    return f"{told} like an app: set the config var PROJECT_DIR to build one alone, such as PROJECT_DIR={apps[0]}."


def _sign(names: Sequence[str]) -> tuple[str, str] | None:
    for sign in SIGNS:
        for name in names:
            if fnmatchcase(name, sign.pattern):
                return name, sign.told
    return None


def _looked_for(asked: Sequence[str]) -> str:
    if asked:
        return f"The farm's buildpacks were asked: {', '.join(asked)}."
    files = ", ".join(file for some in LOOKED_FOR.values() for file in some)
    return f"Looked for {files}."


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN]) or "nothing"
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
