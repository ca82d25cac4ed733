"""What forges send when somebody pushes: signatures, formats, what is built of it and in which order. No I/O."""
