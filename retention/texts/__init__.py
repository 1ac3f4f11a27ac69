"""What customers write: embeddings, mood, themes and quotes."""
