"""Untrusted text, YAML, XML and JSON into plain values, with caps; nothing in them is executed or fetched."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element, ParseError, TreeBuilder

import yaml
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser
from yaml.composer import ComposerError

from splitrail_split.formats.model import Code, Problems, Source

MAX_YAML_BYTES = 1 << 20
MAX_TEXT_BYTES = 32 << 20
MAX_XML_BYTES = 32 << 20
_NUMBERED_DEPTH = 2
MAX_JSON_BYTES = 512 << 20
"""As large as any annotation file may be announced: `sources.MAX_ANNOTATION_BYTES`."""


class _PlainLoader(yaml.SafeLoader):
    """Strings, lists and dicts only: a class called `no` or `1.0` keeps its name, and every other tag is an error of
    the file.

    Nothing grows: merge keys copy mappings, so there are none; a list or dict that aliases name again stays one object,
    and readers go no deeper than what they look for; texts that aliases repeat are counted, since each may be copied
    where it is used.
    """

    _repeated = 0

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Does nothing: a key that is tagged `!!merge` is a key with an unknown tag."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        aliased = self.check_event(yaml.AliasEvent)
        node = super().compose_node(parent, index)
        if aliased and isinstance(node, yaml.ScalarNode):
            self._repeated += len(node.value)
            if self._repeated > MAX_YAML_BYTES:
                raise ComposerError(
                    None, None, f"aliases repeat more than {MAX_YAML_BYTES} characters", node.start_mark
                )
        return node


_PlainLoader.yaml_implicit_resolvers = {}
_PLAIN = (None, "tag:yaml.org,2002:str", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map")
_PlainLoader.yaml_constructors = {tag: yaml.SafeLoader.yaml_constructors[tag] for tag in _PLAIN}


def read_text(source: Source, path: str, problems: Problems, cap: int = MAX_TEXT_BYTES) -> str | None:
    """A UTF-8 text file (a byte order mark is dropped); None, with a problem, when it is not or is larger than `cap`
    bytes.
    """
    data = _capped(source, path, problems, cap)
    if data is None:
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problems.add(path, line, Code.NOT_UTF8, f"byte {error.start} is not UTF-8 text: {error.reason}")
        return None


def read_yaml(source: Source, path: str, problems: Problems) -> dict[str, object] | None:
    """A YAML mapping; None, with a problem, when it is not one. All scalars are strings."""
    text = read_text(source, path, problems, MAX_YAML_BYTES)
    if text is None:
        return None
    try:
        value = yaml.load(text, Loader=_PlainLoader)  # noqa: S506 - a SafeLoader with fewer types still
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark is not None else None
        problems.add(
            path,
            line,
            Code.UNREADABLE,
            f"not readable as plain YAML: {getattr(error, 'problem', None) or type(error).__name__}",
        )
        return None
    if not isinstance(value, dict):
        problems.add(path, None, Code.UNREADABLE, "holds no YAML mapping")
        return None
    return {str(key): item for key, item in value.items() if isinstance(key, str)}


def yaml_line(source: Source, path: str, key: str) -> int | None:
    """The line, from 1, on which a key of a mapping stands that `read_yaml` has read."""
    node = yaml.compose(read_text(source, path, Problems(), MAX_YAML_BYTES) or "", Loader=_PlainLoader)
    entries = node.value if isinstance(node, yaml.MappingNode) else []
    return next((name.start_mark.line + 1 for name, _ in entries if name.value == key), None)


@dataclass(frozen=True, slots=True)
class XmlDocument:
    """An XML file: its root, and the line, from 1, on which each child and grandchild of the root starts."""

    root: Element
    lines: dict[Element, int]


class _NumberedBuilder(TreeBuilder):
    """Builds the tree of a parser and notes where the root's children and theirs start."""

    def __init__(self) -> None:
        super().__init__()
        self.parser = DefusedXMLParser(target=self)
        self.lines: dict[Element, int] = {}
        self._depth = 0

    def start(self, tag: str, attributes: dict[str, str], /) -> Element:
        element = super().start(tag, attributes)
        if 1 <= self._depth <= _NUMBERED_DEPTH:
            self.lines[element] = self.parser.parser.CurrentLineNumber
        self._depth += 1
        return element

    def end(self, tag: str, /) -> Element:
        self._depth -= 1
        return super().end(tag)


def read_xml(source: Source, path: str, problems: Problems, cap: int = MAX_XML_BYTES) -> XmlDocument | None:
    """An XML file; None, with a problem, when it does not parse or declares entities."""
    data = _capped(source, path, problems, cap)
    if data is None:
        return None
    builder = _NumberedBuilder()
    try:
        builder.parser.feed(data)
        root = builder.parser.close()
    except ParseError as error:
        problems.add(path, error.position[0], Code.UNREADABLE, f"not readable as XML: {error}")
    except DefusedXmlException as error:
        problems.add(
            path, None, Code.UNREADABLE, f"XML with entities or external references is refused: {type(error).__name__}"
        )
    except (LookupError, ValueError) as error:  # an encoding that does not exist or does not fit the bytes
        problems.add(path, None, Code.NOT_UTF8, f"XML in an encoding that cannot be read: {error}")
    else:
        return XmlDocument(root, builder.lines)
    return None


def read_json(source: Source, path: str, problems: Problems) -> dict[str, object] | None:
    """A JSON object; None, with a problem, when it is not one. NaN and Infinity parse, to be reported where they stand."""
    value = _json(source, path, problems)
    if value is not None and not isinstance(value, dict):
        problems.add(path, None, Code.UNREADABLE, "holds no JSON object")
        return None
    return value


def read_json_list(source: Source, path: str, problems: Problems) -> list[object] | None:
    """As `read_json`, for a list."""
    value = _json(source, path, problems)
    if value is not None and not isinstance(value, list):
        problems.add(path, None, Code.UNREADABLE, "holds no JSON list")
        return None
    return value


def _json(source: Source, path: str, problems: Problems) -> Any:
    """What a file holds, never None; None, with a problem, when it holds no JSON."""
    text = read_text(source, path, problems, MAX_JSON_BYTES)
    if text is None:
        return None
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        problems.add(path, error.lineno, Code.UNREADABLE, f"not readable as JSON: {error.msg} (column {error.colno})")
        return None
    except (ValueError, RecursionError) as error:
        problems.add(path, None, Code.UNREADABLE, f"not readable as JSON: {error}")
        return None
    return "null" if value is None else value


def number(value: object) -> float | None:
    """A JSON number or the text of one as float (NaN and infinities included); None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def shown(text: object, length: int = 60) -> str:
    """Untrusted text for a message: quoted, escaped and cut."""
    if not isinstance(text, str | int | float | bool | None):
        return f"a {type(text).__name__}"
    written = repr(text)
    return written if len(written) <= length else written[:length] + "..."


def _capped(source: Source, path: str, problems: Problems, cap: int) -> bytes | None:
    data = source.read(path)
    if len(data) > cap:
        problems.add(path, None, Code.TOO_LARGE, f"{len(data)} bytes exceed the limit of {cap} for this kind of file")
        return None
    return data
