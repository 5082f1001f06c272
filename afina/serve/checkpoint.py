"""Moved to `afina.chat.checkpoint`."""

from afina.chat.checkpoint import Checkpoint, load_checkpoint, save_chat_gpt  # noqa: F401
