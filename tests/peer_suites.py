"""JAX's, Flax's and Optax's own tests, with this package's functions in place of theirs.

    python -m tests.peer_suites jax ~/jax
    python -m tests.peer_suites flax ~/flax -k pool
    python -m tests.peer_suites optax ~/optax

The folder is a checkout of the peer at the version that is installed; nothing is fetched. The tests
run in reverse mode: plain forward mode is what no `jax.custom_vjp` has, so `check_grads` is asked
for the other half, and what calls `jax.jvp` itself is listed apart. The status is 1 if anything
else fails. JAX_NUM_GENERATED_CASES says how many cases each of JAX's generated tests has, 60 here.
"""

import argparse
import importlib
import os
import pathlib
import sys
import types

os.environ.setdefault("JAX_NUM_GENERATED_CASES", "60")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.test_util
import pytest
from jax import lax

import jaxcnn

# Of each peer: the files, and the words that select what these functions stand in for.
SUITES = {
    "jax": (
        ("tests/lax_test.py", "tests/lax_autodiff_test.py", "tests/lax_vmap_test.py"),
        "Conv and not Convert or conv_general",
    ),
    "flax": (
        (
            "tests/linen/linen_linear_test.py",
            "tests/linen/linen_test.py",
            "tests/nnx/nn/conv_test.py",
        ),
        "conv or pool",
    ),
    "optax": (("optax/losses/_classification_test.py",), "Entropy or Poly"),
}
NO_FORWARD_MODE = "can't apply forward-mode differentiation (jvp) to a custom_vjp function"


def replace_convolutions() -> None:
    """`lax.conv_general_dilated`, and what of lax is written with it, by this package's rule."""
    # The package itself calls lax, and has to go on calling the original; all of it is loaded now.
    replacement = jaxcnn.conv_general_dilated
    original = types.SimpleNamespace(**vars(lax))
    for name, module in list(sys.modules.items()):
        if name.startswith("jaxcnn") and vars(module).get("lax") is lax:
            vars(module)["lax"] = original
    by = {"conv_general_dilated": replacement}
    for name, function in vars(original).items():
        if isinstance(function, types.FunctionType) and (
            "conv_general_dilated" in function.__code__.co_names
        ):
            names = function.__globals__ | by
            if "convolution" in names:  # another file of lax, which reaches it by its module
                names["convolution"] = types.SimpleNamespace(**vars(names["convolution"]) | by)
            again = types.FunctionType(
                function.__code__, names, name, function.__defaults__, function.__closure__
            )
            again.__kwdefaults__ = function.__kwdefaults__
            setattr(lax, name, again)
    lax.conv_general_dilated = replacement


def replace_pools() -> None:
    """The two pools of Flax, in both of its packages."""
    from flax import linen, nnx

    for package in (linen, nnx):
        vars(package).update(max_pool=jaxcnn.max_pool, avg_pool=jaxcnn.avg_pool)


def replace_losses() -> None:
    """The two losses of Optax, in the file that its tests read them from."""
    losses = importlib.import_module("optax.losses._classification")
    for name in ("softmax_cross_entropy", "softmax_cross_entropy_with_integer_labels"):
        setattr(losses, name, getattr(jaxcnn, name))


def ask_for_reverse_mode() -> list[str]:
    """Let `check_grads` check reverse mode alone; the list names the tests that wanted both."""
    wanted: list[str] = []
    both = jax.test_util.check_grads

    def check_grads(f, args, order, modes=("fwd", "rev"), **options):
        modes = (modes,) if isinstance(modes, str) else tuple(modes)
        if "fwd" in modes:
            wanted.append(os.environ.get("PYTEST_CURRENT_TEST", "").split(" ")[0])
        if "rev" in modes:
            both(f, args, order, ("rev",), **options)

    for module in list(sys.modules.values()):
        if vars(module).get("check_grads") is both:
            vars(module)["check_grads"] = check_grads
    return wanted


class Report:
    """What failed, apart from what failed for want of forward mode alone."""

    def __init__(self) -> None:
        self.passed, self.skipped, self.failed, self.forward = 0, 0, [], []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            forward = NO_FORWARD_MODE in report.longreprtext
            (self.forward if forward else self.failed).append(report.nodeid)
        elif report.when == "call":
            self.passed += report.passed
            self.skipped += report.skipped

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.failed.append(f"{report.nodeid}: {report.longreprtext}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("peer", choices=SUITES)
    parser.add_argument("folder", type=pathlib.Path, help="a checkout of the peer")
    parser.add_argument("-k", dest="words", help="as in pytest; by default what is replaced")
    arguments = parser.parse_args()
    files, words = SUITES[arguments.peer]
    paths = [arguments.folder.resolve() / name for name in files]
    for path in paths:
        if not path.is_file():
            parser.error(f"{path} is not a file: expected a checkout of {arguments.peer}")

    replace_convolutions()
    {"jax": lambda: None, "flax": replace_pools, "optax": replace_losses}[arguments.peer]()
    wanted = ask_for_reverse_mode()
    report = Report()
    options = ["-q", "--tb=short", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir"]
    options += [str(arguments.folder.resolve()), "--import-mode=importlib"]
    sys.argv[1:] = []  # JAX's tests parse the command line
    pytest.main([*options, "-k", arguments.words or words, *map(str, paths)], plugins=[report])

    print(f"\n{arguments.peer}, jax {jax.__version__}: {report.passed} passed, ", end="")
    print(f"{report.skipped} skipped, {len(report.failed)} failed; ", end="")
    print(f"{len(set(wanted))} checked in reverse mode alone")
    for title, names in (("wants jax.jvp", report.forward), ("failed", report.failed)):
        for name in names:
            print(f"{title}: {name}")
    return 1 if report.failed or not report.passed else 0


if __name__ == "__main__":
    sys.exit(main())
