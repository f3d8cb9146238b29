"""The site: the reference of `jaxcnn` and the notebooks, as pages that need no network."""
