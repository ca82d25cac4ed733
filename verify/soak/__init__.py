"""Many lives of builds one after another, in a farm whose memory and disk must not grow: ``make soak``."""
