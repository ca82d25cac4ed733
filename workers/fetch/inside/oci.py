"""Fetches a buildpack from another OCI registry, with one login. Runs in a fetching sandbox.

It reads a JSON object from standard input, and writes one to standard output: what it fetched, or why it could not.
The login goes to the registry and to the token server that it names, over TLS alone, and never along a redirect.
Sources: OCI distribution specification 1.1; the token protocol is github.com/distribution, "Token Authentication".
"""

from __future__ import annotations

import base64
import hashlib
import json
import platform
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from workers.fetch.inside.refused import RefusedError

_SECONDS = 60
_MANIFEST_BYTES_MAX = 4 * 1024 * 1024
_CHUNK_BYTES = 1024 * 1024
_INDEX = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
_IMAGE = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


class _OverTls(urllib.request.HTTPRedirectHandler):
    """Follows no redirect that leads out of TLS."""

    def redirect_request(self, *arguments: Any, **named: Any) -> Any:
        if not str(arguments[-1]).startswith("https://"):  # the new address
            sys.stderr.write("The registry redirects to an address without TLS.\n")
            raise RefusedError("failed")
        return super().redirect_request(*arguments, **named)


class Registry:
    """One repository of a registry."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.login = "Basic " + base64.b64encode(f"{job['user']}:{job['value']}".encode()).decode()
        self.authorization = ""

    def get(self, path: str, accept: str = "*/*") -> Any:
        """The answer to a GET below the repository. Raises RefusedError."""
        url = f"https://{self.job['host']}/v2/{self.job['repository']}/{path}"
        try:
            return self._open(url, self.authorization, accept)
        except urllib.error.HTTPError as error:
            if error.code != 401 or self.authorization:
                raise _refused(error) from error
            if urllib.parse.urlsplit(error.geturl())[:2] != ("https", self.job["host"]):
                # After a redirect. Its challenge could send the login anywhere.
                sys.stderr.write("The registry redirects to another host, which asks for a login.\n")
                raise RefusedError("failed") from error
            self.authorization = self._answer(error.headers.get("WWW-Authenticate", ""))
        try:
            return self._open(url, self.authorization, accept)
        except urllib.error.HTTPError as error:
            raise _refused(error) from error

    def _answer(self, challenge: str) -> str:
        scheme, _, rest = challenge.partition(" ")
        if scheme.lower() == "basic":
            return self.login
        fields = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        if scheme.lower() != "bearer" or not fields.get("realm", "").startswith("https://"):
            raise RefusedError("failed")
        wanted = {"scope": f"repository:{self.job['repository']}:pull"}
        wanted |= {"service": fields["service"]} if "service" in fields else {}
        try:
            with self._open(f"{fields['realm']}?{urllib.parse.urlencode(wanted)}", self.login) as answer:
                found = json.loads(answer.read(_MANIFEST_BYTES_MAX))
        except urllib.error.HTTPError as error:
            raise _refused(error) from error
        return f"Bearer {found.get('token') or found.get('access_token')}"

    def _open(self, url: str, authorization: str, accept: str = "*/*") -> Any:
        request = urllib.request.Request(url, headers={"Accept": accept})
        if authorization:
            request.add_unredirected_header("Authorization", authorization)
        return urllib.request.build_opener(_OverTls).open(request, timeout=_SECONDS)


def manifest_of(registry: Registry, reference: str) -> tuple[dict[str, Any], str]:
    """The manifest of an image or an artifact, and its digest; of an index, that for this machine."""
    with registry.get(f"manifests/{reference}", ", ".join(_IMAGE + _INDEX)) as answer:
        content = answer.read(_MANIFEST_BYTES_MAX)
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    if reference.startswith("sha256:") and reference != digest:
        raise RefusedError("digest")
    manifest = json.loads(content)
    if "manifests" not in manifest:
        return manifest, digest
    wanted = _MACHINES.get(platform.machine(), platform.machine())
    for item in manifest["manifests"]:
        if item.get("platform", {}).get("architecture") == wanted:
            return manifest_of(registry, item["digest"])[0], digest
    raise RefusedError("platform")


def fetch(registry: Registry, job: dict[str, Any]) -> dict[str, Any]:
    """The buildpack's layers become the content of the folder."""
    manifest, digest = manifest_of(registry, job["reference"])
    if sum(layer["size"] for layer in manifest.get("layers", ())) > job["limit_bytes"]:
        raise RefusedError("space")
    strip = "1" if manifest.get("artifactType") == job["packed_type"] else "0"
    for layer in manifest.get("layers", ()):
        with tempfile.NamedTemporaryFile(dir="/tmp") as file:
            total, left = hashlib.sha256(), layer["size"]
            with registry.get(f"blobs/{layer['digest']}") as answer:
                while left > 0 and (piece := answer.read(min(left, _CHUNK_BYTES))):
                    total.update(piece)
                    file.write(piece)
                    left -= len(piece)
            file.flush()
            if layer["digest"] != f"sha256:{total.hexdigest()}":
                raise RefusedError("digest")
            options = [
                "--no-same-owner",
                "--no-same-permissions",
                "--delay-directory-restore",
                "--warning=no-timestamp",
            ]
            command = ["tar", "--extract", "--file", file.name, "--directory", job["into"], "--strip-components", strip]
            if subprocess.run([*command, *options], check=False).returncode != 0:
                raise RefusedError("failed")
    return {"commit": digest}


def _refused(error: urllib.error.HTTPError) -> RefusedError:
    sys.stderr.write(f"The registry answered {error.code} to {urllib.parse.urlsplit(error.url).path}.\n")
    return RefusedError("refused" if error.code in (401, 403, 404) else "failed")


def main() -> None:
    """Does what standard input says."""
    job = json.load(sys.stdin)
    registry = Registry(job)
    try:
        Path(job["into"]).mkdir(parents=True, exist_ok=True)
        if job["resolve"]:
            answer: dict[str, Any] = {"commit": manifest_of(registry, job["reference"])[1]}
        else:
            answer = fetch(registry, job)
    except RefusedError as error:
        answer = {"failure": str(error)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        sys.stderr.write(f"The registry cannot be read: {error}\n")
        answer = {"failure": "failed"}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
