"""The contracts generate in every language that protoc knows, without patches, and what callers rely on does not change
without a word.
"""

import re
import sys
from collections import Counter
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from subprocess import run
from types import ModuleType

import pytest
from google.protobuf import descriptor_pb2

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
ROOTS = [PROTO / "api", PROTO / "third_party"]
PROTOC = Path(sys.executable).parent / "protoc"

RENAMED = {
    # What protoc makes of a name that the language cannot have there.
    "csharp": re.compile(r"^ *public [^(=]*\b[A-Z]\w*_(?= [{=(])", re.MULTILINE),
    "cpp": re.compile(r"\b[a-z]\w*_\(\) const"),
    "php": re.compile(r"^class (PB\w+|\w+_)\b", re.MULTILINE),
    "ruby": re.compile(r"\bPB\w+"),
    "java": re.compile(r"\bclass \w+OuterClass\b"),
}


def script(name: str) -> ModuleType:
    """A script of proto/, as a module."""
    spec = spec_from_file_location(name, PROTO / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


service_config = script("service_config")
release = script("release")


@pytest.mark.clients
@pytest.mark.parametrize("language", ["java", "kotlin", "csharp", "cpp", "objc", "ruby", "php"])
def test_the_contracts_generate(language, tmp_path):
    protos = [str(path.relative_to(root)) for root in ROOTS for path in sorted(root.rglob("*.proto"))]
    # An own namespace is a folder: otherwise C# would have two files of one name.
    options = ["--csharp_opt=base_namespace="] if language == "csharp" else []
    command = [PROTOC, *(f"-I{root}" for root in ROOTS), f"--{language}_out={tmp_path}", *options, *protos]
    done = run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) >= len(protos)
    folded = Counter(str(path).lower() for path in written)
    assert not [path for path, count in folded.items() if count > 1], "one file where names fold case"
    if pattern := RENAMED.get(language):
        ours = [path for path in written if "splitrail" in str(path.relative_to(tmp_path)).lower()]
        assert ours
        assert not [(path.name, found) for path in ours for found in pattern.findall(path.read_text())]


def test_a_clash_would_be_noticed(tmp_path):
    """C# cannot have a property of its class's name: protoc appends `_`."""
    (tmp_path / "clash.proto").write_text(
        'syntax = "proto3"; package splitrail.clash; message Train { string train = 1; }'
    )
    run([PROTOC, f"-I{tmp_path}", f"--csharp_out={tmp_path}", "clash.proto"], check=True)
    assert RENAMED["csharp"].search((tmp_path / "Clash.cs").read_text())


def test_service_config_is_what_the_contracts_say():
    for path in (service_config.CONFIG, *service_config.COPIES):
        assert path.read_text() == service_config.text(), "run `make proto` and commit the result"


def test_every_unary_call_may_be_repeated_and_no_stream():
    methods = service_config.methods(service_config.public_files())
    (config,) = service_config.contents()["methodConfig"]
    listed = Counter((name["service"], name["method"]) for name in config["name"])
    unary = {(method.containing_service.full_name, method.name) for method in methods if not method.server_streaming}
    assert set(listed) == unary
    assert set(listed.values()) == {1}


def test_changes_since_the_last_release_are_named():
    assert release.check() == []


def test_a_breaking_change_must_be_named(tmp_path):
    before, now = tmp_path / "before.binpb", tmp_path / "now.binpb"
    release.build(before)
    files = descriptor_pb2.FileDescriptorSet.FromString(before.read_bytes())
    for file in files.file:
        if file.name == "splitrail/metrics/v1/metrics.proto":
            file.message_type[0].field[0].name = "another_name"
    kept = [file for file in files.file if file.name != "splitrail/trainer/v1/evaluation_service.proto"]
    now.write_bytes(descriptor_pb2.FileDescriptorSet(file=kept).SerializeToString())
    changes = release.breaking_changes(now, before)
    assert set(changes) == {"splitrail.metrics.v1", "splitrail.trainer.v1"}
    assert release.unnamed(changes, "## Unreleased\n- `splitrail.metrics.v1`: ...\n## 0.1\n- splitrail.trainer.v1") == [
        "splitrail.trainer.v1"
    ]
    assert release.unnamed(changes, "## Unreleased\n- `splitrail.metrics.v1`, `splitrail.trainer.v1`: renamed.") == []
    assert release.unnamed(changes, "## Unreleased\n- splitrail.metrics.v10 and splitrail.trainer.v1.") == [
        "splitrail.metrics.v1"
    ]


def test_only_public_packages_are_released():
    for file in descriptor_pb2.FileDescriptorSet.FromString(release.RELEASE.read_bytes()).file:
        assert not file.package.startswith("splitrail.internal.")
