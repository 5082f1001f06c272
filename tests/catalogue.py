"""What several tests of `afina prep` share: lines to write and rows to read back."""

import json
from pathlib import Path


def joined(lines):
    return b"".join(line if line.endswith(b"\n") else line + b"\n" for line in lines)


def row(uid, title, content, **more):
    return json.dumps({"uid": uid, "title": title, "content": content, **more}).encode()


def rows_in(folder, split):
    shards = sorted(Path(folder).glob(f"{split}-*.jsonl"))
    return [json.loads(line) for shard in shards for line in shard.read_text(encoding="utf-8").splitlines()]


def shard_bytes(folder):
    return {path.name: path.read_bytes() for path in Path(folder).glob("*.jsonl")}
