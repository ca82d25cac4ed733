"""Who may use the API: tokens, what their holders did, how often they may ask, and where they are called back."""

from buildfarm.access.audit import Audit, AuditEntry, Verified
from buildfarm.access.rates import Rates
from buildfarm.access.tokens import Scope, Token, Tokens
from buildfarm.access.webhooks import Webhooks

__all__ = [
    "Audit",
    "AuditEntry",
    "Rates",
    "Scope",
    "Token",
    "Tokens",
    "Verified",
    "Webhooks",
]
