"""The queue: the Celery application, its Redis transport, where Redis is, and how the queue stands."""
