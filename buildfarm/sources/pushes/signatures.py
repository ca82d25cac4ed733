"""Whether a request was sent by the forge that has the hook's secret. Pure.

GitHub, Gitea, Forgejo and Bitbucket sign the body alone (HMAC-SHA256, hexadecimal), neither a time nor an id. GitLab
sends the secret itself, or signs id, time and body as Standard Webhooks describes it.

Sources: docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries,
docs.gitea.com/usage/repository/webhooks, forgejo.org/docs/latest/user/webhooks,
support.atlassian.com/bitbucket-cloud/docs/manage-webhooks, docs.gitlab.com/user/project/integrations/webhooks,
github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping

from buildfarm.errors import RequestError
from buildfarm.sources.pushes.hook import Provider

TOLERANCE_SECONDS = 300.0  # as libraries for Standard Webhooks have it
_HEADERS = {
    Provider.GITHUB: ("x-hub-signature-256",),
    Provider.GITEA: ("x-forgejo-signature", "x-gitea-signature", "x-hub-signature-256"),
    Provider.BITBUCKET: ("x-hub-signature",),
}
_ID_CHARS_MAX = 200


class ForgedError(RequestError):
    """The signature is missing, not valid, or too old."""

    code = "request.signature"


def verify(provider: Provider, secret: str, headers: Mapping[str, str], body: bytes, now: float) -> str:
    """Return what identifies the delivery: the same for each time that it is sent. Raises ForgedError.

    Only what the signature covers is part of it: a client that repeats a request can change all other headers.
    """
    if provider is Provider.GITLAB:
        return _gitlab(secret, headers, body, now)
    given = next((headers[name] for name in _HEADERS[provider] if name in headers), "")
    expected = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    if not given:
        raise ForgedError("The request has no signature.", advice="Enter the hook's secret in the forge's settings.")
    if not _equal(given.removeprefix("sha256="), expected):
        raise ForgedError("The signature does not match.", advice="Enter the hook's secret in the forge's settings.")
    return _digest(body)


def _gitlab(secret: str, headers: Mapping[str, str], body: bytes, now: float) -> str:
    if "webhook-signature" in headers:
        return _standard(secret, headers, body, now)
    if not _equal(headers.get("x-gitlab-token", ""), secret):
        raise ForgedError(
            "The request has neither a signature nor the hook's token.",
            advice="Enter the hook's secret in GitLab as its signing token, or as its secret token.",
        )
    # Who can send the token can send anything: the key only finds deliveries that GitLab repeats.
    key = headers.get("idempotency-key") or headers.get("x-gitlab-event-uuid") or ""
    return f"key {key}" if 0 < len(key) <= _ID_CHARS_MAX else _digest(body)


def _standard(secret: str, headers: Mapping[str, str], body: bytes, now: float) -> str:
    identity, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not 0 < len(identity) <= _ID_CHARS_MAX or not timestamp.isdecimal() or len(timestamp) > 12:
        raise ForgedError("The signed request has no valid id or timestamp.", advice="Deliver it again.")
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{identity}.{timestamp}.".encode() + body
    expected = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    given = [text.partition(",")[2] for text in headers["webhook-signature"].split() if text.startswith("v1,")]
    if not any(_equal(text, expected) for text in given):
        raise ForgedError("The signature does not match.", advice="Enter the hook's secret in GitLab as signing token.")
    if abs(now - int(timestamp)) > TOLERANCE_SECONDS:
        raise ForgedError(
            f"The request was signed more than {TOLERANCE_SECONDS:.0f} s away from now.",
            advice="Deliver it again, and check the clocks of the forge and of the farm.",
        )
    return f"id {identity}"


def _equal(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), expected.encode())


def _digest(body: bytes) -> str:
    return f"body {hashlib.sha256(body).hexdigest()}"
