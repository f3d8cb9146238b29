"""The site: the reference of `jaxcnn` and the notebooks as pages, which load nothing from outside."""
