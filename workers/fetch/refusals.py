"""Why something private could not be fetched: each sentence names the address and the credential. Pure."""

from __future__ import annotations

from buildfarm.errors import AppError, SourceError, TooLargeError
from buildfarm.sources.credentials import Credential, Kind
from buildfarm.sources.credentials.host_keys import fingerprint

_LOG = "The log's last lines say why."
_TOO_LARGE = {
    "space": ("it does not fit", "Leave out large files."),
    "submodules": ("it has too many submodules", "Set the credential without --submodules."),
    "lfs-large": (
        "its Git LFS files are too many or too large: {about}",
        "Leave out large files, set the credential without --lfs, or ask for a larger BUILDFARM_SOURCE_BYTES.",
    ),
}
# Of Git LFS. What is put in the place of {about} is the name of a file, or of a server.
_LFS = {
    "lfs-host": (
        "its .lfsconfig names the LFS server {about}; only the credential's host, protocol and path count, without ?",
        "Remove lfs.url from .lfsconfig, or set a credential that is for both addresses.",
    ),
    "lfs-refused": (
        "its LFS server {about} refused the login, or has no Git LFS for it",
        "Check that Git LFS is on for the repository, and that the key or token can read it. The log has its words.",
    ),
    "lfs-ssh": (
        "{about} gave no LFS server over ssh",
        "The host needs git-lfs-authenticate; else give the https address of the repository and a token for it.",
    ),
    "lfs-missing": (
        "its LFS server does not have the content of {about}",
        "Send it with git lfs push --all, and build again.",
    ),
    "lfs-wrong": (
        "the content that came for {about} is not what its Git LFS pointer says",
        "Send it anew with git lfs push --all, or ask the server's operator.",
    ),
    "lfs-extension": (
        "{about} needs an extension of Git LFS, which is a program and is not run",
        "Store the file without the extension.",
    ),
    "lfs-time": ("its LFS server {about} was too slow", "Build again, or leave out large files."),
    "lfs-failed": ("its Git LFS files did not come: {about}", _LOG),
}


def refusal(code: str, url: str, ref: str, credential: Credential | None, about: str = "") -> AppError:
    """The error for a code of the fetching program, and for what this names: a file or a server."""
    about = "".join(letter if letter.isprintable() else "?" for letter in about)
    what = f"{url} could not be fetched" + (f" with the credential {credential.name}" if credential else "")
    if code in _TOO_LARGE:
        why, advice = _TOO_LARGE[code]
        return TooLargeError(f"{what}: {why.format(about=about)}.", advice=advice)
    if code in _LFS:
        why, advice = _LFS[code]
        return SourceError(f"{what}: {why.format(about=about)}.", advice=advice)
    if credential is not None and (words := _of_credential(code, credential)):
        why, advice = words
        return SourceError(f"{what}: {why}.", advice=advice)
    if code == "no-ref":
        return SourceError(f"{url} has no branch, tag or commit {ref!r}.", advice="Check the ref.")
    return SourceError(f"{what}.", advice=_LOG)


def _of_credential(code: str, credential: Credential) -> tuple[str, str] | None:
    """Why it failed, and what to do."""
    again, host = _command(credential), credential.host
    if code == "refused" and credential.kind is Kind.PUBLIC:
        advice = "Check the address. If it is private, set a credential with a login: --kind token or --kind ssh-key."
        return "its host asked for a login, or has no such repository", advice
    known = ", ".join(map(fingerprint, credential.host_keys)) or "that was seen first"
    return {
        "refused": (
            "its host refused the credential, or has no such repository",
            f"Check the address, and that the key or token can read it and is not revoked; then set it again: {again}.",
        ),
        "host-key": (
            f"the key of {host} is not the known one ({known}), so nothing was sent to it",
            f"Ask the host's operator. If its key was changed on purpose, set the new one: {again} --host-key KEY.",
        ),
        "unreadable": (
            "its stored value cannot be decrypted with the farm's key",
            f"Set it again: {again}.",
        ),
        "changed": (
            f"it was changed or removed meanwhile, or another build learned another key of {host}",
            "Build again.",
        ),
    }.get(code)


def _command(credential: Credential) -> str:
    where = f"--app {credential.tenant}/{credential.app}" if credential.app else f"--tenant {credential.tenant}"
    flags = " --submodules" * credential.submodules + " --lfs" * credential.lfs
    return (
        f"buildfarm credentials set {credential.name} {where} --kind {credential.kind} --for {credential.address}"
        + flags
    )
