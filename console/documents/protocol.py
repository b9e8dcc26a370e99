"""`docs/protocol.md`: the wire as tables and rules, from the structs, catalogues and docstrings."""

import inspect
import re
import textwrap
from collections.abc import Iterable, Sequence
from enum import Enum
from types import ModuleType
from typing import Final, get_args

from msgspec import Meta, Struct

from bus import refusals, standing, verification
from bus.envelope import Plain, Sealed, Signature, SignedEnvelope
from bus.identifiers import QueueKind
from bus.messages.catalogue import KINDS, RecordRule, StatementKind
from bus.messages.header import Header, Version
from bus.topology import network_topology
from console.documents import prose
from console.documents.example import example_text
from console.documents.forms import NAMED, bounds, field_rows, leads_to, readable_pattern

_EXAMPLE_MEMBER: Final = "XA"
_IN_SECTION_6: Final = "section 6"
_LINE_CHARACTERS: Final = 100
_KEPT_AS_IT_IS: Final = ("|", "-", "#", " ", "1.", "<!--")


def protocol_text() -> str:
    """Return the document as Markdown."""
    sections = (
        prose.INTRODUCTION,
        prose.ENCODING,
        _named_forms(),
        prose.ENVELOPE.format(envelope=_envelope_tables(), attachments=_attachment_tables()),
        prose.HEADER.format(header=_header_table(), record_rules=_record_rules()),
        _overview(),
        "## 6. Statements, one by one\n",
        *(_statement(kind) for kind in KINDS.values()),
        _forms_of_bodies(),
        _enumerations(),
        prose.TRUST,
        prose.BUS.format(exchanges=_bus_table()),
        _verification(),
        _refusal_table(),
        prose.CONDUCT.format(standing=_numbered_steps(standing)),
        example_text(),
    )
    return "\n".join(_wrapped(section.strip("\n")) + "\n" for section in sections)


def _wrapped(text: str) -> str:
    """Break the long lines of plain paragraphs; tables, lists and octets stay as they are."""
    blocks = re.split(r"\n{2,}", text)
    return "\n\n".join(
        block
        if block.startswith(_KEPT_AS_IT_IS) or max(map(len, block.split("\n"))) <= _LINE_CHARACTERS
        else textwrap.fill(block, _LINE_CHARACTERS, break_long_words=False, break_on_hyphens=False)
        for block in blocks
    )


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _named_forms() -> str:
    rows = []
    for form, name in NAMED.items():
        base, meta = get_args(form)[:2]
        words = meta.description or ""
        if meta.pattern is not None:
            words += f"; text that matches `{readable_pattern(meta.pattern)}`"
        elif meta.max_length is not None and not meta.min_length:
            words += bounds(Meta(max_length=meta.max_length))
        rows.append((f"`{name}`", words if base is not None else ""))
    return f"## 2. Closed forms\n\n{table(('Name', 'Form'), rows)}\n"


def _envelope_tables() -> str:
    return "\n\n".join(_form_table(form) for form in (SignedEnvelope, Signature))


def _attachment_tables() -> str:
    return "\n\n".join(_form_table(form) for form in (Plain, Sealed))


def _form_table(form: type[Struct]) -> str:
    rows = [(f"`{name}`", words) for name, words in field_rows(form)]
    return table((f"`{form.__name__}`", "Holds"), rows)


def _header_table() -> str:
    rows = [("`message_type`", "text, the statement's type")]
    rows += [(f"`{name}`", words) for name, words in field_rows(Header)[1:]]
    rows.append(("`claims`", f"map, by type: {_IN_SECTION_6}"))
    return f"{table(('Field', 'Holds'), rows)}\n\n{_form_table(Version)}"


def _record_rules() -> str:
    return "By type it is one of: " + "; ".join(f"*{rule.value}*" for rule in RecordRule) + "."


def _overview() -> str:
    rows = [
        (
            f"[`{kind.message_type}`](#{kind.message_type})",
            ", ".join(sorted(kind.signers)),
            kind.queue.value,
            kind.body_rule.value,
            "yes" if kind.addresses_secretariat else "",
            "yes" if kind.may_expire else "",
        )
        for kind in KINDS.values()
    ]
    heads = ("Type", "Signed by", "Queue kind", "Body", "Must list `IPSG`", "May expire")
    return f"## 5. Statement types\n\n{table(heads, rows)}\n"


def _statement(kind: StatementKind) -> str:
    lines = [
        f"### {kind.message_type}\n",
        _docstring(kind.header),
        "",
        f"- Type string: `{kind.payload_type}`",
        f"- Signed by: {', '.join(sorted(kind.signers))}",
        f"- Goes to: exchange and queue of kind `{kind.queue.value}`"
        + ("; must list `IPSG` among its addressees" if kind.addresses_secretariat else ""),
        f"- `record`: {kind.record.value}",
        f"- Body: {_body_words(kind)}",
        f"- `expires_at`: {'nil or a time' if kind.may_expire else 'nil'}",
        "",
        _docstring(kind.claims),
        "",
    ]
    rows = [(f"`{name}`", words) for name, words in field_rows(kind.claims)]
    lines.append(table(("Claim", "Holds"), rows) if rows else "No claims: an empty map.")
    return "\n".join(lines) + "\n"


def _body_words(kind: StatementKind) -> str:
    if kind.body is None:
        return "none"
    kept = "; kept when the record is deleted" if kind.body_outlives_record else ""
    return f"{kind.body_rule.value}, form `{kind.body.__name__}`{kept}"


def _docstring(form: type) -> str:
    return " ".join(inspect.cleandoc(form.__doc__ or "").split())


def _reached() -> list[type[Struct] | type[Enum]]:
    """Return the structs and enumerations below claims and bodies, by name."""
    claims = {kind.claims for kind in KINDS.values()}
    forms: dict[type[Struct | Enum], None] = {}
    for kind in KINDS.values():
        for top in (kind.claims, kind.body):
            forms |= dict.fromkeys(leads_to(top) if top is not None else ())
    return sorted((form for form in forms if form not in claims), key=lambda form: form.__name__)


def _forms_of_bodies() -> str:
    parts = [
        f"{_docstring(form)}\n\n{_form_table(form)}"
        for form in _reached()
        if issubclass(form, Struct)
    ]
    return "### Forms of bodies and of their parts\n\n" + "\n\n".join(parts) + "\n"


def _enumerations() -> str:
    rows = [
        (f"`{form.__name__}`", ", ".join(f"`{member.value}`" for member in form))
        for form in _reached()
        if issubclass(form, Enum)
    ]
    return f"### Enumerations\n\n{table(('Name', 'Values (text)'), rows)}\n"


def _bus_table() -> str:
    topology = network_topology([_EXAMPLE_MEMBER])
    [permission] = [each for each in topology.permissions if each.user == _EXAMPLE_MEMBER]
    keys = {each.exchange: each.write for each in topology.topic_permissions
            if each.user == _EXAMPLE_MEMBER}  # fmt: skip
    rows = []
    for kind in QueueKind:
        [queue] = [each.destination for each in topology.bindings
                   if each.destination == f"i247.{kind.value}.{_EXAMPLE_MEMBER}"]  # fmt: skip
        types = ", ".join(f"`{each.message_type}`" for each in KINDS.values() if each.queue is kind)
        exchange = f"i247.{kind.value}"
        rows.append((f"`{exchange}`", f"`{queue}`", f"`{keys[exchange]}`", types))
    heads = (
        "Topic exchange",
        f"Queue of {_EXAMPLE_MEMBER}",
        "Keys it may publish",
        "Types",
    )
    rights = table(
        ("Right of a member", f"Names, for {_EXAMPLE_MEMBER}"),
        [
            ("configure", f"`{permission.configure}` (nothing)"),
            ("write", f"`{permission.write}`"),
            ("read", f"`{permission.read}`"),
        ],
    )
    return f"{table(heads, rows)}\n\n{rights}"


def _numbered_steps(module: ModuleType) -> str:
    """Return the numbered list of a module's docstring."""
    found = re.search(r"^1\. .*?(?=\n\n|\Z)", module.__doc__ or "", re.DOTALL | re.MULTILINE)
    if found is None:
        message = f"{module.__name__} has no numbered steps"
        raise ValueError(message)
    return found.group()


def _verification() -> str:
    return (
        "## 9. Verification and refusals\n\n"
        "A receiver takes these steps in this order; the first that fails decides. Each names the"
        " attack that it stops.\n\n"
        f"{_numbered_steps(verification)}\n"
    )


def _refusal_table() -> str:
    rows = [
        (
            str(refusal.step) if refusal.step else "handler",
            f"`{refusal.code}`",
            "yes" if refusal.definite else "no",
            refusal.meaning,
        )
        for refusal in refusals.CATALOGUE.values()
    ]
    intro = (
        "A refusal is definite when the same octets can never be accepted; another may turn out"
        " otherwise later, when a key was announced for example."
    )
    return f"{intro}\n\n{table(('Step', 'Code', 'Definite', 'Meaning'), rows)}\n"
