"""Orders as they come through the control port: packed in, packed result out."""

from typing import Final

import msgspec

from bus.errors import BadInput
from bus.turn import Turn
from ncb_nodes.orders import AnyOrder, OrderDone, carry_out

_ORDERS: Final = msgspec.msgpack.Decoder(AnyOrder)
_RESULTS: Final = msgspec.msgpack.Decoder(OrderDone)


def take_order(turn: Turn, packed: bytes) -> bytes:
    """Carry out a packed order and return the packed result; raise `BadInput`."""
    try:
        order = _ORDERS.decode(packed)
    except msgspec.DecodeError as error:
        message = f"order refused: {error}"
        raise BadInput(message) from error
    return msgspec.msgpack.encode(carry_out(turn, order))


def pack_order(order: AnyOrder) -> bytes:
    """Return the packed form of an order."""
    return msgspec.msgpack.encode(order)


def unpack_result(packed: bytes) -> OrderDone:
    """Return what an order led to."""
    return _RESULTS.decode(packed)
