"""Several farms behind one address: the configuration of an nginx that sends a request to the cell of its token.

A cell is a farm. Its tokens begin with its name, so that the proxy needs no list of tenants. No I/O.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from buildfarm.errors import RequestError
from buildfarm.settings import CELL_NAME, HOST_CA_BUNDLE, NOT_CELLS

_ADDRESS = re.compile(rf"({CELL_NAME})=(https?)://([A-Za-z0-9.-]+|\[[0-9a-f:]+\])(:[0-9]{{1,5}})?/?")
_SERVER_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_LISTEN = re.compile(r"[A-Za-z0-9.:/_\[\]* -]+")
_AGAIN_SECONDS = 5
_IDLE = "keepalive_timeout 4s;"  # the API closes a connection that is idle for 5 s, and nginx repeats no POST
_PORT_MAX = 65535


@dataclass(frozen=True)
class Cell:
    """A farm among several; ``host`` is its API's, with the port."""

    name: str
    scheme: str
    host: str

    @classmethod
    def parse(cls, text: str) -> Cell:
        """Reads NAME=URL. Raises RequestError."""
        found = _ADDRESS.fullmatch(text)
        if found is None or found[1] in NOT_CELLS or int((found[4] or ":80")[1:]) > _PORT_MAX:
            raise RequestError(
                f"{text[:200]!r} does not name a cell and its API's address.",
                advice="Write NAME=http://HOST:PORT, or https://.\n"
                "NAME has up to 16 lower-case letters and digits; default and include are not possible.",
            )
        name, scheme, host, port = found.groups()
        return cls(name, scheme, host + (port or (":443" if scheme == "https" else ":80")))


@dataclass(frozen=True)
class Front:
    """The proxy. ``name`` is its host name; cell ``b`` is also at ``b.<name>``, for its page."""

    cells: Sequence[Cell]
    default: str  # of requests without a cell's token, and of tokens from before the farm was a cell
    listen: str = "80"
    name: str = ""

    def check(self) -> None:
        """Raises RequestError."""
        names = [cell.name for cell in self.cells]
        if len(set(names)) < len(names):
            raise RequestError("Two of these cells have the same name.", advice="Name each cell once.")
        if self.default not in names:
            raise RequestError(f"The default cell {self.default[:80]!r} is not one of these: {', '.join(names)}.")
        if (self.name and not _SERVER_NAME.fullmatch(self.name)) or not _LISTEN.fullmatch(self.listen):
            raise RequestError(
                "The server name or the value of --listen is not valid for nginx.",
                advice="Give a host name such as builds.example.org, and a port such as 80 or 443 ssl.",
            )

    def configuration(self) -> str:
        """What nginx is to have in its ``http`` block. Raises RequestError."""
        self.check()
        by_name = [rf'    "~^{cell.name}\.{re.escape(self.name)} " {cell.name};' for cell in self.cells if self.name]
        by_token = [f'    "~*^[^ ]* bearer +bf_{cell.name}-" {cell.name};' for cell in self.cells]
        upstreams = [
            f"upstream buildfarm_{cell.name} {{ server {cell.host}; keepalive 32; {_IDLE} }}" for cell in self.cells
        ]
        places = [f"    {cell.name} {cell.scheme}://buildfarm_{cell.name};" for cell in self.cells]
        hosts = [f"    {cell.name} {urlsplit(f'//{cell.host}').hostname};" for cell in self.cells]
        lines = [
            "# Made by `buildfarm cells`; make it anew instead of changing it.",
            *_block(
                'map "$host $http_authorization" $buildfarm_cell', [f"    default {self.default};", *by_name, *by_token]
            ),
            *upstreams,
            *_block("map $buildfarm_cell $buildfarm_place", places),
            *_block("map $buildfarm_cell $buildfarm_host", hosts),
        ]
        server_name = f"    server_name {self.name} *.{self.name};\n" if self.name else ""
        tls = _TLS if any(cell.scheme == "https" for cell in self.cells) else ""
        server = _SERVER.format(listen=self.listen, server_name=server_name, tls=tls, down=_down())
        return "\n".join(lines) + "\n" + server


def _block(head: str, lines: Sequence[str]) -> list[str]:
    return [f"{head} {{", *lines, "}"]


def _down() -> str:
    """What the proxy answers for a cell whose API is unreachable: problem details, as all errors of the API."""
    problem = {
        "type": "urn:buildfarm:problem:farm.cell",
        "title": "The farm is temporarily unavailable",
        "status": 503,
        "detail": "Cell $buildfarm_cell of the farm is unreachable.",
        "instance": "$request_id",
        "code": "farm.cell",
        "advice": "Try again after the seconds in Retry-After. Other cells are not affected.",
        "errors": [],
        "build": "",
    }
    return json.dumps(problem)


_TLS = f"""\
        proxy_ssl_server_name on;
        proxy_ssl_name $buildfarm_host;
        proxy_ssl_verify on;
        proxy_ssl_verify_depth 5;
        proxy_ssl_trusted_certificate {HOST_CA_BUNDLE};
"""
_SERVER = f"""server {{{{
    listen {{listen}};
{{server_name}}    client_max_body_size 0;
    location = /healthz {{{{ return 204; }}}}
    location / {{{{
        proxy_pass $buildfarm_place;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
{{tls}}        proxy_request_buffering off;
        proxy_buffering off;
        proxy_connect_timeout 5s;
        proxy_read_timeout 75s;
        error_page 502 504 = @down;
    }}}}
    location @down {{{{
        default_type application/problem+json;
        add_header Retry-After {_AGAIN_SECONDS} always;
        add_header X-Request-ID $request_id always;
        return 503 '{{down}}';
    }}}}
}}}}
"""
