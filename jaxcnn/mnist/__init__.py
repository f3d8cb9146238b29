"""The application: handwritten digits, the network of the post, its trainer and its pictures."""
