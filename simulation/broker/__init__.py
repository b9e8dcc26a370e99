"""A private RabbitMQ for a run: found or fetched, started on ports of its own, gone afterwards."""
