"""The gate: a step of Celery's consumer that takes messages only while the node is fit for builds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from celery import bootsteps

_LOOK_SECONDS = 0.25


def make_gate(is_open: Callable[[], bool], queues: Sequence[str]) -> type[bootsteps.StartStopStep]:
    """A step class for ``app.steps["consumer"]``. ``is_open`` is asked several times a second and must not wait."""

    class Gate(bootsteps.StartStopStep):
        requires = ("celery.worker.consumer.tasks:Tasks",)

        def __init__(self, parent: Any, **options: Any) -> None:
            super().__init__(parent, **options)
            self.is_open = True
            self.timer: Any = None

        def start(self, parent: Any) -> None:
            # Celery has just started to consume, also after each reconnection.
            self.is_open = True
            self.look(parent)
            self.timer = parent.timer.call_repeatedly(_LOOK_SECONDS, self.look, (parent,))

        def stop(self, parent: Any) -> None:
            if self.timer is not None:
                self.timer.cancel()

        def look(self, parent: Any) -> None:
            wanted = is_open()
            if wanted == self.is_open:
                if wanted:
                    parent.task_consumer.channel.renew_wait()
                return
            change = parent.add_task_queue if wanted else parent.cancel_task_queue
            for queue in queues:
                change(queue)
            self.is_open = wanted

    return Gate
