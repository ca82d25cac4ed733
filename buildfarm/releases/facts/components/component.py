"""A component: a package of an ecosystem in a version. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from packageurl import PackageURL

KINDS = frozenset({"cargo", "composer", "cpan", "deb", "gem", "generic", "golang", "maven", "npm", "pypi"})
# Keys of letters, values without what would end them.
_EXTRA = re.compile(r"(?:[a-z]+=[^&=;\s]+(?:&(?=[a-z])|$))*")
_NAMESPACES = frozenset({"composer", "cpan", "golang", "maven", "npm"})


@dataclass(frozen=True, order=True)
class Component:
    """As the inspector names it; ``extra`` has qualifiers of its package URL, as in a query: "arch=amd64"."""

    kind: str  # a type of package URLs
    name: str  # with its namespace: "@babel/core", "org.slf4j/slf4j-api"
    version: str
    licence: str = ""
    extra: str = ""

    def purl(self, distribution: str = "") -> str:
        """Its package URL (package-url.org); a Debian package's has the image's ``distribution``, such as debian-13."""
        namespace, name = "", self.name
        qualifiers: dict[str, str] = dict(self.qualifiers)
        if self.kind in _NAMESPACES:
            namespace, _, name = self.name.rpartition("/")
        elif self.kind == "deb":
            namespace = distribution.partition("-")[0] or "debian"
            qualifiers |= {"distro": distribution} if distribution else {}
        return PackageURL(self.kind, namespace or None, name, self.version, qualifiers or None).to_string()

    @property
    def is_named(self) -> bool:
        """Whether it has a package URL."""
        is_plain = all(text.isprintable() for text in (self.name, self.version, self.licence, self.extra))
        has_name = all(part.strip() for part in self.name.split("/"))
        return is_plain and has_name and _EXTRA.fullmatch(self.extra) is not None

    @property
    def qualifiers(self) -> Mapping[str, str]:
        """Of ``extra``."""
        return dict(parse_qsl(self.extra.replace("+", "%2B")))

    @property
    def source(self) -> tuple[str, str]:
        """Name and version of a Debian package's source package, by which vulnerabilities are filed; else its own."""
        name, _, version = self.qualifiers.get("upstream", "").partition("@")
        return (name, version) if name and version else (self.name, self.version)
