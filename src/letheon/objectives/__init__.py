"""One file per paper: an unlearning loss with its data needs and its state."""
