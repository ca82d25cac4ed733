"""Who may use the API: tokens and their cells, what holders did, how often they may ask, where they are called back."""

from buildfarm.access.audit import Audit, AuditEntry, Verified
from buildfarm.access.cells import Cell, Front
from buildfarm.access.rates import Rates
from buildfarm.access.tokens import Scope, Token, Tokens
from buildfarm.access.webhooks import Webhooks

__all__ = [
    "Audit",
    "AuditEntry",
    "Cell",
    "Front",
    "Rates",
    "Scope",
    "Token",
    "Tokens",
    "Verified",
    "Webhooks",
]
