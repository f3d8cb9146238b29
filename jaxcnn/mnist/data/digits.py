"""Scikit-learn's 1,797 handwritten digits in MNIST's clothes: real data that needs no network."""

import hashlib

import numpy as np

from .placement import BOX, centre_by_mass, resize

# The 300 that remain are for testing.
TRAIN, VALIDATION = 1_200, 297


def load_digits() -> tuple[np.ndarray, np.ndarray, dict[str, str]]:
    """Images uint8 `[1797, 28, 28]`, labels uint8 `[1797]`, and the digest of what they are from.

    Every 8x8 image (values 0 to 16) is scaled to 20x20 and put into 28x28 with its centre of mass
    in the middle, as MNIST's digits were. The order is scikit-learn's, which goes from writer to
    writer: split in that order, the test digits are by other hands than the training digits.
    """
    from sklearn import datasets

    small, labels = datasets.load_digits(return_X_y=True)
    small = np.asarray(small).reshape(-1, 8, 8).astype(np.uint8)
    labels = np.asarray(labels).astype(np.uint8)
    digest = hashlib.sha256(small.tobytes() + labels.tobytes()).hexdigest()
    ink = small.astype(np.float32) / 16
    images = np.stack([centre_by_mass(resize(image, (BOX, BOX))) for image in ink])
    return images, labels, {"sklearn.datasets.load_digits": digest}
