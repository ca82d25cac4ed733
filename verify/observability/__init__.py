"""The promises about what is seen."""
