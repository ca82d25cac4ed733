"""Variables for all builds of the farm, of a tenant or of an app, and those that count for one build. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from pydantic import Field

from buildfarm.fields import Frozen, Name

FILES = "/run/buildfarm/variables"  # in a sandbox: where a variable's file is, under the variable's name
CERTIFICATES = "CA_CERTIFICATES"  # its value is PEM, and becomes a file that the usual tools find
# Programs read one or the other: curl reads http_proxy alone.
_BOTH_CASES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")


class BuildVariable(Frozen):
    """A build variable as it is set."""

    value: str = Field(repr=False)
    file: bool = Field(False, description="the build gets the path of a file with the value")
    secret: bool = Field(False, description="no file of an image may contain the value")


class VariableView(Frozen):
    """A build variable as it is shown: its value is not."""

    name: str
    tenant: Name | None = None  # whose builds get it; None: the whole farm's
    app: Name | None = None
    file: bool = False
    secret: bool = False


@dataclass(frozen=True)
class BuildVariables:
    """What counts for one build, by name."""

    found: Mapping[str, BuildVariable] = field(default_factory=dict, repr=False)
    own: frozenset[str] = frozenset()  # names whose value is that of the build's own config var

    @classmethod
    def merged(cls, *scopes: Mapping[str, BuildVariable]) -> BuildVariables:
        """The variables of these scopes, of which a later one wins."""
        found: dict[str, BuildVariable] = {}
        for scope in scopes:
            found |= _in_both_cases(scope)
        return cls(found)

    def beside(self, env: Mapping[str, str]) -> BuildVariables:
        """The same with the build's own config vars, which win over those of equal names."""
        own = _in_both_cases({name: BuildVariable(value=value) for name, value in env.items()})
        won = {name: variable for name, variable in own.items() if name in self.found}
        return BuildVariables({**self.found, **won}, self.own.union(won))

    def __bool__(self) -> bool:
        return bool(self.found)

    @property
    def environment(self) -> dict[str, str]:
        """What the steps of the build have in their environment."""
        files = self.files
        return {name: f"{FILES}/{name}" if name in files else each.value for name, each in self.found.items()}

    @property
    def files(self) -> dict[str, str]:
        """What the files contain, by their names."""
        return {name: each.value for name, each in self.found.items() if each.file or name == CERTIFICATES}

    @property
    def proxies(self) -> dict[str, str]:
        """The addresses of proxies alone, by all of their names."""
        names = {*_BOTH_CASES, *map(str.lower, _BOTH_CASES)}
        return {name: each.value for name, each in self.found.items() if name in names}

    @property
    def hidden(self) -> list[str]:
        """What the log hides: every value but certificates, and passwords in addresses, also as they are sent."""
        values = [each.value for name, each in self.found.items() if name not in {*self.own, CERTIFICATES}]
        return [*values, *(secret for value in values for secret in _in_address(value))]

    @property
    def secrets(self) -> dict[str, str]:
        """The values that no file of the image may contain."""
        return {name: each.value for name, each in self.found.items() if each.secret and name not in self.own}

    def content(self) -> dict[str, list[str | bool]]:
        """All that an image depends on, for a digest."""
        return {name: [each.value, each.file, each.secret] for name, each in self.found.items()}


NO_VARIABLES = BuildVariables()


def _in_both_cases(scope: Mapping[str, BuildVariable]) -> dict[str, BuildVariable]:
    """With each proxy under both of its names; one that is set under both is left alone."""
    other = {name.swapcase(): scope[name] for upper in _BOTH_CASES for name in (upper, upper.lower()) if name in scope}
    return {**other, **scope}


def _in_address(value: str) -> Iterator[str]:
    """The password in an address, as written and as sent; and with its user, as `Proxy-Authorization` has both."""
    try:
        found = urlsplit(value)
    except ValueError:
        return
    if found.password:
        sent = unquote(found.password)
        yield from (found.password, sent, f"{unquote(found.username or '')}:{sent}")
