"""What customers write, and what people say."""
