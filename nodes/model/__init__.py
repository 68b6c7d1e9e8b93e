"""What a loaded model has: its layers, and the LoRA that belongs to an adapter."""
