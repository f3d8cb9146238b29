"""What an installation without the extras answers where one is needed."""

# By the name that is imported: what it is called in pyproject.toml goes with the extra.
_TRAIN = {
    "matplotlib", "optax", "orbax", "PIL", "pooch", "requests", "safetensors", "scipy", "sklearn",
    "tqdm", "tyro",
}  # fmt: skip
_EXTRAS = dict.fromkeys(_TRAIN, "train") | {"tensorboardX": "tensorboard"}


def missing(error: ModuleNotFoundError, what: str) -> str | None:
    """In a sentence, that `what` needs the extra whose module was not found; None for others."""
    module = (error.name or "").partition(".")[0]
    if (extra := _EXTRAS.get(module)) is None:
        return None
    return (
        f"{what} needs {module}, which is not installed: it comes with the extra `{extra}`,"
        f' pip install "jaxcnn[{extra}]".'
    )
