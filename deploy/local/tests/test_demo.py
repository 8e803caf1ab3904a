"""The demo works on what its own steps have made, whoever else imports and trains meanwhile."""

import json
import os
import sys
from pathlib import Path

import pytest
from splitrail.split.v1 import dataset_pb2, import_pb2
from splitrail.trainer.v1 import evaluation_pb2, run_pb2
from splitrail_client.cli import documents
from splitrail_client.transfer import ImportResult
from splitrail_local import demo

PROGRAM = """#!{python}
import json, sys
with open({calls!r}, "a") as calls:
    print(json.dumps(sys.argv[1:]), file=calls)
if sys.argv[-2:] == ["-o", "json"]:
    print(json.dumps({answers!r}[" ".join(sys.argv[1:3])]))
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with the command lines of a `splitrail` whose answers are neither the newest version nor the newest run."""
    version = dataset_pb2.DatasetVersion(dataset_name="cells", number=3, image_count=7)
    report = import_pb2.Import(version=version)
    evaluation = evaluation_pb2.Evaluation(
        run_reference="cells/8", number=2, result=evaluation_pb2.EvaluationResult(overall={"mAP50": 0.75})
    )
    answers = {
        "dataset import": documents.import_report(report, [], ImportResult(report, 0, 0)),
        "train data=cells@v3": documents.document(run_pb2.Run(reference="cells/8")),
        "eval run": documents.evaluation(evaluation),
    }
    program, calls = tmp_path / "splitrail", tmp_path / "calls"
    program.write_text(PROGRAM.format(python=sys.executable, calls=str(calls), answers=answers))
    program.chmod(0o755)
    monkeypatch.setattr(demo, "script", lambda name, distribution: program)
    return calls


def test_each_step_works_on_what_the_one_before_has_made(calls: Path, tmp_path: Path):
    steps = demo.Steps(dict(os.environ))
    (tmp_path / "cells").mkdir()
    assert demo.main_job(tmp_path, steps, tmp_path / "cells") == 0.75
    lines = [json.loads(line) for line in calls.read_text().splitlines()]
    assert [line[:3] for line in lines] == [
        ["dataset", "import", str(tmp_path / "cells")],
        ["split", "create", "cells@v3"],
        ["train", "data=cells@v3", "model=yolov8n"],
        ["run", "plots", "cells/8"],
        ["eval", "run", "cells/8"],
        ["eval", "get", "cells/8/eval/2"],
    ]
    assert list(steps.seconds) == ["import", "split", "train", "plots", "evaluate", "result"]
