"""Side by side with what people would use instead: each bench is one interleaved run, and its figures are ratios."""
