"""What `jaxcnn bench` runs: the table of cases, their programs here and in PyTorch, the clock."""
