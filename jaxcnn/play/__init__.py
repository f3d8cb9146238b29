"""The page on which one draws a digit and watches every activation and gradient: `jaxcnn play`."""
