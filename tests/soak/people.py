# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What everybody else does to a VM's disks, and what an operator does whom a refusal tells to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from .model import REGIONS, Choice
from .world import ROOT, Content, Disk, World

POOL_FOLDER = f"{ROOT}/pool"


class People(World):
    """The world, and those in it. Each step takes what it may have to choose."""

    count = 0
    saved: Optional[str] = None  # a definition as it was before a snapshot
    has_moved = False

    def virsh(self, *words: str) -> bool:
        """Run virsh as somebody else would; tell whether it went well, for not all that is tried can be done."""
        done = self.ask("native", words=list(words))
        self.tell(f"virsh {' '.join(words)}" + ("" if done["ok"] else f" (refused: {done['said'].strip()[-200:]})"))
        return bool(done["ok"])

    def qemu_img(self, *words: str) -> None:
        """Run qemu-img by hand."""
        self.tell(f"qemu-img {' '.join(words)}")
        self.ask("by_hand", words=list(words))

    def held(self, path: str) -> Content:
        """Return what an overlay holds."""
        content: Content = self.ask("survey", vm=self.vm, files=[[path, "qcow2"]])["contents"][path]
        return content

    def new_name(self, who: str) -> str:
        """Return a name that was never used."""
        self.count += 1
        return f"{who}{self.count}"

    def frozen(self, choice: Choice) -> Optional[list[str]]:
        """Pick an image that holds the state of a snapshot, and its format."""
        active = {disk.file for disk in (*self.main.values(), *self.others.values())}
        images = sorted(
            file for past in self.snapshots.values() for file in past.files.values() if file[0] not in active
        )
        return images[choice.any % len(images)] if images else None

    @property
    def plain(self) -> bool:
        """Whether the VM is on its newest images: else nobody could tell any more what is newest."""
        return "old definition" not in self.standing

    # Power

    def off(self) -> None:
        """Pull the plug, if it runs."""
        if self.on:
            self.must(self.virsh("destroy", self.vm), "destroy")
            self.on = False
            self.standing.pop("job", None)

    def start(self) -> bool:
        """Start it, if it is off; QEMU refuses where another VM writes to its images."""
        if not self.on and self.plain:
            self.on = self.virsh("start", self.vm)
            self.must(self.on or "rescue" in self.standing, "DOES NOT START")
        return self.on

    # What a refusal says

    def obey(self, remedy: str, name: str, details: dict[str, Any]) -> dict[str, Any]:
        if remedy == "accept":
            return {"accept_changed": True}
        if remedy == "put_disks_back":
            self._put_disks_back(name)
        elif remedy == "say_which_is_newest":
            self._say_which_is_newest(details["snapshot"])
        else:
            getattr(self, remedy)()
        self.seen(by_others=True)
        return {}

    def define_newest(self) -> None:
        """Define it on what it was on last."""
        if "old definition" in self.standing:
            self.ask("redefine", xml=self.standing.pop("old definition"))
            self.tell("virsh define NEWEST")
            self._have_disks_of_newest()

    def _have_disks_of_newest(self) -> None:
        """What was attached or detached meanwhile is as it was."""
        now = self.survey()["live"]
        for target in now.keys() - self.main:
            self.main[target] = disk = self.others.pop(f"detached {target}")
            disk.vm = self.vm
        for target in self.main.keys() - now:
            self.others[f"detached {target}"] = disk = self.main.pop(target)
            disk.vm = ""

    def _say_which_is_newest(self, snapshot: str) -> None:
        if "old definition" in self.standing:
            self.define_newest()
        else:  # what it is on, and the snapshot is void
            self.must(self.virsh("snapshot-delete", self.vm, snapshot, "--metadata"), "snapshot-delete")
            del self.snapshots[snapshot]

    def undefine_rescue(self) -> None:
        """Be done with the second VM."""
        if "rescue" in self.standing:
            self._undefine(self.standing.pop("rescue"))

    def abort_job(self) -> None:
        """End the copy that runs."""
        self.virsh("blockjob", self.vm, self.standing.pop("job"), "--abort")

    def _put_disks_back(self, name: str) -> None:
        """Attach what it had, detach what it had not; a disk that is another gets an overlay on what it was, and lies about."""
        self.off()
        past = self.snapshots[name]
        for target in sorted(set(self.main) - set(past.content)):
            self._detach(target)
        for target in sorted(set(past.content) - set(self.main)):
            self._attach(target)
        for target in sorted(past.content):
            if self.elsewhere(past, target):
                self._put_back(target, *past.files[target])

    def _put_back(self, target: str, base: str, base_format: str) -> None:
        path = f"{self.folder}/{self.new_name('put-back')}.qcow2"
        self.qemu_img("create", "-q", "-f", "qcow2", "-b", base, "-F", base_format, path)
        self.others[self.new_name("left")] = self.main[target]
        disks = {one: [disk.file, disk.format] for one, disk in self.main.items()}
        self.tell(f"virsh define, with {path} as {target}")
        self.ask("point", vm=self.vm, disks={**disks, target: [path, "qcow2"]})
        self.main[target] = Disk(path, "qcow2", self.held(path), self.vm, target)

    # Disks

    def detach(self, choice: Choice) -> None:
        """A disk is taken off, and lies about."""
        targets = sorted(set(self.main) - {"vda"})
        if targets and self.plain:
            self._detach(targets[choice.any % len(targets)])

    def attach(self, choice: Choice) -> None:
        """One comes back."""
        targets = sorted(disk.target for name, disk in self.others.items() if name.startswith("detached"))
        if targets and self.plain:
            self._attach(targets[choice.any % len(targets)])

    def attach_new(self, choice: Choice) -> None:
        """A new one is attached."""
        if "vdc" not in self.main and "detached vdc" not in self.others and self.plain:
            path, size = f"{self.folder}/{self.new_name('new')}.qcow2", 4 << 20
            self.qemu_img("create", "-q", "-f", "qcow2", path, str(size))
            self.others["detached vdc"] = Disk(path, "qcow2", [0, 0, 0, size], target="vdc")
            self._attach("vdc")

    def lend(self, choice: Choice) -> None:
        """A disk that lies about is attached at another VM."""
        lying = [disk for name, disk in self.others.items() if name.startswith("detached") and not disk.vm]
        if lying:
            disk = lying[choice.any % len(lying)]
            disk.vm = f"soak-other-{disk.target}"
            self._define(disk.vm, path=disk.file, format=disk.format)

    def _detach(self, target: str) -> None:
        self.off()
        self.must(self.virsh("detach-disk", self.vm, target, "--config"), "detach-disk")
        disk = self.main.pop(target)
        disk.vm, self.others[f"detached {target}"] = "", disk

    def _attach(self, target: str) -> None:
        self.off()
        disk = self.others.pop(f"detached {target}")
        if disk.vm:
            self._undefine(disk.vm)
        words = ["--driver", "qemu", "--subdriver", disk.format, "--config"]
        self.must(self.virsh("attach-disk", self.vm, disk.file, target, *words), "attach-disk")
        disk.vm, self.main[target] = self.vm, disk

    # Definitions

    def old_definition(self, choice: Choice) -> None:
        """A definition of before a snapshot is put back, from a backup or an editor that was left open."""
        if not (self.plain and self.saved):
            return
        # What is kept is put back on purpose: nobody can tell that from a mistake, and both disks stay whole.
        if any(one["file"] in self.saved for one in self.survey()["info"]["kept"]):
            return
        self.off()
        newest = self.ask("definition", vm=self.vm)["xml"]
        if self.ask("put_back", vm=self.vm, xml=self.saved)["done"]:
            self.tell("virsh define OLD")
            if self.snapshots or not self._holds_newest():
                self.standing["old definition"] = newest

    def _holds_newest(self) -> bool:
        """Whether nothing was written since, so that the images it is defined on hold the same as the newest ones.

        Of what was pulled into its overlay nobody can tell that.
        """
        found = self.survey()
        return all(
            found["contents"].get(found["defined"][target][0]) == disk.content
            and any(found["defined"][target][0] == layer for layer, _kind in self.chains[disk.file])
            for target, disk in self.main.items()
        )

    def rename(self, choice: Choice) -> None:
        """It gets another name: as virsh does it, which it does not where there are snapshots, or by hand."""
        name = "soak-renamed" if self.vm == "soak" else "soak"
        if not self.plain:
            return
        self.off()
        if self.snapshots or not self.virsh("domrename", self.vm, name):
            self._create_again(name, new_uuid=False, metadata=True)
        self.vm, self.saved = name, None

    def create_again(self, choice: Choice) -> None:
        """It is undefined and defined again: without its snapshots, with another UUID, or both."""
        if not self.plain:
            return
        self.off()
        new_uuid, metadata = ((True, False), (True, True), (False, False))[choice.any % 3]
        self._create_again(self.vm, new_uuid, metadata)
        self.saved = None
        self.snapshots = {name: past for name, past in self.snapshots.items() if metadata}
        for past in self.snapshots.values():
            past.proven = False

    def _create_again(self, name: str, new_uuid: bool, metadata: bool) -> None:
        self.tell(f"undefine {self.vm}, define {name}, new UUID: {new_uuid}, its snapshots' metadata: {metadata}")
        self.ask("create_again", vm=self.vm, name=name, new_uuid=new_uuid, metadata=metadata)

    def _define(self, vm: str, **disk: Any) -> None:
        self.tell(f"a VM {vm} on {disk}")
        self.ask("define", name=vm, disks=[disk])

    def _undefine(self, vm: str) -> None:
        self.tell(f"virsh destroy {vm}; virsh undefine {vm}")
        self.ask("undefine", name=vm)

    # Other VMs on its images

    def rescue(self, choice: Choice) -> None:
        """A second VM gets a frozen image as its disk, to write to or read only."""
        image = self.frozen(choice)
        if image and "rescue" not in self.standing:
            reads = choice.any % 3 == 0
            self._define("soak-rescue", path=image[0], format=image[1], readonly=reads)
            if not reads:
                self.standing["rescue"], self.rescued = "soak-rescue", image[0]

    def rescue_writes(self, choice: Choice) -> None:
        """It is started and writes; QEMU does not let it while the first one runs."""
        if "rescue" in self.standing and self.virsh("start", "soak-rescue"):
            self.tell(f"it writes {choice.pattern} at {choice.region}")
            self.ask("write", vm="soak-rescue", target="vda", region=choice.region, pattern=choice.pattern)

    def clone(self, choice: Choice) -> None:
        """A VM on an overlay on a frozen image, beside it or elsewhere."""
        folder = self.folder if choice.any % 2 else POOL_FOLDER
        if path := self._clone("clone", "soak-clone", folder, choice):
            self._define("soak-clone", path=path, format="qcow2")

    def clone_in_pool(self, choice: Choice) -> None:
        """One whose overlay is a volume of a pool."""
        if path := self._clone("volume", "soak-volume", POOL_FOLDER, choice):
            self._define("soak-volume", volume=path.rpartition("/")[2], format="qcow2")

    def clone_of_user(self, choice: Choice) -> None:
        """One of a user's session daemon, which does not run: its definition is a file."""
        if path := self._clone("user's", "soak-user", self.folder, choice):
            self.ask("session_definition", name="soak-user", path=path)

    def lone_clone(self, choice: Choice) -> None:
        """An overlay that no VM has yet."""
        self._clone("lone", "", self.folder, choice)

    def _clone(self, who: str, vm: str, folder: str, choice: Choice) -> str:
        image = self.frozen(choice)
        if not image or who in self.others:
            return ""
        path = f"{folder}/{self.new_name('clone')}.qcow2"
        self.tell(f"{who} clone: qemu-img create -b {image[0]} {path}")
        self.ask("overlay", path=path, base=image[0], base_format=image[1])
        content = self.held(path)
        self.others[who] = Disk(path, "qcow2", content, vm)
        return path

    def drop_other(self, choice: Choice) -> None:
        """A clone is not needed any more."""
        clones = sorted(name for name in self.others if not name.startswith(("detached", "left")))
        if clones:
            disk = self.others.pop(clones[choice.any % len(clones)])
            self.tell(f"{disk} goes")
            self.ask("drop", vm=disk.vm, path=disk.file)

    # Images by hand, and storage

    def write_image(self, disk: Disk, choice: Choice) -> bool:
        """Write to an image with qemu-io; QEMU's locks may not let one."""
        self.ask("later")
        where = {"region": choice.region, "pattern": choice.pattern}
        said = self.ask("write_image", path=disk.file, image_format=disk.format, **where)["said"]
        self.tell(
            f"qemu-io: {choice.pattern} to {disk.file} at {choice.region}" + (f" (refused: {said})" if said else "")
        )
        return not said

    def write_frozen(self, choice: Choice) -> None:
        """Somebody writes to a frozen image."""
        if image := self.frozen(choice):
            self.write_image(Disk(image[0], image[1], []), choice)

    def commit_by_hand(self, choice: Choice) -> None:
        """An overlay is committed, and emptied."""
        disk = pick(self.main, choice)
        if self.plain and len(self.chains[disk.file]) > 1:
            self.off()
            self.qemu_img("commit", "-q", "-f", disk.format, disk.file)

    def rebase_by_hand(self, choice: Choice) -> None:
        """The layer under the active one is taken into that."""
        disk = pick(self.main, choice)
        chain = self.chains[disk.file]
        # Of an overlay that was enlarged QEMU 5.2's rebase never ends.
        if self.plain and len(chain) > 2 and disk.content[3] == 4 << 20:
            self.off()
            self.qemu_img("rebase", "-q", "-f", disk.format, "-b", chain[2][0], "-F", chain[2][1], disk.file)
            # The definition may name the chain, as libvirt writes it there while the VM runs.
            self.ask("point", vm=self.vm, disks={one: [main.file, main.format] for one, main in self.main.items()})

    def restore_frozen(self, choice: Choice) -> None:
        """A frozen image is replaced with an equal copy: no damage."""
        if image := self.frozen(choice):
            self.off()
            self.tell(f"cp -p {image[0]} X; mv X {image[0]}")
            self.ask("restored", path=image[0])

    def move(self, choice: Choice) -> None:
        """The folder moves to another place, with a link in its old one."""
        if not self.has_moved and "rescue" not in self.standing:
            self.off()
            self.has_moved = True
            self.tell(f"mv {self.folder} {self.folder}-moved; ln -s {self.folder}-moved {self.folder}")
            self.ask("moved", vm="soak", folder=f"{self.folder}-moved")

    def copy_away(self, choice: Choice) -> None:
        """The disks are copied to another storage, chains and all, and the VM is defined on the copies."""
        if self.plain:
            self.off()
            folder = f"{ROOT}/{self.new_name('soak-copy')}"
            layers = {target: self.chains[disk.file] for target, disk in self.main.items()}
            self.tell(f"cp -a of the disks to {folder}, each on its copied base; virsh define")
            self.ask("point", vm=self.vm, disks=self.ask("copied", folder=folder, layers=layers)["disks"])
            self.saved = None  # it names the originals: nothing on the host says which of the two are newer

    def resize(self, choice: Choice) -> None:
        """A disk grows."""
        disk = pick(self.main, choice)
        size = disk.content[REGIONS] + (1 << 20)
        if not self.plain:
            return
        if not self.on:
            self.qemu_img("resize", "-q", "-f", disk.format, disk.file, str(size))
        elif not self.virsh("blockresize", self.vm, disk.target, f"{size}B"):
            return
        disk.content[REGIONS] = size


def pick(disks: Mapping[str, Disk], choice: Choice) -> Disk:
    """Return one of them."""
    return disks[sorted(disks)[choice.any % len(disks)]]
