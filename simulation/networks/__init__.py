"""Running a network: embedded, over RabbitMQ with a process a party, or attached to containers."""
