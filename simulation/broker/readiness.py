"""Asking a port whether our broker, and nobody else, answers there."""

import socket
import ssl
from typing import Final

from bus.pki.keystore import TlsFiles, load_certificate_der

handshake_seconds_max: Final = 2.0


def shows_certificate(address: tuple[str, int], tls: TlsFiles) -> bool:
    """Tell whether a TLS server at `address` proves to hold the key of `tls.certificate`.

    We show no certificate of our own. In TLS 1.3 the server has proven itself before it turns
    such a client away, which it then does. Blocks for at most `handshake_seconds_max`.
    """
    context = ssl.create_default_context(cafile=tls.root)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    try:
        with (
            socket.create_connection(address, handshake_seconds_max) as plain,
            context.wrap_socket(plain) as secured,
        ):
            return secured.getpeercert(binary_form=True) == load_certificate_der(tls.certificate)
    except OSError:
        return False
