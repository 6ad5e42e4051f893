"""The log's files, as `store/FORMAT.md` describes them, read to the last record.

Checksums are not checked: `lifeline verify` does, and what is damaged is another test's.
"""

import pathlib
import struct

HEADER_BYTES = 4096
FRAME = struct.Struct("<IIQQIIIB3x")
RECORDS = {1, 2}


def records(folder):
    """All records: (offset, time in nanoseconds since 1970, payload), oldest first."""
    for segment in sorted(pathlib.Path(folder).glob("*.segment")):
        held = segment.read_bytes()
        at = HEADER_BYTES
        while at + FRAME.size <= len(held):
            _, size, offset, time, _, _, _, kind = FRAME.unpack_from(held, at)
            if kind == 0:
                break  # Space that is reserved.
            payload = held[at + FRAME.size : at + FRAME.size + size]
            at += FRAME.size + (size + 7) // 8 * 8
            if kind in RECORDS:
                yield offset, time, payload
