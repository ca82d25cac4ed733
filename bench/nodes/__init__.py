"""A farm of many build nodes on one Redis: what an idle node costs, and what the others wait for it."""
