"""A state whose record is damaged: what else tells of its stack, so that it can be stopped and removed."""

from pathlib import Path

from splitrail_local import postgres
from splitrail_local.errors import DamagedRecordError
from splitrail_local.state import State
from splitrail_local.supervisor import read_identity


def mend(root: Path) -> None:
    """Replace a damaged record by what is known without it. Only to clean the state: the servers have passwords that
    this record lacks.
    """
    try:
        State(root)
    except DamagedRecordError:
        (root / "stack.json").unlink()
    else:
        return
    state = State(root)
    if (identity := read_identity(state.root)) is not None:
        state.record.stack_id = identity.stack_id
        state.record.secrets["supervisor"] = identity.password
        folder = identity.control_socket.parent
        state.record.socket_folder = None if folder == state.sockets else str(folder)
    postgres.settle(state)
    state.save()
