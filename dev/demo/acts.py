"""The acts of the demo, each with its table."""

from __future__ import annotations

import time

from demo import guests
from demo.stage import DEMO, DEV, DemoError, Stage, title
from demo.table import failed, refusals, removed, reverted, taken

PAGE = DEV.parent / ".cache" / "fleet.html"


def show(stage: Stage) -> None:
    """The acts. What shows something else than it should must not look like a demo that went well."""
    name = time.strftime("demo-%H%M%S", time.gmtime())
    write(stage, "release 1, which works")
    take(stage, name)
    refuse_memory(stage, name)
    revert(stage, name)
    remove(stage, name)
    take_group(stage, f"{name}-group")
    upgrade(stage, f"{name}-upgrade")
    report(stage)


def take(stage: Stage, name: str) -> None:
    title("1. A snapshot of every VM on every hypervisor")
    results = stage.play("snapshot", {"snapshot_name": name, "snapshot_memory": "no"})
    title("What was taken where")
    print("\n".join((*taken(results), *refusals(results))))
    if any(failed(result) or not result["vms"] for result in results):
        raise DemoError("not every VM has its snapshot")
    if not any(vm["vm"] == "tsc01" and vm["disk_only"] for result in results for vm in result["vms"]):
        raise DemoError("no hypervisor has tsc01, the VM with invtsc")


def refuse_memory(stage: Stage, name: str) -> None:
    title("2. The same with memory, of the VM whose CPU has invtsc")
    wish = {"snapshot_name": f"{name}-memory", "snapshot_memory": "yes", "snapshot_vms": "tsc01"}
    results = stage.play("snapshot", wish)
    title("What was refused, and why")
    print("\n".join(refusals(results)))
    for result in results:
        if any(vm["error_code"] != "memory_blocked" for vm in result["vms"]):
            raise DemoError(f"{result['host']} did not refuse the memory of tsc01")


def revert(stage: Stage, name: str) -> None:
    title("3. web01 is upgraded, the upgrade is bad, and it goes back")
    write(stage, "release 2, which is broken")
    results = stage.play("revert", {"snapshot_name": name, "snapshot_vms": "web01", "snapshot_confirm": "yes"})
    title("What was reverted where")
    print("\n".join((*reverted(results), *refusals(results))))
    if any(failed(result) or not result["changed"] for result in results):
        raise DemoError("not every web01 was reverted")
    read(stage, "release 1, which works")


def remove(stage: Stage, name: str) -> None:
    title("4. The snapshots have done their work, and are removed while the VMs run")
    results = stage.play("remove", {"snapshot_name": name, "snapshot_vms": "*"})
    title("What was removed where")
    print("\n".join((*removed(results), *refusals(results))))
    if any(failed(result) for result in results) or not all(vm["removed"] for one in results for vm in one["vms"]):
        raise DemoError("not every snapshot was removed")
    read(stage, "release 1, which works")


def take_group(stage: Stage, name: str) -> None:
    title("5. An application on three hypervisors, at one moment: no db01 runs while the disk of another is switched")
    wish = {"snapshot_name": name, "snapshot_vms": "db01", "snapshot_max_hold": "10"}
    if stage.run("snapshot_group", wish, stage.folder / "group"):
        raise DemoError("the group was not taken at one moment")
    if stage.run("remove_group", {"snapshot_name": name, "snapshot_vms": "db01"}, stage.folder / "group"):
        raise DemoError("the group was not removed")


def upgrade(stage: Stage, name: str) -> None:
    title("6. The role guarded_change: an upgrade whose check fails is undone by itself")
    results = stage.play(str(DEMO / "upgrade" / "upgrade.yml"), {"demo_name": name})
    runs = [one for result in results for one in result.get("results", ())]  # the role's tasks go over hypervisors
    if not any("reverted" in vm["msg"] for one in runs for vm in one.get("vms", ())):
        raise DemoError("the broken upgrade was not undone")
    print("\nThe run failed, as it should: the check did. web01 is as it was.")
    read(stage, "release 1, which works")


def report(stage: Stage) -> None:
    title("7. One page shows the whole fleet, and whether something needs a hand")
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.unlink(missing_ok=True)
    if stage.run("report", {"report_dest": str(PAGE)}, stage.folder / "looked") or not PAGE.exists():
        raise DemoError("the page was not made")
    print(f"Open it in a browser: {PAGE}")


def write(stage: Stage, text: str) -> None:
    """Change web01 from inside, where it has an inside."""
    if not stage.real:
        print(f"(Here {guests.FILE} of web01 would become: {text}. Mock guests have no files.)")
        return
    for name, said in guests.write(text).items():
        print(f"{guests.FILE} of web01 on {name}: {said}")


def read(stage: Stage, expected: str) -> None:
    """Show what web01 says of itself from inside, where it has an inside."""
    print()
    for name, said in (guests.read() if stage.real else {}).items():
        print(f"{guests.FILE} of web01 on {name}: {said}")
        if said != expected:
            raise DemoError(f"web01 on {name} does not hold what it held before")
