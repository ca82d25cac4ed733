"""Images are signed before their tags move: the requests to the signer, and the one place that moves apps' tags."""
