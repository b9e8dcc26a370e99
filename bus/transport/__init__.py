"""Two implementations of `bus.ports.Transport`: in process, and over AMQP."""
