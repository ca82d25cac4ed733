"""Other people's verifiers of signatures: cosign and skopeo from Debian, and npm's."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from pathlib import Path

from buildfarm.settings import HOST_CA_BUNDLE

CACHE = Path.home() / ".cache/buildfarm/signatures"
NPM = "@sigstore/verify@3.1.1"
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_SECONDS = 300
_SCRIPT = """
const crypto = require('crypto'), fs = require('fs');
const { bundleFromJSON } = require('@sigstore/bundle');
const { Verifier, toSignedEntity, toTrustMaterial } = require('@sigstore/verify');
const key = crypto.createPublicKey(fs.readFileSync(process.argv[3]));
const empty = { tlogs: [], ctlogs: [], certificateAuthorities: [], timestampAuthorities: [] };
const trust = toTrustMaterial(empty, () => ({ publicKey: key, validFor: () => true }));
const verifier = new Verifier(trust, { tlogThreshold: 0, ctlogThreshold: 0, tsaThreshold: 0 });
verifier.verify(toSignedEntity(bundleFromJSON(JSON.parse(fs.readFileSync(process.argv[2])))));
"""


class SkippedError(Exception):
    """The tool cannot be installed here; the text says why."""


def cosign(suite: str, key: Path, image: str) -> bool:
    """Whether cosign of this Debian suite accepts an image."""
    program = installed_cosign(suite)
    done = _run(program, "verify", "--key", key, "--insecure-ignore-tlog", image, HOME=str(CACHE))
    return done.returncode == 0


def cosign_attestation(suite: str, key: Path, image: str) -> bool:
    """Whether cosign of this Debian suite accepts an image's provenance. Version 2 reads bundles if it is asked to."""
    program = installed_cosign(suite)
    root = CACHE / "trusted-root.json"
    root.write_text('{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}')
    older = ["--new-bundle-format", "--trusted-root", root] if suite == "trixie" else []
    done = _run(
        program, "verify-attestation", "--key", key, "--insecure-ignore-tlog", "--type", "slsaprovenance1", *older,
        image, HOME=str(CACHE),
    )  # fmt: skip
    return done.returncode == 0


@functools.cache
def installed_cosign(suite: str) -> Path:
    """The program, out of the suite's package. Raises SkippedError."""
    folder = CACHE / suite
    program = folder / "root/usr/bin/cosign"
    if program.exists():
        return program
    for name in ("lists/partial", "archives/partial", "root"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "status").touch()
    (folder / "sources").write_text(f"deb [signed-by={_KEYRING}] http://deb.debian.org/debian {suite} main\n")
    apt = [
        "apt-get", "-q", "-o", f"Dir::Etc::sourcelist={folder / 'sources'}", "-o", "Dir::Etc::sourceparts=-",
        "-o", f"Dir::State::lists={folder / 'lists'}", "-o", f"Dir::State::status={folder / 'status'}",
        "-o", f"Dir::Cache={folder}", "-o", "APT::Sandbox::User=root",
    ]  # fmt: skip
    for command in ([*apt, "update"], [*apt, "download", "cosign"]):
        if (done := _run(*command, folder=folder)).returncode:
            raise SkippedError(f"Debian's cosign of {suite} cannot be fetched: {done.stderr.strip()[-200:]}")
    [package] = folder.glob("cosign_*.deb")
    _run("dpkg", "-x", package, folder / "root")
    return program


def skopeo(folder: Path, key: Path, host: str, image: str) -> bool:
    """Whether skopeo copies an image under a policy that wants this key's signature."""
    identity = {"type": "matchRepository"}
    rule = {"type": "sigstoreSigned", "keyPath": f"/trial/{key.name}", "signedIdentity": identity}
    policy = {"default": [{"type": "reject"}], "transports": {"docker": {host: [rule]}}}
    (folder / "policy.json").write_text(json.dumps(policy))
    (folder / "registries.yaml").write_text(f"docker:\n  {host}:\n    use-sigstore-attachments: true\n")
    script = (
        "mkdir -p /etc/containers/registries.d && cp /trial/registries.yaml /etc/containers/registries.d/trial.yaml && "
        f"skopeo --policy /trial/policy.json copy --src-tls-verify=false docker://{image} dir:/tmp/copy"
    )
    mount = f"--volume={folder}:/trial:ro"
    done = _run("docker", "run", "--rm", "--network=host", mount, skopeo_image(), "sh", "-c", script)
    return done.returncode == 0


@functools.cache
def skopeo_image() -> str:
    """The engine's image with trixie's skopeo, made once from the farm's base. Raises SkippedError."""
    name = "buildfarm-verify/skopeo:trixie"
    if _run("docker", "image", "inspect", name).returncode == 0:
        return name
    bases = _run("docker", "images", "--quiet", "buildfarm/base").stdout.split()
    if not bases:
        raise SkippedError("there is no image buildfarm/base of trixie: run buildfarm up")
    install = "apt-get -q update && apt-get install -qy --no-install-recommends skopeo"
    container = f"buildfarm-verify-skopeo-{os.getpid()}"
    try:
        done = _run("docker", "run", f"--name={container}", "--network=host", bases[0], "sh", "-c", install)
        if done.returncode:
            raise SkippedError(f"skopeo cannot be installed in the farm's base: {done.stderr.strip()[-200:]}")
        _run("docker", "commit", container, name)
    finally:
        _run("docker", "rm", "--force", container)
    return name


def npm_verify(bundle: bytes, key: Path) -> bool:
    """Whether npm's Sigstore library accepts a bundle."""
    folder = npm_folder()
    (folder / "bundle.json").write_bytes(bundle)
    return _run("node", folder / "verify.js", folder / "bundle.json", key).returncode == 0


@functools.cache
def npm_folder() -> Path:
    """Where npm has put the library. Raises SkippedError."""
    folder = CACHE / "npm"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "verify.js").write_text(_SCRIPT)
    if not (folder / "node_modules/@sigstore/verify").is_dir():
        done = _run("npm", "install", "--no-audit", "--no-fund", "--prefix", folder, NPM)
        if done.returncode:
            raise SkippedError(f"{NPM} cannot be installed: {done.stderr.strip()[-200:]}")
    return folder


def _run(*command: object, folder: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NODE_EXTRA_CA_CERTS": str(HOST_CA_BUNDLE), **variables}
    try:
        return subprocess.run(
            [str(part) for part in command], cwd=folder, env=environment, capture_output=True, text=True,
            timeout=_SECONDS, check=False,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise SkippedError(f"{command[0]} is not installed") from error
