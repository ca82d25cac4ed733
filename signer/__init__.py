"""The signer: the process that alone has the signing key. It runs no customer code and needs no engine."""
