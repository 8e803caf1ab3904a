"""The synchronous client is what the asynchronous one makes of it."""

import inspect
import subprocess
import sys
import typing
from pathlib import Path

import splitrail_client
from splitrail_client import AsyncClient, Client

ROOT = Path(__file__).parents[2]


def test_it_is_what_the_asynchronous_client_generates(tmp_path):
    subprocess.run([sys.executable, str(ROOT / "generate_sync.py"), str(tmp_path / "sync.py")], check=True)
    committed = Path(splitrail_client.__file__).with_name("sync.py")
    assert (tmp_path / "sync.py").read_text() == committed.read_text(), "run python clients/python/generate_sync.py"


def test_every_call_has_a_twin_of_the_same_parameters_and_help():
    calls = {
        name: member
        for name, member in inspect.getmembers(AsyncClient)
        if not name.startswith("_") and (inspect.iscoroutinefunction(member) or inspect.isasyncgenfunction(member))
    }
    assert {"import_dataset", "split", "train", "watch", "evaluate", "commit", "dataset"} < set(calls)
    for name, member in calls.items():
        twin = getattr(Client, name)
        assert inspect.signature(twin).parameters == inspect.signature(member).parameters, name
        assert inspect.getdoc(twin) == inspect.getdoc(member), name
        assert typing.get_type_hints(twin)["return"] is not inspect.Signature.empty
