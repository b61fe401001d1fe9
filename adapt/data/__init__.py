"""From chat JSONL to batches: tiling, template, index, mixture, plan, packing, loader."""
