"""The chart's promises."""
