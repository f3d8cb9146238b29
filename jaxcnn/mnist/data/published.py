"""The published data sets: their files, what vouches for them, and where they are served."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """The four IDX files of a data set, what vouches for them, and where they are served."""

    title: str
    # Folders, relative to a data folder, in which people keep it; torchvision's last.
    folders: tuple[str, ...]
    mirrors: tuple[str, ...]
    trusts: str  # "content", the decompressed bytes, or "container", the .gz as published
    digests: Mapping[str, str]
    shapes: Mapping[str, tuple[int, ...]]


_SHAPES = {
    "train-images-idx3-ubyte": (60_000, 28, 28),
    "train-labels-idx1-ubyte": (60_000,),
    "t10k-images-idx3-ubyte": (10_000, 28, 28),
    "t10k-labels-idx1-ubyte": (10_000,),
}

SOURCES = {
    "mnist": Source(
        title="MNIST",
        folders=("mnist", "MNIST/raw", "."),
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        trusts="content",
        digests=dict(
            zip(
                _SHAPES,
                (
                    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
                ),
                strict=True,
            )
        ),
        shapes=_SHAPES,
    ),
    "fashion_mnist": Source(
        title="Fashion-MNIST",
        folders=("fashion_mnist", "fashion-mnist", "FashionMNIST/raw", "."),
        mirrors=(
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
        trusts="container",
        digests=dict(
            zip(
                _SHAPES,
                (
                    "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                    "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                    "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                    "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
                ),
                strict=True,
            )
        ),
        shapes=_SHAPES,
    ),
}
