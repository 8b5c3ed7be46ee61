# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records: what is written is what is read, whatever a killed run or another release left there."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.firmware_notes import (
    FirmwareCopy,
    FirmwareCopying,
    FirmwareReturn,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.journal import (
    RemoveJournal,
    RevertJournal,
    RevertPhase,
    TakeJournal,
    now,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_record import (
    Made,
    Record,
    Records,
    SnapshotRecord,
    snapshot_key,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.image_changes import Fingerprint, Identity
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Deadline
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.version import VERSION
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VmId

IMAGES = {"/vm/a": Fingerprint(Identity(1, 2, backing="/vm/b"), since=1, states=("s1 x",))}
DOMAIN = VmId("a", "some-uuid")
JOURNAL = RevertJournal(
    snapshot="s1",
    created_at="2026-11-23T12:00:00+00:00",
    started_at=now(),
    overlays={"vda": "/vm/c"},
    power="running",
    phase=RevertPhase.SWITCHING,
)


@pytest.fixture
def records(tmp_path: Path) -> Records:
    """Records in a directory that a lock has made."""
    records = Records(str(tmp_path / "records"))
    with records.lock(DOMAIN, Deadline(1)):
        pass
    return records


@pytest.mark.parametrize("durable", [True, False])
def test_what_is_written_is_read(records: Records, durable: bool) -> None:
    assert records.read(DOMAIN) == Record()
    notes = {snapshot_key("s1", None): SnapshotRecord(True, True, True, {"a": "b"}), "s2 x": SnapshotRecord()}
    record = Record(snapshots=notes, overlays=("/vm/o",), former=("/vm/f",), journal=JOURNAL)
    records.write(DOMAIN, record, durable)
    assert records.read(DOMAIN) == record
    assert set(record.making) == {"/vm/c"}
    assert records.read(VmId("b", "another")) == Record()
    assert Record().making == ()


def test_files_are_read_by_the_names_that_they_have_today(records: Records, tmp_path: Path) -> None:
    """A mount may show them elsewhere since they were noted."""
    files, made = ("/vm/o",), {"/vm/o": Made("vda", [1, 2], "/vm/a"), "/vm/p": Made("vda")}
    written = Record(overlays=files, former=files, kept=files, images=IMAGES, made=made, active={"vda": "/vm/o"})
    records.write(DOMAIN, written)
    found = Records(str(tmp_path / "records"), lambda path: path.replace("/vm/", "/data/")).read(DOMAIN)
    assert found.overlays == found.former == found.kept == ("/data/o",)
    assert found.made == {"/data/o": Made("vda", [1, 2], "/data/a"), "/data/p": Made("vda")}
    assert (found.active, found.images["/data/a"].identity.backing) == ({"vda": "/data/o"}, "/data/b")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[]",
        "null",
        '{"journal": {"kind": "take"}}',
        '{"images": {"/vm/a": {"since": 1}}}',
        '{"schema": "new"}',
        '{"snapshots": []}',
    ],
)
def test_a_broken_file(records: Records, tmp_path: Path, text: str) -> None:
    path = tmp_path / "records" / f"{DOMAIN.uuid}.json"
    path.write_text(text)
    with pytest.raises(KvmError) as caught:
        records.read(DOMAIN)
    assert caught.value.error_code == "record_unusable"
    assert f"mv {path} {path}.damaged" in caught.value.remedy
    assert path.read_text() == text


def test_what_an_older_record_does_not_have(records: Records, tmp_path: Path) -> None:
    key = snapshot_key("s1", "x")
    (tmp_path / "records" / f"{DOMAIN.uuid}.json").write_text(json.dumps({"snapshots": {key: {"quiesced": True}}}))
    assert records.read(DOMAIN) == Record(snapshots={key: SnapshotRecord(quiesced=True)})


def test_what_a_release_in_between_has_added(records: Records, tmp_path: Path) -> None:
    path = tmp_path / "records" / f"{DOMAIN.uuid}.json"
    records.write(
        DOMAIN, Record(snapshots={"s1 x": SnapshotRecord(serial=1)}, images=IMAGES, journal=JOURNAL, serial=1)
    )
    values = json.loads(path.read_text())
    assert values["schema"] == 2
    for place in (values, values["snapshots"]["s1 x"], values["journal"], values["images"]["/vm/a"]):
        place["new"] = 1
    path.write_text(json.dumps(values))
    assert records.read(DOMAIN) == Record({"s1 x": SnapshotRecord(serial=1)}, journal=JOURNAL, images=IMAGES, serial=1)


COPY = FirmwareCopy("/swtpm/web01.tpm.s1.permall", "permall", 10, 17, "d1ge5t", [42, 1.5])
RETURN = FirmwareReturn("/swtpm/4b1d/tpm2/tpm2-00.permall", "/new", "/was", {"/volatile": "/kept"})


@pytest.mark.parametrize(
    ("record", "schema"),
    [
        (Record(snapshots={"s1 x": SnapshotRecord(nvram=COPY)}), 2),
        (Record(snapshots={"s1 x": SnapshotRecord(), "s2 x": SnapshotRecord(tpm=COPY)}), 3),
        (Record(journal=TakeJournal("s1", tpm=FirmwareCopying("/a", "/b", "permall"))), 3),
        (Record(journal=RevertJournal("s1", tpm=RETURN)), 3),
        (Record(journal=RemoveJournal("s1")), 2),
    ],
)
def test_a_release_that_knows_no_tpm_refuses_a_record_with_one(
    records: Records, tmp_path: Path, record: Record, schema: int
) -> None:
    """It would lose the copy, or end a revert whose TPM is half put back; all other records it goes on reading."""
    records.write(DOMAIN, record)
    assert json.loads((tmp_path / "records" / f"{DOMAIN.uuid}.json").read_text())["schema"] == schema
    assert records.read(DOMAIN) == record


def test_what_a_later_release_wrote(records: Records, tmp_path: Path) -> None:
    path = tmp_path / "records" / f"{DOMAIN.uuid}.json"
    path.write_text('{"schema": 4, "written_by": "7.0.0", "snapshots": "another kind of thing"}')
    with pytest.raises(KvmError) as caught:
        records.read(DOMAIN)
    assert (caught.value.error_code, caught.value.details["written_by"]) == ("record_newer", "7.0.0")
    assert "Update limiquantix.kvm where Ansible runs" in caught.value.remedy


def test_what_earlier_releases_would_finish_by_half_is_kept_from_them(records: Records, tmp_path: Path) -> None:
    path = tmp_path / "records" / f"{DOMAIN.uuid}.json"
    for also, schema in (((), 2), ((("s2", None), ("s1", "2026-11-28T09:00:00+00:00")), 3)):
        record = Record(journal=RemoveJournal("s3", also=also))
        records.write(DOMAIN, record)
        assert json.loads(path.read_text())["schema"] == schema
        assert records.read(DOMAIN) == record
    operation = records.operation(DOMAIN, record)
    assert operation is not None
    assert operation.snapshots == ("s3", "s2", "s1")


def test_the_version_is_that_of_galaxy_yml() -> None:
    galaxy = Path(__file__).resolve().parents[6] / "galaxy.yml"
    if not galaxy.exists():
        pytest.skip("an installed collection has none")
    assert f"\nversion: {VERSION}\n" in galaxy.read_text()


def test_an_operation_and_how_far_it_is(records: Records) -> None:
    record = Record(journal=JOURNAL)
    records.note_percent(DOMAIN, 40)
    interrupted = records.operation(DOMAIN, record)
    assert interrupted is not None
    assert (interrupted.kind, interrupted.snapshot, interrupted.running, interrupted.percent) == (
        "revert",
        "s1",
        False,
        None,
    )
    with records.lock(DOMAIN, Deadline(1)):
        begun = records.operation(DOMAIN, record)
        assert begun is not None
        assert (begun.running, begun.percent) == (True, None)  # that was of the run before
        records.note_percent(DOMAIN, 40)
        running = records.operation(DOMAIN, record)
        assert running is not None
        assert (running.running, running.percent) == (True, 40)
        records.note_percent(DOMAIN, None)
        records.note_percent(DOMAIN, None)
        ended = records.operation(DOMAIN, record)
        assert ended is not None
        assert ended.percent is None
    assert records.operation(DOMAIN, Record()) is None


def test_a_percent_that_cannot_be_noted_stops_nobody(tmp_path: Path) -> None:
    Records(str(tmp_path / "none")).note_percent(DOMAIN, 1)


def test_whether_it_is_held_is_asked_without_holding(records: Records) -> None:
    assert not records.held(DOMAIN)
    assert not records.held(VmId("b", "another"))
    with records.lock(DOMAIN, Deadline(1)):
        assert records.held(DOMAIN)
        with pytest.raises(KvmError) as caught, records.lock(DOMAIN, Deadline(0)):
            pass
        assert (caught.value.error_code, caught.value.details["pid"]) == ("locked", str(os.getpid()))
    assert not records.held(DOMAIN)
