"""What the protos declare about the fields of a request (splitrail/api/v1/limits.proto, field_behavior REQUIRED),
judged before a handler runs.

Declarations are compiled once, when a service starts; a request is walked only where something is declared. Beside the
declarations, an enum must hold one of its numbers, and no string may hold a NUL character, which Postgres cannot store.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from splitrail.api.v1 import limits_pb2

from .errors import Violation
from .ids import is_uuid

_MOST_VIOLATIONS = 100
_NUMBERS = frozenset(
    {
        FieldDescriptor.CPPTYPE_INT32,
        FieldDescriptor.CPPTYPE_INT64,
        FieldDescriptor.CPPTYPE_UINT32,
        FieldDescriptor.CPPTYPE_UINT64,
    }
)
_FLOATS = frozenset({FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT})
Judge = Callable[[Any], str | None]
"""What is wrong with a value; None: nothing."""


class LimitsError(Exception):
    """A field has limits that do not fit its type: the service must not start."""


@dataclass(frozen=True)
class _Rule:
    """What is judged of one field."""

    field: FieldDescriptor
    required: bool = False
    min_items: int = 0
    max_items: int = 0
    judges: tuple[Judge, ...] = ()
    """Of the value, each item, or each value of a map."""
    key_judges: tuple[Judge, ...] = ()

    @property
    def is_empty(self) -> bool:
        """True when nothing is judged here."""
        return not (self.required or self.min_items or self.max_items or self.judges or self.key_judges)


class RequestRules:
    """Judges messages of one type. Raises LimitsError when a declaration cannot be enforced."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._declared = _Tree(descriptor, _declared)
        self._texts = _Tree(descriptor, _without_nul)

    def violations(self, request: Message, raw: bytes) -> list[Violation]:
        """Every field that breaks a rule, up to a hundred; `raw` is the request as it came."""
        found = self._declared.violations(request)
        if b"\0" in raw:  # a string that holds a NUL character holds this byte
            found += self._texts.violations(request)
        return found


def compiled(services: Sequence[ServiceDescriptor]) -> dict[str, RequestRules]:
    """The rules of each RPC's request by its path `/package.Service/Method`. Raises LimitsError."""
    return {
        f"/{service.full_name}/{method.name}": RequestRules(method.input_type)
        for service in services
        for method in service.methods
    }


class _Tree:
    """Rules of a message type and of all types within it, without those that lead to no rule. Types may be recursive."""

    def __init__(self, root: Descriptor, rule_of: Callable[[FieldDescriptor], _Rule]) -> None:
        self._root = root.full_name
        self._branches: dict[str, list[tuple[_Rule, str | None]]] = {}
        """By type: fields with rules or with types that have some, and the name of that type."""
        self._add(root, rule_of)
        live: set[str] = set()
        while grown := {
            name
            for name, branches in self._branches.items()
            if name not in live and any(not rule.is_empty or inner in live for rule, inner in branches)
        }:
            live |= grown
        self._branches = {
            name: [
                (rule, inner if inner in live else None)
                for rule, inner in branches
                if not rule.is_empty or inner in live
            ]
            for name, branches in self._branches.items()
        }

    def _add(self, descriptor: Descriptor, rule_of: Callable[[FieldDescriptor], _Rule]) -> None:
        branches = self._branches[descriptor.full_name] = []
        for field in descriptor.fields:
            inner = _value_field(field).message_type
            branches.append((rule_of(field), inner.full_name if inner else None))
            if inner and inner.full_name not in self._branches:
                self._add(inner, rule_of)

    def violations(self, message: Message) -> list[Violation]:
        """What breaks a rule, in the order of the fields."""
        found: list[Violation] = []
        for violation in self._walk(self._root, message, ""):
            found.append(violation)
            if len(found) == _MOST_VIOLATIONS:
                break
        return found

    def _walk(self, type_name: str, message: Message, prefix: str) -> Iterator[Violation]:
        for rule, inner in self._branches[type_name]:
            name = prefix + rule.field.name
            for where, value in _present(rule, message, name):
                if isinstance(value, _Wrong):
                    yield Violation(where, value.why)
                    continue
                for judge in rule.judges:
                    if why := judge(value):
                        yield Violation(where, why)
                        break
                if inner is not None:
                    yield from self._walk(inner, value, where + ".")


@dataclass(frozen=True)
class _Wrong:
    """In place of a value: a field as a whole breaks a rule."""

    why: str


_MISSING = _Wrong("is required")


def _present(rule: _Rule, message: Message, name: str) -> Iterator[tuple[str, Any]]:
    """The values of a field that are set, each with its path; or what is wrong with the field as a whole."""
    field = rule.field
    value: Any = getattr(message, field.name)
    if not field.is_repeated:
        if message.HasField(field.name) if field.has_presence else value:
            yield name, value
        elif rule.required:
            # A number that is not set is 0: what is wrong with 0 says more.
            why = next(filter(None, (judge(value) for judge in rule.judges)), None) if _is_number(field) else None
            yield name, _MISSING if why is None else _Wrong(why)
        return
    count = len(value)
    if count == 0 and rule.required:
        yield name, _MISSING
    elif 0 < count < rule.min_items:
        yield name, _Wrong(f"at least {rule.min_items} entries, not {count}")
    elif rule.max_items and count > rule.max_items:
        yield name, _Wrong(f"at most {rule.max_items} entries, not {count}")
    elif _entry(field) is not None:
        for key in value:
            where = f"{name}[{str(key)[:100]}]"
            for judge in rule.key_judges:
                if why := judge(key):
                    yield where, _Wrong(f"its key {why}")
            yield where, value[key]
    else:
        for index, item in enumerate(value):
            yield f"{name}[{index}]", item


def _is_number(field: FieldDescriptor) -> bool:
    return field.enum_type is None and not field.has_presence and field.cpp_type in _NUMBERS | _FLOATS


def _entry(field: FieldDescriptor) -> Descriptor | None:
    """The type of a map's entries; None for a field that is not a map."""
    inner = field.message_type
    return inner if inner is not None and inner.GetOptions().map_entry else None


def _value_field(field: FieldDescriptor) -> FieldDescriptor:
    """The field whose type the values have: of a map, its entries' `value`."""
    entry = _entry(field)
    return field if entry is None else entry.fields_by_name["value"]


def _without_nul(field: FieldDescriptor) -> _Rule:
    def text(of: FieldDescriptor) -> tuple[Judge, ...]:
        return (_no_nul,) if of.type == FieldDescriptor.TYPE_STRING else ()

    entry = _entry(field)
    keys = () if entry is None else text(entry.fields_by_name["key"])
    return _Rule(field, judges=text(_value_field(field)), key_judges=keys)


def _no_nul(text: str) -> str | None:
    return "holds a NUL character" if "\0" in text else None


def _declared(field: FieldDescriptor) -> _Rule:
    options = field.GetOptions()
    required = field_behavior_pb2.REQUIRED in options.Extensions[field_behavior_pb2.field_behavior]
    limits = options.Extensions[limits_pb2.limits]
    _check(field, limits)
    judges = tuple(_judges(_value_field(field), limits))
    return _Rule(field, required, limits.min_items, limits.max_items, judges)


def _check(field: FieldDescriptor, limits: limits_pb2.Limits) -> None:
    """Raises LimitsError for limits that this field cannot have."""
    kind = _value_field(field)
    is_text = kind.type == FieldDescriptor.TYPE_STRING
    fits = {
        "minimum": kind.cpp_type in _NUMBERS | _FLOATS,
        "maximum": kind.cpp_type in _NUMBERS | _FLOATS,
        "min_length": is_text or kind.type == FieldDescriptor.TYPE_BYTES,
        "max_length": is_text or kind.type == FieldDescriptor.TYPE_BYTES,
        "min_items": field.is_repeated,
        "max_items": field.is_repeated,
        "pattern": is_text and _entry(field) is None and bool(limits.pattern_means),
        "pattern_means": bool(limits.pattern),
        "uuid": is_text and _entry(field) is None,
    }
    wrong = [declared.name for declared, _ in limits.ListFields() if not fits.get(declared.name, False)]
    for least, most in (("min_length", "max_length"), ("min_items", "max_items")):
        low, high = getattr(limits, least), getattr(limits, most)
        if low < 0 or high < 0 or (high and low > high):
            wrong.append(least)
    if limits.HasField("minimum") and limits.HasField("maximum") and not limits.minimum <= limits.maximum:
        wrong.append("minimum")
    try:
        re.compile(limits.pattern)
    except re.error:
        wrong.append("pattern")
    if wrong:
        raise LimitsError(f"{field.full_name}: the limits {', '.join(dict.fromkeys(wrong))} do not fit this field")


def _judges(field: FieldDescriptor, limits: limits_pb2.Limits) -> Iterator[Judge]:
    if field.enum_type is not None:
        yield _one_of(frozenset(field.enum_type.values_by_number))
    if limits.HasField("minimum") or limits.HasField("maximum"):
        low = limits.minimum if limits.HasField("minimum") else float("-inf")
        high = limits.maximum if limits.HasField("maximum") else float("inf")
        yield _within(low, high)
    if limits.min_length or limits.max_length:
        yield _of_length(
            limits.min_length, limits.max_length, "bytes" if field.type == FieldDescriptor.TYPE_BYTES else "characters"
        )
    if limits.uuid:
        yield lambda text: None if is_uuid(text) else "must be a UUID, in lower case"
    if limits.pattern:
        yield _matching(limits.pattern, limits.pattern_means)


def _one_of(numbers: frozenset[int]) -> Judge:
    return lambda value: None if value in numbers else f"has no value {value}"


def _within(low: float, high: float) -> Judge:
    def judge(value: float) -> str | None:
        if low <= value <= high:
            return None
        if high == float("inf"):
            return f"must be at least {low:g}, not {value}"
        return (
            f"must be at most {high:.15g}, not {value}"
            if low == float("-inf")
            else f"must be {low:g} to {high:.15g}, not {value}"
        )

    return judge


def _of_length(least: int, most: int, unit: str) -> Judge:
    def judge(value: str | bytes) -> str | None:
        if most and len(value) > most:
            # Bytes travel in a request only where they could be uploaded too.
            instead = ": upload what is larger" if isinstance(value, bytes) else ""
            return f"at most {most} {unit}, not {len(value)}{instead}"
        return f"at least {least} {unit}, not {len(value)}" if len(value) < least else None

    return judge


def _matching(pattern: str, means: str) -> Judge:
    whole = re.compile(pattern, re.ASCII)
    return lambda text: None if whole.fullmatch(text) else f"must be {means}"
