"""The Helm chart, rendered and checked."""
