"""Files that are whole or absent, folders held by one process, arrays remembered.

Start with `files` (read and write JSON, YAML, text, tables), then `lock` and `cache`. This room
knows paths and bytes, not what they mean; whoever writes a file writes it through here. It may
touch the file system, and of clipft only errors, config and progress.
"""
