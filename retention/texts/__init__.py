"""What customers write, and what people say: embeddings, mood, themes, quotes and speech."""
