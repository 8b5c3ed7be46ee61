"""The commands of `dev/lab/lab`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Optional

from . import can_run, hosts, lifecycle, ssh, status
from .commands import LabError
from .host_table import HOSTS, USUAL, HostSpec, named


def _only(options: argparse.Namespace) -> list[HostSpec]:
    return [named(name) for name in options.only.split(",")] if options.only else []


def _up(options: argparse.Namespace) -> None:
    obstacle = can_run.obstacle()
    if obstacle:
        raise LabError(f"this machine cannot run the lab: {obstacle}")
    with lifecycle.alone():
        lifecycle.up(_only(options) or USUAL)
    status.show()


def _down(options: argparse.Namespace) -> None:
    with lifecycle.alone():
        lifecycle.down(_only(options) or HOSTS)


def _status(_options: argparse.Namespace) -> None:
    status.show()


def _can_run(_options: argparse.Namespace) -> None:
    obstacle = can_run.obstacle()
    if obstacle:
        raise LabError(f"this machine cannot run the lab: {obstacle}")
    print("this machine can run the lab")


def _reset(options: argparse.Namespace) -> None:
    spec = named(options.host)
    lifecycle.need(spec)
    hosts.on_host(spec, "reset", *options.vm)


def _fleet(options: argparse.Namespace) -> None:
    spec = named(options.host)
    lifecycle.need(spec)
    hosts.on_host(spec, "fleet", "0" if options.off else str(options.count))


def _ssh(options: argparse.Namespace) -> None:
    spec = named(options.host)
    lifecycle.need(spec)
    os.execvp("ssh", [*ssh.command(spec.name), *options.command])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lab", description="Real hypervisors on this machine, for tests.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    up = commands.add_parser("up", help="start what is not running; the first time builds images, a minute or two")
    up.add_argument("--only", metavar="HOST,…", help="these hosts alone; hv-metal and hv-metal13 are started only so")
    up.set_defaults(action=_up)
    down = commands.add_parser("down", help="end everything; only the cached images stay")
    down.add_argument("--only", metavar="HOST,…", help="these hosts alone; the others go on")
    down.set_defaults(action=_down)
    commands.add_parser("status", help="hosts, versions, VMs").set_defaults(action=_status)
    commands.add_parser("can-run", help="exit 0 when this machine can run the lab").set_defaults(action=_can_run)

    reset = commands.add_parser(
        "reset", help="make the VMs named anew; without a name the whole host, other VMs and files go"
    )
    reset.add_argument("host", metavar="HOST")
    reset.add_argument("vm", metavar="VM", nargs="*")
    reset.set_defaults(action=_reset)

    fleet = commands.add_parser("fleet", help="tiny running VMs tiny01 … for measuring")
    fleet.add_argument("host", metavar="HOST")
    fleet.add_argument("--count", type=int, default=20)
    fleet.add_argument("--off", action="store_true", help="remove them")
    fleet.set_defaults(action=_fleet)

    shell = commands.add_parser("ssh", help="a shell on a host, or one command")
    shell.add_argument("host", metavar="HOST")
    shell.add_argument("command", nargs=argparse.REMAINDER)
    shell.set_defaults(action=_ssh)
    return parser


def main(arguments: Optional[Sequence[str]] = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        options.action(options)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    return 0
