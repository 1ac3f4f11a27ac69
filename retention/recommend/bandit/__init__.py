"""Which list and which offer wins a customer back: drawn with logged chances, judged off-policy before it may act."""
