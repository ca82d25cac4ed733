"""The farm from outside, over HTTP: Client and AsyncClient have Farm's methods."""

from buildfarm.client.blocking import Client
from buildfarm.client.nonblocking import AsyncClient

__all__ = ["AsyncClient", "Client"]
