"""The network: messages, trust, transports and storage. It knows messages, not bureaus."""
