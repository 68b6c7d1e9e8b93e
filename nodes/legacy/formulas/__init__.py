"""The arithmetic of older packs, free of ComfyUI."""
