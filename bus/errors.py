"""The exception tree.

I247Error                       base; `exit_code` is what the command line ends with
├── BadInput                    (2) a person's input is wrong: one line says what and where
│   └── KeyFileError            (2) a key or certificate file is missing, unreadable or exposed
├── EnvironmentFailed           (4) the machine lacks something or something outside broke
│   ├── BrokerUnavailable       (4) no broker, it refused the certificate, or it died
│   └── StoreUnreadable         (4) a store cannot be opened or is of another format version
├── TransportDenied             (4) the broker's permissions forbid what was asked
└── EnvelopeRefused             protocol: carries a catalogued `Refusal` (see `bus.refusals`)
"""

from typing import ClassVar


class I247Error(Exception):
    """Base of all errors that this project raises on purpose; the text is one line for a person."""

    exit_code: ClassVar[int] = 4


class BadInput(I247Error):
    """What a person handed in is wrong; the text says what and where."""

    exit_code: ClassVar[int] = 2


class KeyFileError(BadInput):
    """A key or certificate file is missing, of the wrong kind, or readable by others."""


class EnvironmentFailed(I247Error):
    """Something outside the program is missing or broke."""


class BrokerUnavailable(EnvironmentFailed):
    """No broker could be reached or started, it refused us, or it died in the run."""


class StoreUnreadable(EnvironmentFailed):
    """A store cannot be opened, or was written by another format version."""


class TransportDenied(EnvironmentFailed):
    """The broker's permissions forbid what was asked."""
