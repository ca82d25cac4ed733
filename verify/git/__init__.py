"""Private repositories, push webhooks and ``git push``, as claims that are tried on a real farm."""
