"""The topology written out as one RabbitMQ definitions document, for boot import or rabbitmqctl.

Fits RabbitMQ 3.10 and 4.x: quorum queues only, limits as policies, nothing transient or exclusive,
no passwords. Equal topologies give equal documents, in equal order.
"""

from typing import Any

from bus.topology import (
    VIRTUAL_HOST,
    Binding,
    Exchange,
    ExchangePolicy,
    Queue,
    QueuePolicy,
    TopicPermission,
    Topology,
    User,
)

JsonObject = dict[str, Any]


def definitions(topology: Topology) -> JsonObject:
    """Return the definitions document of a topology, ready for a JSON encoder."""
    policies = [_queue_policy(policy) for policy in topology.queue_policies]
    policies += [_exchange_policy(policy) for policy in topology.exchange_policies]
    return {
        "vhosts": [{"name": VIRTUAL_HOST}],
        "users": [_user(user) for user in topology.users],
        "permissions": [
            {
                "user": permission.user,
                "vhost": VIRTUAL_HOST,
                "configure": permission.configure,
                "write": permission.write,
                "read": permission.read,
            }
            for permission in topology.permissions
        ],
        "topic_permissions": [_topic_permission(each) for each in topology.topic_permissions],
        "policies": policies,
        "exchanges": [_exchange(exchange) for exchange in topology.exchanges],
        "queues": [_queue(queue) for queue in topology.queues],
        "bindings": [_binding(binding) for binding in topology.bindings],
    }


def _user(user: User) -> JsonObject:
    limits: JsonObject = {}
    if user.connections_max is not None:
        limits["max-connections"] = user.connections_max
    if user.channels_max is not None:
        limits["max-channels"] = user.channels_max
    return {
        "name": user.name,
        "password_hash": "",
        "hashing_algorithm": "rabbit_password_hashing_sha256",
        "tags": "",
        "limits": limits,
    }


def _topic_permission(permission: TopicPermission) -> JsonObject:
    return {
        "user": permission.user,
        "vhost": VIRTUAL_HOST,
        "exchange": permission.exchange,
        "write": permission.write,
        "read": "^$",
    }


def _queue_policy(policy: QueuePolicy) -> JsonObject:
    definition: JsonObject = {
        "delivery-limit": policy.redeliveries_max,
        "max-length": policy.messages_max,
        # Without it RabbitMQ falls back, silently, to dead-lettering that can lose messages.
        "overflow": "reject-publish",
    }
    if policy.dead_letter_exchange is not None:
        definition["dead-letter-exchange"] = policy.dead_letter_exchange
        definition["dead-letter-strategy"] = "at-least-once"
    return _policy(policy.name, policy.pattern, policy.priority, "queues", definition)


def _exchange_policy(policy: ExchangePolicy) -> JsonObject:
    definition: JsonObject = {"alternate-exchange": policy.alternate_exchange}
    return _policy(policy.name, policy.pattern, policy.priority, "exchanges", definition)


def _policy(
    name: str, pattern: str, priority: int, applies_to: str, definition: JsonObject
) -> JsonObject:
    return {
        "vhost": VIRTUAL_HOST,
        "name": name,
        "pattern": pattern,
        "apply-to": applies_to,
        "priority": priority,
        "definition": definition,
    }


def _exchange(exchange: Exchange) -> JsonObject:
    return {
        "name": exchange.name,
        "vhost": VIRTUAL_HOST,
        "type": exchange.kind.value,
        "durable": True,
        "auto_delete": False,
        "internal": exchange.internal,
        "arguments": {},
    }


def _queue(queue: Queue) -> JsonObject:
    return {
        "name": queue.name,
        "vhost": VIRTUAL_HOST,
        "durable": True,
        "auto_delete": False,
        "arguments": {"x-queue-type": "quorum"},
    }


def _binding(binding: Binding) -> JsonObject:
    arguments: JsonObject = {}
    if binding.header is not None:
        name, value = binding.header
        arguments = {"x-match": "all", name: value}
    return {
        "source": binding.source,
        "vhost": VIRTUAL_HOST,
        "destination": binding.destination,
        "destination_type": "exchange" if binding.to_exchange else "queue",
        "routing_key": binding.binding_key,
        "arguments": arguments,
    }
