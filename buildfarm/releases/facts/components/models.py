"""What clients see of components: those of an image, and which apps have one."""

from __future__ import annotations

from pydantic import Field

from buildfarm.fields import Frozen


class ComponentView(Frozen):
    """A component of an image."""

    kind: str = Field(description="type of its package URL: npm, pypi, gem, maven, composer, golang, cargo, deb …")
    name: str = Field(description="with its namespace: @babel/core, org.slf4j/slf4j-api")
    version: str
    purl: str = Field(description="its package URL")
    licence: str = Field("", description="as its files state it; empty if they do not")
    source: str = Field("", description="of a Debian package: its source package, as name@version")
    in_base: bool = Field(description="whether the base brings it")
    places: tuple[str, ...] = Field(description="the files that name it, at most five")


class Contents(Frozen):
    """The components of an image, in a fixed order."""

    image: str = Field(description="repository@digest")
    base: str = Field(description="its base, likewise; empty if it is a base or does not name one")
    components: tuple[ComponentView, ...]
    unread: tuple[str, ...] = Field(description="files whose components are not known, with reasons")


class Place(Frozen):
    """An app that has a component now."""

    app: str = Field(description="tenant/app")
    image: str = Field(description="digest of its newest image")
    component: str = Field(description="kind/name")
    version: str
    is_compared: bool = Field(True, description="false if its version cannot be compared, so it may not be a match")
    path: str = Field(description="the file that names it")
    in_base: bool = Field(description="whether its base brings it: another base can mend it without a build")
    base: str = Field(description="the base that it stands on, as repository@digest; empty if it is not known")
    since: float = Field(description="since when the farm knows it to be in the app's image; seconds since the epoch")


class Places(Frozen):
    """Where a component is."""

    places: tuple[Place, ...] = Field(description="by app, at most as many as were asked for")
    apps: int = Field(description="how many apps have it, shown or not")
    uncompared_apps: int = Field(0, description="how many apps may have it: no version of theirs can be compared")
    searched: int = Field(description="how many apps were searched")
    unknown: tuple[str, ...] = Field(description="apps that were not searched wholly, since their layers were not read")
    unknown_apps: int = Field(description="how many these are, shown or not")
    incomplete: tuple[str, ...] = Field((), description="apps that have files whose components are not known")
    incomplete_apps: int = Field(0, description="how many these are, shown or not")
