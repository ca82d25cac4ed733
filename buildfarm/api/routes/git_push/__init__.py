"""``git push`` to the farm over HTTP: git takes the objects, the farm builds the tree, the pusher sees the log."""
