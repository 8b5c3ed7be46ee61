# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Doing what a VM's layers need (`_rules/layer_steps.py`): merging and dropping until only needed ones are left.

Every step may be repeated, and each leaves libvirt's word and the files in agreement before the next begins.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Sequence
from typing import Callable

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libvirt_errors import (
    translated,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.layer_forest import Forest
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.flush import flush
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.file_identity import noted_as
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.open_files import written_by
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.real_paths import real_path
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.merge.live_commit import (
    catch_up,
    commit_block,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.merge.moved_disks import note_moving
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.merge.offline_commit import (
    commit_image,
    merge_failed,
    reads_the_same,
    rebase_unsafe,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.merge.open_layers import (
    open_by_others,
    refuse_locked,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.merge.qemu_monitor import (
    is_on,
    written,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.vm_handle import VmHandle
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import image_disks
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layer_steps import Drop, Merge
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Pace
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError


def carry_out(handle: VmHandle, forest: Forest, merging: bool, pace: Pace, started: Callable[[], None]) -> None:
    """Do all that is to do. ``started`` is called, perhaps often, when an image is about to become another one.

    A merge may take an hour: who uses the layers, or has built upon them, is looked at again after it, and who has them open
    before the next. What came up by then stays as it is (`Forest.late_notes`). Raises as `Hypervisor.remove` says.
    """
    merges = 0
    try:
        while (step := forest.layers.next_step(merging)) is not None:
            if isinstance(step, Drop):
                started()
                handle.forget_layers(step.file)
                handle.unlink([forest.spelled.get(step.file, step.file)])
                forest.layers.done(step)
            elif merges and (others := next(open_by_others(handle, (*step.gone, step.base)), None)):
                forest.leave(step.base, f"it was to be merged with {step.top}, and {others.why}")
            else:
                _merge(handle, forest, step, pace, started)
                merges += 1
        if not handle.removed:
            handle.forget_layers()  # of a version before this one
    finally:
        handle.note_percent(None)


def _merge(handle: VmHandle, forest: Forest, step: Merge, pace: Pace, started: Callable[[], None]) -> None:
    open_in = [target for target, top in forest.tops.items() if step.top in forest.chain(top)] if forest.running else []
    base = (forest.spelled[step.base], forest.format(step.base))
    used = bool(step.above) or step.top in forest.tops.values()
    handle.note_merging(step, used, noted_as(forest.spelled[step.base]))
    try:
        if open_in:
            commit_block(handle, open_in[0], step, pace, started)
        else:
            started()
            commit_image(handle.name, [forest.images[file] for file in step.gone], base[0], pace, handle.note_percent)
            note_moving(handle, [target for target, top in forest.tops.items() if top == step.top])
    except KvmError as error:
        refuse_locked(handle, step, error)
        raise
    in_chain = {file for target in open_in for file in forest.chain(forest.tops[target])}
    for overlay in step.above:
        if overlay not in in_chain:  # QEMU has rewritten what it has open
            rebase_unsafe(handle.name, forest.spelled[overlay], *base)
    _flush_merged(forest, step.base, step.above)
    forest.layers.done(step)
    handle.merged = True
    moved_tops = {target: base for target, top in forest.tops.items() if top == step.top}
    forest.tops.update(dict.fromkeys(moved_tops, step.base))
    # Of a running VM some disks may be in the definition only: somebody has detached them until its next start.
    moved_tops.update((target, base) for target, image in handle.tops() if real_path(image) == step.top)
    if moved_tops:
        # Libvirt has done so for a running VM, unless it was killed just then.
        _define(handle, moved_tops, (forest.spelled[step.top], forest.format(step.top)), step.gone)
    else:
        handle.forget_layers(*step.gone)
    with handle.seen_once():
        handle.agree(forest, dict.fromkeys(step.gone, base))
        forest.leave_to_newcomers(_unused(handle, step.gone), step.gone)
    handle.unlink(forest.spelled[file] for file in step.gone)


def _define(handle: VmHandle, images: dict[str, tuple[str, str]], before: tuple[str, str], gone: Sequence[str]) -> None:
    """Define disks on the image that took over from those that are ``gone``, highest first.

    Undo that where somebody has started the VM on the highest meanwhile.

    A disk that somebody has defined on a third image, for the VM's next start, stays there.
    """
    defined = {disk.target: real_path(str(disk.source)) for disk in image_disks(handle.definition())}
    images = {
        target: image for target, image in images.items() if defined.get(target) in (gone[0], real_path(image[0]))
    }
    handle.define(images, *gone)
    runs_on = {disk.target: disk.source for disk in image_disks(handle.xml())} if handle.active() else {}
    if any(runs_on.get(target) == before[0] for target in images):
        handle.define(dict.fromkeys(images, before))
        raise merge_failed(handle.name, "somebody started the VM while its layers were being merged")


def see_merged(
    handle: VmHandle,
    forest: Forest,
    merging: Sequence[str],
    left: Collection[str],
    pace: Pace,
    *,
    lost: bool,
    seen: bool,
) -> None:
    """Draw the conclusions from a merge of an earlier run that has ended, perhaps while not even libvirt was there to see it.

    ``left`` are the images that disks were on which the VM no longer has, or has elsewhere (`refuse_older`).
    ``seen``: this run has waited for its end, and need not prove it by reading both layers.
    ``lost``: the host has been booted since, and it is done once more: QEMU tells the layers above of their
    new base before it has flushed that. Raises ``merge_failed``, also where it has not ended after all, and ``timeout``.
    """
    top, base = map(real_path, merging)
    _see_pivot(handle, forest, top, base)
    if base not in forest.images or forest.layers.above(top) or top in {*forest.tops.values(), *left}:
        return  # it has not ended, and is begun anew
    chain = forest.chain(top)
    merged = chain[: chain.index(base)] if base in chain else [top]
    if lost:
        if top in forest.images and base not in forest.tops.values():  # nobody has written to that since
            _merge_once_more(handle, forest, (*merged, base), pace)
    elif not seen:
        _refuse_half_merged(handle, forest, top, base, pace)
    _flush_merged(forest, base, forest.layers.above(base))
    if forest.running:
        catch_up(handle)
    image = (forest.spelled[base], forest.format(base))
    handle.define({target: image for target, file in forest.tops.items() if file == base})
    handle.forget_layers(*merged)
    handle.agree(forest, dict.fromkeys(merged, image))


def _refuse_half_merged(handle: VmHandle, forest: Forest, top: str, base: str, pace: Pace) -> None:
    """Raise ``merge_failed`` where a merge looks as if it had ended, and it was somebody else who has moved the layers above
    (``virsh blockpull``). Asked where another snapshot is still noted to be in the layer that was merged: nobody else needs it.
    """
    if top not in forest.images or top not in forest.layers.frozen or base in forest.tops.values():
        return
    above, below = forest.images[top], forest.images[base]
    if reads_the_same(handle.name, above, below, pace):
        return
    once_more = shlex.join(["qemu-img", "commit", "-d", "-f", above.format, "-b", below.file, above.file])
    raise KvmError(
        "merge_failed",
        f"The merge of {above.file} of {handle.name} into {below.file} was interrupted. Nothing is based on {above.file} any "
        f"more, but {below.file} does not have all of its data: somebody moved the layers, such as with virsh blockpull.",
        f"No file was deleted. If nobody has written to {below.file} since, shut the VM down and end the merge: {once_more}. "
        "Then run the task again.",
    )


def _flush_merged(forest: Forest, base: str, above: Iterable[str]) -> None:
    """Have on its disk what a merge has written: the layer that holds the same is deleted next.

    QEMU flushes neither what it has merged nor the header that names the new base, before it says that it has (seen with 7.2:
    a power cut after the deletion lost a snapshot's state).
    """
    flush(*(forest.spelled[file] for file in (base, *above)))


def _merge_once_more(handle: VmHandle, forest: Forest, chain: Sequence[str], pace: Pace) -> None:
    *layers, base = (forest.images[file] for file in chain)
    top = layers[0]
    if not forest.running:
        commit_image(handle.name, layers, forest.spelled[chain[-1]], pace, handle.note_percent)
    elif not reads_the_same(handle.name, top, base, pace):
        raise KvmError(
            "merge_failed",
            f"The host of {handle.name} went down while {top.file} was merged into {base.file}. A part did not get there.",
            f"No file was deleted: {top.file} has all of its data. Shut the VM down, then run the task again to merge once more.",
        )


def _see_pivot(handle: VmHandle, forest: Forest, top: str, base: str) -> None:
    """Raise ``pivot_unseen`` where QEMU has left the merged layer and libvirt, killed just then, does not know.

    At the VM's next start it would go on from that layer, as old as it is then: its definition is put right. Libvirt 11.3
    "drops" a job that it finds ended, keeps the layer open and believes for ever that the disk is being merged. Where
    libvirt has lost the VM altogether, the definition is all that can be put right (see `refuse_writers`).
    """
    targets = [target for target, file in forest.tops.items() if file == top]
    if not targets or base not in forest.images:
        return
    with translated(handle.name, "asking where it writes"):
        files = written(handle.name, handle.native) if forest.running else written_by(handle.id.uuid, top, base)
        if files is None or base not in files:
            return
        if top in files and not (forest.running and is_on(handle.native, base)):
            return
    image = (forest.spelled[base], forest.format(base))
    handle.define(dict.fromkeys(targets, image))
    if not forest.running:
        return
    raise KvmError(
        "pivot_unseen",
        f"{handle.name} runs on {base}, into which its layer was merged, but libvirt was killed at that "
        f"moment and says that it is on {top}.",
        "Its data is safe, and its definition is right for the next start. Shut it down and start it, "
        "then run the task again.",
    )


def _unused(handle: VmHandle, files: Collection[str]) -> Forest:
    """Read everything once more before files that held data are deleted, and return it. Raises ``verification_failed``."""
    forest = handle.survey()
    layers = forest.layers
    for file in files:
        above = sorted({*layers.above(file)}.difference(files))
        if file in layers.active or file in layers.frozen or above:
            raise KvmError(
                "verification_failed",
                f"{file} of {handle.name} is still in use by {' and '.join(above) or 'the VM'} after its data was merged.",
                "No file was deleted. Look with vm_snapshot_info and at libvirt's log.",
            )
    return forest
