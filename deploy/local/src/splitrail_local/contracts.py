"""What the contracts say of the public API, read from a descriptor set: its services, their RPCs, and their paths below
/api.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from google.api import annotations_pb2
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet, MethodDescriptorProto, ServiceDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool

PLATFORM = "splitrail."
INTERNAL = "splitrail.internal."
"""Packages of what services and pods say to each other: nobody outside has a way to them."""

_VARIABLE = re.compile(r"\{[^}=]+(?:=([^}]*))?\}")
_HTTP_BODY = ".google.api.HttpBody"
_WILDCARDS = {"*": "[^/]+", "**": ".+"}


@dataclass(frozen=True, slots=True)
class Binding:
    """One way to call an RPC by JSON."""

    method: str
    """GET, POST, PATCH, PUT or DELETE."""
    template: str
    """The path with variables in braces, as google.api.http has it."""
    body: str
    """`*`: the whole request; a field's name; or empty: there is none, and the query holds what the path does not."""

    @property
    def segments(self) -> list[str]:
        """The path's segments in order; a variable is what it may be (`*`, `**`), a verb begins with a colon."""
        path = _VARIABLE.sub(lambda found: found[1] or "*", self.template)
        path, colon, verb = path.partition(":")
        return [*path.strip("/").split("/"), *([colon + verb] if colon else [])]

    @property
    def lua_pattern(self) -> str:
        """Matches the paths of this binding, whether or not there is a slash at the end, as the transcoder does."""
        made = ""
        for segment in self.segments:
            part = _WILDCARDS.get(segment) or re.sub(r"\W", lambda found: f"%{found[0]}", segment)
            made += part if segment.startswith(":") else f"/{part}"
        return f"^{made}/?$"

    @property
    def generality(self) -> tuple[int, ...]:
        """Orders bindings that match the same path: the transcoder takes literals before variables."""
        places = [["*", "**"].index(segment) + 1 if segment in _WILDCARDS else 0 for segment in self.segments]
        return (*places, 0 if self.segments[-1].startswith(":") else 1)


@dataclass(frozen=True, slots=True)
class Rpc:
    """One RPC of a public service."""

    service: str
    """Full name of its service."""
    name: str
    request: Descriptor
    streaming: bool
    """Its answer is a stream."""
    messages: bool
    """What it answers becomes JSON; else it is bytes with a media type of their own (google.api.HttpBody)."""
    bindings: tuple[Binding, ...]

    @property
    def path(self) -> str:
        """Its path as gRPC calls it."""
        return f"/{self.service}/{self.name}"

    @property
    def owner(self) -> str:
        """The service of the platform that answers: `split` for the package splitrail.split.v1."""
        return self.service.split(".")[1]


class Contracts:
    """The contracts of a descriptor set that holds every file they import."""

    def __init__(self, descriptor_set: bytes) -> None:
        self.files = FileDescriptorSet.FromString(descriptor_set).file
        pool = DescriptorPool()
        for file in self.files:
            pool.Add(file)
        self.pool = pool

    @cached_property
    def rpcs(self) -> tuple[Rpc, ...]:
        """Of all public services, in the order of the descriptor set."""
        return tuple(
            Rpc(
                service=service,
                name=method.name,
                request=self.pool.FindMessageTypeByName(method.input_type.removeprefix(".")),
                streaming=method.server_streaming,
                messages=method.output_type != _HTTP_BODY,
                bindings=tuple(_bindings(method)),
            )
            for service, described in self._services(public=True)
            for method in described.method
        )

    @cached_property
    def public_services(self) -> tuple[str, ...]:
        """Full names, sorted."""
        return tuple(sorted(name for name, _ in self._services(public=True)))

    @cached_property
    def internal_services(self) -> tuple[str, ...]:
        """Full names, sorted."""
        return tuple(sorted(name for name, _ in self._services(public=False)))

    def _services(self, *, public: bool) -> Iterator[tuple[str, ServiceDescriptorProto]]:
        for file in self.files:
            package = f"{file.package}."
            if package.startswith(PLATFORM) and package.startswith(INTERNAL) is not public:
                yield from ((package + service.name, service) for service in file.service)


def _bindings(method: MethodDescriptorProto) -> Iterator[Binding]:
    rule = method.options.Extensions[annotations_pb2.http]
    for each in (rule, *rule.additional_bindings):
        verb = each.WhichOneof("pattern")
        if verb is not None:
            yield Binding(verb.upper(), getattr(each, verb), each.body)
