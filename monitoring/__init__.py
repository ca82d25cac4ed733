"""What operators look at: dashboards and alerts, written here and made into files by ``python -m monitoring``."""
