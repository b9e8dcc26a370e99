"""Every statement that travels on the bus, as msgspec tagged unions."""
