"""Pictures of products: what they look like, as vectors in the lake's table ``pictures``."""
