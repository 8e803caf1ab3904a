"""`python -m splitrail_local <up|down|status|clean|demo>`."""

# ruff: noqa: T201 - a command prints

import argparse
import os
import sys
from pathlib import Path

from splitrail_local import recovery
from splitrail_local.errors import StackError
from splitrail_local.stack import PARTS, Stack
from splitrail_local.state import PORT_NAMES, port_variable

STARTING = ("up", "demo")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 1 when it failed, with a message on stderr."""
    options = _parser().parse_args(arguments)
    folder = Path(os.environ.get("SPLITRAIL_STATE") or ".splitrail")
    if options.command not in STARTING and not (folder / "stack.json").exists():
        print(f"nothing was started in {folder.absolute()}")
        return 0 if options.command != "status" else 1
    try:
        if options.command == "clean":
            recovery.mend(folder)
        stack = Stack(folder)
        match options.command:
            case "up":
                up(stack, options.only)
            case "down":
                print("stopped" if stack.down() else "nothing was running")
            case "status":
                return status(stack)
            case "demo":
                from splitrail_local.demo import demo  # noqa: PLC0415 - the client and the images' library are slow to load

                demo(stack, lambda: up(stack), options.data, options.ci)
            case "clean":
                stack.clean()
                print(f"removed {stack.state.root}")
    except StackError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def up(stack: Stack, only: list[str] | None = None) -> None:
    """Start the stack and say where it is."""
    chosen = {name: port for name in PORT_NAMES if (port := _port(port_variable(name)))}  # 0 chooses none
    started = stack.up(
        only=only,
        gateway_port=_port("SPLITRAIL_PORT"),
        internal_ports=chosen,
        say=lambda line: print(line, file=sys.stderr),
    )
    what = "the embedded stack" if only is None else ", ".join(only)
    gateway = only is None or "envoy" in only
    place = f" at {stack.state.gateway_url}" if gateway else ""
    print(f"{what} {'runs' if started else 'was already running'}{place}; state and logs in {stack.state.root}")
    if gateway:
        print(f"the web page: {stack.state.page_address}")


def status(stack: Stack) -> int:
    """Print each part's state; 0 when all run."""
    processes = stack.status()
    for name in PARTS:
        process = processes.get(name)
        print(f"{name:<9} {'STOPPED' if process is None else f'{process.state:<9} {process.description}'}")
    return 0 if processes and all(process.state == "RUNNING" for process in processes.values()) else 1


def _port(variable: str) -> int | None:
    text = os.environ.get(variable)
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise StackError(f"{variable}={text} is not a port: give a number from 1 to 65535, or 0 for a free one.")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    description = "The embedded stack. Its state is in $SPLITRAIL_STATE (.splitrail), its gateway listens on $SPLITRAIL_PORT (8080; 0: a free one)."
    others = f"The other ports are free ones, or those that these variables choose: {', '.join(map(port_variable, PORT_NAMES))}."
    parser = argparse.ArgumentParser(prog="python -m splitrail_local", description=description, epilog=others)
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("up", help="start everything and wait until it is healthy")
    start.add_argument(
        "--only",
        type=lambda text: text.split(","),
        help=f"start these parts only, comma-separated, of {', '.join(PARTS)}",
    )
    commands.add_parser("down", help="stop everything")
    commands.add_parser("status", help="what runs")
    job = commands.add_parser("demo", help="start everything and run the main job; stop at Ctrl-C")
    job.add_argument("--data", type=Path, help="a folder of images with annotations; default: generated shapes")
    job.add_argument("--ci", action="store_true", help="stop at once when done; the last line is the test mAP50")
    commands.add_parser("clean", help="stop everything and remove the state, stored images and runs included")
    return parser


if __name__ == "__main__":
    sys.exit(main())
