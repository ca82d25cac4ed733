"""A build in detail: its log, and what decided how it went."""
