"""The farm's build tools on the node, which sandboxes see read-only."""
