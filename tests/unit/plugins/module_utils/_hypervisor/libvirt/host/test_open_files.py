# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who has a layer open: what another task reads for a moment holds up nothing, what stays open does."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host import open_files

_SET_LOCK = 37  # F_OFD_SETLK, fcntl(2)
_READER = "import sys, time; file = open(sys.argv[1]); print('open', flush=True); time.sleep(float(sys.argv[2]))"
_MAPPED = (
    "import mmap, sys, time; file = open(sys.argv[1]); seen = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ); "
    "file.close(); print('open', flush=True); time.sleep(float(sys.argv[2]))"
)


@pytest.fixture
def layer(tmp_path: Path) -> Iterator[str]:
    """Return an image that this process has open and locked, as QEMU has those of its VM."""
    file = tmp_path / "layer.qcow2"
    file.write_bytes(b"layer")
    with file.open("rb") as stream:
        fcntl.fcntl(stream, _SET_LOCK, struct.pack("@hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 100, 1, 0))
        yield str(file)


def reader(file: str, seconds: float, code: str = _READER) -> subprocess.Popen[str]:
    """Return a process that has the file open for some seconds."""
    process = subprocess.Popen([sys.executable, "-c", code, file, str(seconds)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "open\n"
    return process


def test_a_short_look_at_a_layer_is_waited_for(layer: str) -> None:
    # It is the time that is waited for: it ends by itself, within that of `still_open`.
    with reader(layer, 0.5):
        assert open_files.open_now([layer], but=os.getpid())
        assert open_files.locked([layer], but=os.getpid()) == {}


def test_who_keeps_a_layer_open_is_named(layer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_files, "_CLOSING_SECONDS", 0.3)
    with reader(layer, 30) as process:
        assert open_files.locked([layer], but=os.getpid()) == {layer: process.pid}
        process.kill()


def test_the_vm_itself_holds_up_nothing(layer: str) -> None:
    assert open_files.locked([layer], but=os.getpid()) == {}


def test_no_process_is_looked_at_for_a_file_that_the_kernel_says_is_open_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "overlay.qcow2"
    file.write_bytes(b"overlay")
    monkeypatch.setattr(open_files.os, "listdir", lambda _folder: pytest.fail("all processes were looked at"))
    assert open_files.still_open([str(file), str(tmp_path / "gone")]) == {}


@pytest.mark.parametrize("mode", ["rb", "r+b"])
def test_a_file_that_stays_open_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    monkeypatch.setattr(open_files, "_CLOSING_SECONDS", 0.0)
    file = tmp_path / "overlay.qcow2"
    file.write_bytes(b"overlay")
    with file.open(mode):
        assert open_files.still_open([str(file)]) == {str(file): os.getpid()}


def test_a_mapped_file_is_open_somewhere(tmp_path: Path) -> None:
    file = tmp_path / "overlay.qcow2"
    file.write_bytes(b"overlay")
    with reader(str(file), 30, _MAPPED) as process:
        assert not open_files._is_open_nowhere(str(file))
        process.kill()
    assert open_files._is_open_nowhere(str(file))


_LOCKER = """
import fcntl, os, struct, sys, time
file = open(sys.argv[1])
fcntl.fcntl(file, 37, struct.pack("@hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 100, 2, 0))
print('open', flush=True)
time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no process seen, as none of another host or outside a container is."""
    monkeypatch.setattr(open_files, "_CLOSING_SECONDS", 0.0)
    monkeypatch.setattr(open_files, "open_now", lambda _files, **_how: {})


@pytest.mark.usefixtures("elsewhere")
def test_who_keeps_a_lock_and_is_no_process_here_is_somebody(layer: str, tmp_path: Path) -> None:
    other = tmp_path / "other.qcow2"
    other.touch()
    assert open_files.locked([layer, str(other)]) == {layer: None}
    assert open_files.still_open([layer, str(other)]) == {layer: None}


@pytest.mark.usefixtures("elsewhere")
def test_whether_somebody_elsewhere_writes_is_told_by_what_is_locked(layer: str) -> None:
    """One byte is locked by who may read."""
    assert open_files.writers([layer]) == {}
    with open(layer, "rb") as stream:
        fcntl.fcntl(stream, _SET_LOCK, struct.pack("@hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 101, 1, 0))
        assert open_files.writers([layer]) == {layer: None}


@pytest.mark.usefixtures("elsewhere")
def test_the_vms_own_locks_are_told_from_those_of_somebody_elsewhere(tmp_path: Path) -> None:
    file = tmp_path / "layer.qcow2"
    file.write_bytes(b"layer")
    with reader(str(file), 30, _LOCKER) as own:
        try:
            assert open_files.locked([str(file)]) == {str(file): None}
            assert open_files.locked([str(file)], but=own.pid) == {}
            with file.open("rb") as stream:
                fcntl.fcntl(stream, _SET_LOCK, struct.pack("@hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 100, 1, 0))
                assert open_files.locked([str(file)], but=own.pid) == {str(file): None}
        finally:
            own.kill()


@pytest.mark.usefixtures("elsewhere")
def test_where_no_descriptor_may_be_looked_through_qemu_is_left_to_refuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(_pid: int) -> int:
        raise PermissionError

    file = tmp_path / "layer.qcow2"
    file.write_bytes(b"layer")
    monkeypatch.setattr(open_files.os, "pidfd_open", forbidden, raising=False)
    with reader(str(file), 30, _LOCKER) as own:
        assert open_files.locked([str(file)], but=own.pid) == {}
        own.kill()


def test_libvirts_lock_daemon_holds_up_nothing(layer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With lock_manager = "lockd" it has the active image of every running VM open and locked."""
    monkeypatch.setattr(open_files, "_CLOSING_SECONDS", 0.0)
    comm = "open('/proc/self/comm', 'w').write('virtlockd'); "
    with reader(layer, 30, comm + _READER) as daemon:
        try:
            assert open_files.open_now([layer], but=os.getpid()) == {}
            assert open_files.locked([layer], but=os.getpid()) == {}
        finally:
            daemon.kill()


@pytest.mark.usefixtures("elsewhere")
def test_a_lock_that_is_none_of_qemus_is_nobodys_use(tmp_path: Path) -> None:
    file = tmp_path / "layer.qcow2"
    file.touch()
    with file.open("rb") as stream:
        fcntl.fcntl(stream, _SET_LOCK, struct.pack("@hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 0, 1, 0))
        assert open_files.locked([str(file)]) == {}
