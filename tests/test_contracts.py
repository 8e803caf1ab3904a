"""The contracts: lint, generated code as committed, names that every language can hold, documents that name real tests."""

import filecmp
import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from google.protobuf.descriptor import FieldDescriptor
from splitrail.auth.v1 import access_pb2
from splitrail.errors.v1 import error_reason_pb2
from splitrail.split.v1 import import_pb2
from splitrail_client import source
from splitrail_client.cli import data
from splitrail_client.vocabulary import words
from splitrail_metrics import catalogue
from splitrail_pod.exchange import messages
from splitrail_split.formats import images
from splitrail_split.imports import sources

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, cwd=PROTO, capture_output=True, text=True, check=False, timeout=120)


def files(folder: Path) -> set[Path]:
    return {
        path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }


def test_generated_code_is_what_the_protos_say(tmp_path):
    done = run(sys.executable, "generate.py", str(tmp_path / "python"))
    assert done.returncode == 0, done.stderr
    fresh = files(tmp_path / "python")
    assert fresh == files(PROTO / "gen" / "python")
    _, differing, errors = filecmp.cmpfiles(
        tmp_path / "python", PROTO / "gen" / "python", [str(path) for path in fresh], shallow=False
    )
    assert not differing, "run `make proto` and commit the result"
    assert not errors


@pytest.mark.parametrize(
    "arguments",
    [("lint",), ("format", "--diff", "--exit-code", "api"), ("format", "--diff", "--exit-code", "internal")],
)
def test_buf_is_content(arguments):
    done = run(str(Path(sys.executable).parent / "buf"), *arguments)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_reason_is_raised_somewhere():
    """A reason that nobody raises is a promise that clients would wait for in vain."""
    sources = [
        path
        for folder in ("services", "deploy/local/src")
        for path in (ROOT / folder).rglob("*.py")
        if "tests" not in path.parts
    ]
    sources += [path for path in (ROOT / "gateway").iterdir() if path.suffix in {".lua", ".j2"}]
    text = "\n".join(path.read_text() for path in sources)
    names = [name.removeprefix("ERROR_REASON_") for name in error_reason_pb2.ErrorReason.keys()]  # noqa: SIM118 - an enum wrapper
    assert [
        name for name in names if not re.search(rf"\b(ERROR_REASON_)?{name}\b", text) and name != "UNSPECIFIED"
    ] == []


def test_what_pods_measure_is_in_the_table_of_metrics():
    measured = set(get_args(messages.Metric))
    assert measured <= {metric.key for metric in catalogue.METRICS}


def public_methods():
    generated = PROTO / "gen" / "python"
    modules = [
        path.relative_to(generated) for path in generated.rglob("*_service_pb2.py") if "internal" not in path.parts
    ]
    found = [importlib.import_module(".".join(path.with_suffix("").parts)) for path in modules]
    return [
        method
        for module in found
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    ]


def requests_of(*verbs: str):
    return [method.input_type for method in public_methods() if method.name.startswith(verbs)]


def test_every_mutation_takes_a_request_id():
    editors = [
        method
        for method in public_methods()
        if method.GetOptions().Extensions[access_pb2.access].role >= access_pb2.ROLE_EDITOR
    ]
    # CheckAssets changes nothing that a caller sees: it keeps what is there a little longer.
    assert [method.name for method in editors if "request_id" not in method.input_type.fields_by_name] == [
        "CheckAssets"
    ]


def test_every_delete_can_be_repeated():
    deletes = [
        one for one in requests_of("Delete") if one.name != "DeleteAssetsRequest"
    ]  # a batch, which ignores what is not there
    assert len(deletes) >= 4
    assert [one.full_name for one in deletes if "allow_missing" not in one.fields_by_name] == []


def test_every_list_is_paged():
    lists = [method for method in public_methods() if method.name.startswith(("List", "Find", "Compare", "Diff"))]
    assert len(lists) >= 14
    for method in lists:
        assert {"page_size", "page_token"} <= set(method.input_type.fields_by_name), method.full_name
        assert "next_page_token" in method.output_type.fields_by_name, method.full_name


def public_messages():
    """Every message of the public packages."""
    found = {}

    def walk(message):
        if message.full_name not in found and message.full_name.startswith("splitrail."):
            found[message.full_name] = message
            for field in message.fields:
                if field.message_type:
                    walk(field.message_type)

    for method in public_methods():
        walk(method.input_type)
        walk(method.output_type)
    return list(found.values())


def test_counts_are_numbers_in_json():
    """64-bit integers are strings in ProtoJSON: only what can be large has them."""
    large = {FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_UINT64}
    wide = {field.name for message in public_messages() for field in message.fields if field.type in large}
    assert wide == {"seq", "after_seq", "cursor", "size_bytes", "seed"}


def test_names_that_some_language_keeps_for_itself():
    """Java and C++ keep some words, and in C# a class has no member of its own name."""
    kept = {
        "import",
        "final",
        "class",
        "package",
        "default",
        "public",
        "private",
        "new",
        "delete",
        "operator",
        "namespace",
        "template",
        "abstract",
    }
    for message in public_messages():
        for field in message.fields:
            assert field.name not in kept, field.full_name
            assert "".join(word.capitalize() for word in field.name.split("_")) != message.name, field.full_name


@pytest.mark.parametrize(("document", "heading", "least"), [("ARCHITECTURE.md", "## Invariants", 9)])
def test_documents_name_tests_that_exist(document, heading, least):
    """Each promise names its test as `file::test`."""
    named = re.findall(r"`([\w/.-]+\.py)::(\w+)`", (ROOT / document).read_text().split(heading, 1)[1])
    assert len(named) >= least
    for path, name in named:
        assert re.search(rf"^\s*(async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE), (
            f"{path} has no {name}"
        )


@pytest.mark.parametrize(
    ("ours", "python", "go", "java"),
    [
        (images.EXTENSIONS, source.IMAGE_EXTENSIONS, "imageEndings", "IMAGES"),
        (sources.ANNOTATION_EXTENSIONS, source.ANNOTATION_EXTENSIONS, "annotationEndings", "ANNOTATIONS"),
    ],
)
def test_clients_send_the_kinds_of_files_that_imports_read(ours, python, go, java):
    clients = ROOT / "clients"
    in_go = re.search(rf"\b{go} *= \[\]string{{([^}}]*)}}", (clients / "go" / "imports.go").read_text())
    in_java = re.search(
        rf"\b{java} = Set.of\(([^)]*)\)",
        (clients / "java/src/main/java/dev/splitrail/client/FolderScan.java").read_text(),
    )
    assert python == ours
    assert {f".{name}" for name in re.findall(r'"\.?(\w+)"', in_go[1])} == ours
    assert {f".{name}" for name in re.findall(r'"\.?(\w+)"', in_java[1])} == ours


def test_documents_name_every_import_format():
    readme, command = (ROOT / "README.md").read_text(), data.import_.help
    for format_ in words(import_pb2.SourceFormat):
        name = format_.replace("_", " ")
        assert name in readme.lower(), f"README.md does not name {name}"
        assert name in command.lower(), f"the help of `splitrail dataset import` does not name {name}"
