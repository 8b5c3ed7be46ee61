# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemd and OpenRC say of the service, and what they are told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.errors import NotServing
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.service import MARK, OpenRC, Systemd


class Init:
    """An init that answers by the words that are asked, and notes them."""

    def __init__(self, **answers: str) -> None:
        self.answers, self.asked, self.status = answers, list[str](), 0

    def __call__(self, words: Sequence[str]) -> tuple[int, str]:
        self.asked.append(" ".join(words))
        return self.status, next((said for key, said in self.answers.items() if key in words), "") + "\n"


def test_a_service_file_is_ours_by_its_mark(tmp_path: Path) -> None:
    file = tmp_path / "qx-node.service"
    file.write_text(f"[Unit]\n{MARK}\n")
    assert Systemd("qx-node", Init(FragmentPath=str(file))).is_ours()
    file.write_text(f"[Unit]\n\n\n{MARK}\n")
    assert not Systemd("qx-node", Init(FragmentPath=str(file))).is_ours()
    assert not Systemd("qx-node", Init(FragmentPath="")).is_ours()


def test_an_empty_text_is_no_file_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "qx-node"
    monkeypatch.setattr(OpenRC, "own_file", file)
    service = OpenRC("qx-node", Init())
    assert [service.differs(text) for text in (None, "", "ours")] == [False, False, True]
    service.write("ours", 0o700)
    assert (service.own_mode(), service.own_text()) == (0o700, "ours")
    assert [service.differs(text) for text in (None, "", "ours")] == [False, True, False]
    service.write("")
    assert (service.own_mode(), service.own_text()) == (None, None)


def test_a_masked_service_is_known_by_systemds_word() -> None:
    assert Systemd("qx-node", Init(LoadState="masked")).masked()
    assert not Systemd("qx-node", Init(LoadState="loaded")).masked()
    assert not OpenRC("qx-node", Init()).masked()


@pytest.mark.parametrize(
    ("drop_in", "overridden"),
    [
        ("[Service]\nExecStart=\nExecStart=/opt/other\n", True),
        ("[Service]\nExecStart=\nExecStart=/usr/local/bin/qx-node --port 1\n", False),
        ("[Service]\nEnvironment=A=b\n", False),
        ("[Service]\nExecStart=\n", False),
    ],
)
def test_a_drop_in_that_starts_another_program_is_told(tmp_path: Path, drop_in: str, overridden: bool) -> None:
    file = tmp_path / "own.conf"
    file.write_text(drop_in)
    service = Systemd("qx-node", Init(DropInPaths=f"{file} {tmp_path / 'gone.conf'}"))
    assert service.overridden("/usr/local/bin/qx-node") == (str(file) if overridden else None)


def test_a_command_that_fails_says_which_and_why() -> None:
    init = Init(restart="Job for qx-node.service failed.")
    init.status = 1
    with pytest.raises(NotServing, match=r"`systemctl restart qx-node.service` failed with status 1: Job for"):
        Systemd("qx-node", init).restart()


def test_a_service_that_crashed_is_stopped_and_forgotten_before_it_starts() -> None:
    init = Init()
    OpenRC("qx-node", init).restart()
    assert init.asked == ["rc-service qx-node stop", "rc-service qx-node zap", "rc-service qx-node start"]
