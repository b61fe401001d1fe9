"""The model, one file per box: vision, connector, attention, the whole; its presets and its layouts on disk."""
