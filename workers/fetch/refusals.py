"""Why something private could not be fetched: each sentence names the address and the credential. Pure."""

from __future__ import annotations

from buildfarm.errors import AppError, SourceError, TooLargeError
from buildfarm.sources.credentials import Credential
from buildfarm.sources.credentials.host_keys import fingerprint

_LOG = "The log's last lines say why."


def refusal(code: str, url: str, ref: str, credential: Credential | None) -> AppError:
    """The error for a code of the fetching program."""
    what = f"{url} could not be fetched" + (f" with the credential {credential.name}" if credential else "")
    if code == "refused" and credential is not None:
        return SourceError(
            f"{what}: its host refused the credential, or has no such repository.",
            advice="Check the address, and that the key or token can read it and was not revoked;"
            f" then set it again: {_command(credential)}.",
        )
    if code == "host-key" and credential is not None:
        known = ", ".join(map(fingerprint, credential.host_keys)) or "that another build has just learned"
        return SourceError(
            f"{what}: the key of {credential.host} is not the known one ({known}), so nothing was sent to it.",
            advice="Ask the host's operator. If its key was changed on purpose, set the credential again"
            f" with the new one: {_command(credential)} --host-key KEY.",
        )
    if code == "space":
        return TooLargeError(f"{what}: it does not fit.", advice="Leave out large files.")
    if code == "submodules":
        return TooLargeError(f"{what}: it has too many submodules.", advice="Set the credential without --submodules.")
    if code == "no-ref":
        return SourceError(f"{url} has no branch, tag or commit {ref!r}.", advice="Check the ref.")
    return SourceError(f"{what}.", advice=_LOG)


def _command(credential: Credential) -> str:
    where = f"--app {credential.tenant}/{credential.app}" if credential.app else f"--tenant {credential.tenant}"
    return f"buildfarm credentials set {credential.name} {where} --kind {credential.kind} --for {credential.address}"
