"""The farm over HTTP: the API, its page and its metrics. It reads requests, asks the farm, and writes answers."""
