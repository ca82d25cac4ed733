"""A tenant's webhook over HTTP: the address that its ended builds are sent to."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from buildfarm.access.webhooks import Webhooks
from buildfarm.api.bodies import NewWebhook, WebhookView
from buildfarm.api.caller import Caller, Submitter
from buildfarm.api.problems import responses
from buildfarm.api.webhooks.outbound import check_url
from buildfarm.errors import NotFoundError, RequestError
from buildfarm.fields import Name

router = APIRouter(prefix="/v1/webhook", tags=["webhooks"])

Tenant = Annotated[Name | None, Query(description="only with a token for all tenants")]
_COMMON = (401, 403, 404, 422, 429, 503)


@router.get("", responses=responses(*_COMMON))
def get(caller: Submitter, tenant: Tenant = None) -> WebhookView:
    """The address that ended builds are sent to; the secret is not shown again."""
    return WebhookView(url=_webhooks(caller).get(_owner(caller, tenant)).url)


@router.put("", responses=responses(400, 413, *_COMMON))
def put(new: NewWebhook, caller: Submitter, tenant: Tenant = None) -> WebhookView:
    """Set the address. A secret is made at first, and with `rotate`; the one before goes on to sign beside it."""
    owner = _owner(caller, tenant)
    webhooks = _webhooks(caller)
    try:
        known = webhooks.get(owner).secrets
    except NotFoundError:
        known = ()
    webhook = webhooks.put(owner, check_url(new.url), rotate=new.rotate)
    caller.note("webhook.set", webhook.url, tenant=owner)
    return WebhookView(url=webhook.url, secret=webhook.secrets[0] if webhook.secrets != known else None)


@router.delete("", status_code=204, responses=responses(400, 413, *_COMMON))
def delete(caller: Submitter, tenant: Tenant = None) -> Response:
    """Delete the webhook."""
    owner = _owner(caller, tenant)
    _webhooks(caller).delete(owner)
    caller.note("webhook.delete", "", tenant=owner)
    return Response(status_code=204)


def _webhooks(caller: Caller) -> Webhooks:
    return Webhooks(caller.services.farm.database)


def _owner(caller: Caller, named: str | None) -> str:
    tenant = caller.tenant_of(named)
    if tenant is None:
        raise RequestError(
            "The request does not name a tenant.", advice="With a token for all tenants, add ?tenant=… to the address."
        )
    return tenant
