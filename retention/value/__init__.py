"""What customers will buy and what that is worth: BG/NBD and Gamma-Gamma, our own, vectorised."""
