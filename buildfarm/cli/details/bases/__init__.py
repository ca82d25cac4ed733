"""What commands do with bases: how current they are, and hosts that have them before apps move."""
