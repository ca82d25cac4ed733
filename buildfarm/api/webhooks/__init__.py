"""Webhooks: signed deliveries over connections that reach no private network."""
