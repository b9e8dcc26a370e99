"""The control port: how a runner drives a party beside the bus.

On one machine it is a Unix socket that only its owner can reach; between containers it is TCP
behind TLS, and a token proves the right to speak. The signing key never crosses it: `inject` and
`issue` ask the party to speak for itself. Without ``--control`` nothing listens.
"""
