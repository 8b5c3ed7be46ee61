# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes and reads a number in a TPM (its NV memory), by TPM 2.0 commands to a swtpm that it starts: runs on the host.

tpm_nv.py DIRECTORY              print the number that the state in the directory holds
tpm_nv.py DIRECTORY NUMBER       write it; a state is made where there is none
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import tempfile
import time

OWNER, INDEX, BYTES = 0x40000001, 0x01500016, 8
PASSWORD = struct.pack(">IIHBH", 9, 0x40000009, 0, 0, 0)  # an empty one
OWNER_READS_AND_WRITES = 0x02020002  # without a lock-out
NONE_YET, DEFINED = 0x18B, 0x14C  # TPM_RC_HANDLE of the first handle, TPM_RC_NV_DEFINED


class Tpm:
    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        for _again in range(100):
            try:
                self.socket.connect(path)
                return
            except OSError:
                time.sleep(0.05)
        raise SystemExit("swtpm does not answer")

    def ask(self, code: int, body: bytes, tag: int = 0x8002) -> tuple[int, bytes]:
        self.socket.sendall(struct.pack(">HII", tag, 10 + len(body), code) + body)
        answer = self.socket.recv(4096)
        return struct.unpack(">I", answer[6:10])[0], answer[10:]

    def must(self, code: int, body: bytes) -> bytes:
        result, answer = self.ask(code, body)
        if result:
            raise SystemExit(f"command {code:#x} failed: {result:#x}")
        return answer

    def write(self, number: int) -> None:
        public = struct.pack(">IHIHH", INDEX, 0xB, OWNER_READS_AND_WRITES, 0, BYTES)
        define = struct.pack(">I", OWNER) + PASSWORD + struct.pack(">HH", 0, len(public)) + public
        assert self.ask(0x12A, define)[0] in (0, DEFINED)
        data = struct.pack(">HQH", BYTES, number, 0)
        self.must(0x137, struct.pack(">II", OWNER, INDEX) + PASSWORD + data)

    def read(self) -> int:
        body = struct.pack(">II", OWNER, INDEX) + PASSWORD + struct.pack(">HH", BYTES, 0)
        result, answer = self.ask(0x14E, body)
        if result == NONE_YET:
            return 0
        assert result == 0, hex(result)
        return int(struct.unpack(">Q", answer[6:14])[0])


def main(directory: str, number: str = "") -> None:
    with tempfile.TemporaryDirectory() as scratch:
        path = os.path.join(scratch, "tpm")
        where = ["--tpmstate", f"dir={directory}", "--server", f"type=unixio,path={path}"]
        words = ["swtpm", "socket", "--tpm2", *where, "--flags", "not-need-init,startup-clear"]
        emulator = subprocess.Popen(words)
        try:
            tpm = Tpm(path)
            if number:
                tpm.write(int(number))
            print(tpm.read())
        finally:
            tpm.socket.close()
            emulator.kill()  # each answer came after its state was on the disk
            emulator.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
