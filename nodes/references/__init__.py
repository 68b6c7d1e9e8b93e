"""From pictures and faces to image tokens, and the nodes that make, keep and combine them."""
