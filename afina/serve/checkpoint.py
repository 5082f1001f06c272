"""Moved to `afina.chat.checkpoint`; the old name stays for one release."""

from afina.chat.checkpoint import Checkpoint, load_checkpoint, save_chat_gpt  # noqa: F401
