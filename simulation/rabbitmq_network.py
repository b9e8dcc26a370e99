"""Every party in a process of its own, over RabbitMQ, in stepped time.

The broker and the processes are started side by side: a process loads its keys and opens its store
while the broker boots, and is told over its control port where the bus is once there is one.
Whatever ends the run, and be it the end of the runner itself, ends all of them.
"""

from typing import TypeVar

T = TypeVar("T")
