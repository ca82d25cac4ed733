"""The farm's promises, each tried on the running farm: ``python -m verify.<name>`` prints claim, figure and verdict."""
