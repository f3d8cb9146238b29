"""Random shapes and options of every layer, held to the checks of the table.

`python -m tests.proof.random_cases --count 2000 --seed 0` draws and checks that many and prints
how many of each layer passed; a disagreement is printed as a case that can be added to the table.

XLA ends the whole process on some of the programs that autodiff derives ("Check failed" in its
algebraic simplifier: dx of a strided convolution with a kernel as large as its image). So the cases
run in a process of their own. Where it dies, the case is run once more without autodiff, held to
the other oracles, and counted apart.
"""

import argparse
import collections
import json
import random
import subprocess
import sys
import time

from tests import strict as strict  # before JAX starts

import jax  # isort: skip

import jaxcnn
from jaxcnn import reference
from tests.proof import checks
from tests.proof.cases import LAYERS, Case


def draw(choose) -> Case:
    """A case that the layer accepts; `choose(sequence)` picks one of a sequence."""
    while True:
        layer = choose(LAYERS)
        case = _DRAWS[layer](choose)
        try:
            jax.eval_shape(lambda case=case: case.call(jaxcnn, case.inputs()))
        except ValueError:  # an empty output, or a window in the padding: draw again
            continue
        return case


def _normal(**shapes) -> dict:
    return {name: (shape, "normal") for name, shape in shapes.items()}


def _each(choose, values, axes) -> tuple:
    return tuple(choose(values) for _ in range(axes))


def _window(choose, kernels=(1, 2, 3, 4)):
    """Spatial axes, sizes, kernel, strides, padding and dilation, small in three dimensions."""
    axes = choose((1, 2, 2, 2, 3))
    sizes = _each(choose, range(1, 9 if axes < 3 else 5), axes)
    k = _each(choose, kernels if axes < 3 else kernels[:3], axes)
    strides = choose((1, 2, 3, _each(choose, (1, 2, 3), axes)))
    pairs = tuple((choose(range(-1, 4)), choose(range(-1, 4))) for _ in range(axes))
    padding = choose(("SAME", "SAME_LOWER", "VALID", 0, 1, 2, pairs, pairs))
    dilation = choose((1, 1, 2, _each(choose, (1, 2, 3), axes)))
    return axes, sizes, k, strides, padding, dilation


def _lead(choose) -> tuple:
    return choose(((), (1,), (2,), (2,), (3,), (2, 2)))


def _conv(choose) -> Case:
    _, sizes, k, strides, padding, dilation = _window(choose)
    groups = choose((1, 1, 1, 2, 3))
    c, o = groups * choose((1, 2, 3)), groups * choose((1, 2, 4))
    arrays = _normal(x=(*_lead(choose), *sizes, c), w=(*k, c // groups, o))
    arrays |= choose(({}, _normal(b=(o,))))
    options = {"strides": strides, "padding": padding, "kernel_dilation": dilation}
    options |= {"feature_group_count": groups, "activation": choose((None, None, "relu"))}
    return Case("conv", arrays, options)


def _conv_transpose(choose) -> Case:
    axes, sizes, k, strides, _, dilation = _window(choose)
    sizes = tuple(min(n, 4) for n in sizes)
    c, o, transposed = choose((1, 2, 3)), choose((1, 2, 4)), choose((False, True))
    groups = choose((1, 1, 1, 2, 3))
    pairs = tuple((choose(range(4)), choose(range(4))) for _ in range(axes))
    arrays = _normal(
        x=(*_lead(choose), *sizes, groups * c),
        w=(*k, *((o, groups * c) if transposed else (c, groups * o))),
    ) | choose(({}, _normal(b=(groups * o,))))
    options = {
        "strides": strides, "padding": choose(("SAME", "VALID", 1, pairs)),
        "kernel_dilation": dilation, "transpose_kernel": transposed,
        "feature_group_count": groups, "activation": choose((None, None, "relu")),
    }  # fmt: skip
    return Case("conv_transpose", arrays, options)


def _conv_general_dilated(choose) -> Case:
    axes, sizes, k, _, padding, _ = _window(choose)
    space = "DHW"[-axes:]
    groups, batches = choose(((1, 1), (1, 1), (2, 1), (1, 2)))
    shape = {"N": batches * choose((1, 2)), "C": groups * choose((1, 2))}
    kernel = {"I": shape["C"] // groups, "O": groups * batches * choose((1, 2))}
    for letter, n, ki in zip(space, sizes, k, strict=True):
        shape[letter], kernel[letter] = n, ki

    def shuffled(letters) -> str:
        order = ""
        while letters:
            order += (letter := choose(letters))
            letters = letters.replace(letter, "")
        return order

    specs = tuple(shuffled(extra + space) for extra in ("NC", "IO", "NC"))
    if isinstance(padding, int):
        padding = ((padding, padding),) * axes
    dilated = not isinstance(padding, str) and choose((False, True))
    options = {
        "window_strides": _each(choose, (1, 2, 3), axes), "padding": padding,
        "lhs_dilation": _each(choose, (1, 2, 3), axes) if dilated else None,
        "rhs_dilation": choose((None, _each(choose, (1, 2), axes))),
        "dimension_numbers": specs,
        "feature_group_count": groups, "batch_group_count": batches,
    }  # fmt: skip
    lhs, rhs = (tuple(d[c] for c in spec) for d, spec in [(shape, specs[0]), (kernel, specs[1])])
    return Case("conv_general_dilated", _normal(lhs=lhs, rhs=rhs), options)


def _max_pool(choose) -> Case:
    _, sizes, k, strides, padding, dilation = _window(choose)
    shape = (*_lead(choose), *sizes, choose((1, 2, 3)))
    options = {
        "window_shape": k, "strides": choose((None, strides)), "padding": padding,
        "window_dilation": choose((None, dilation)), "ties": choose(("first", "all", "split")),
    }  # fmt: skip
    return Case("max_pool", {"x": (shape, choose(("distinct", "tied", "relu")))}, options)


def _avg_pool(choose) -> Case:
    _, sizes, k, strides, padding, _ = _window(choose)
    shape = (*_lead(choose), *sizes, choose((1, 2, 3)))
    options = {"window_shape": k, "strides": choose((None, strides)), "padding": padding}
    return Case(
        "avg_pool", _normal(x=shape), options | {"count_include_pad": choose((True, False))}
    )


def _shape(choose, least=1) -> tuple:
    return _each(choose, (1, 2, 3, 5), choose(range(least, 4)))


def _relu(choose) -> Case:
    return Case("relu", {"x": (_shape(choose), choose(("normal", "tied")))})


def _axis(choose, shape):
    one = choose(range(-len(shape), len(shape)))
    if len(shape) < 2:
        return one
    other = choose([a for a in range(len(shape)) if a != one % len(shape)])
    return choose((one, one, (one, other)))


def _softmax(choose) -> Case:
    shape = _shape(choose)
    return Case("softmax", _normal(x=shape), {"axis": _axis(choose, shape)})


def _dense(choose) -> Case:
    shape, o = _shape(choose), choose((1, 2, 3, 5))
    return Case("dense", _normal(x=shape, w=(shape[-1], o)) | choose(({}, _normal(b=(o,)))))


def _softmax_cross_entropy(choose) -> Case:
    shape = _shape(choose)
    arrays = _normal(logits=shape)
    arrays["labels"] = (shape, choose(("distribution", "weights", "normal")))
    if choose((False, True)):
        arrays["where"] = (shape, "mask")
    return Case("softmax_cross_entropy", arrays, {"axis": _axis(choose, shape)})


def _softmax_cross_entropy_with_integer_labels(choose) -> Case:
    shape = (*_shape(choose)[:-1], choose((3, 4, 6)))  # labels are 0 to 2
    arrays = _normal(logits=shape) | {"labels": (shape[:-1], "label")}
    mask = choose((None, shape, shape[:-1]))
    if mask:
        arrays["where"] = (mask, "mask")
    return Case("softmax_cross_entropy_with_integer_labels", arrays, {"axis": -1})


_DRAWS = {layer: globals()[f"_{layer}"] for layer in LAYERS}


def check(arguments: argparse.Namespace) -> None:
    """Check the cases from `--first` on; a line of JSON for each."""
    generator = random.Random(arguments.seed)
    for number in range(arguments.count):
        case = draw(lambda options: generator.choice(list(options)))
        if number < arguments.first:
            continue
        automatic = jaxcnn if arguments.alone else reference
        try:
            failed = checks.failures(checks.run(case, automatic=automatic))
        except Exception as error:  # counted, not fatal: the draw goes on
            failed = {"raised": f"{type(error).__name__}: {error}"}
        line = {"number": number, "layer": case.layer, "case": repr(case), "failed": failed}
        print(json.dumps(line), flush=True)
        if arguments.alone:
            return
        if number % 100 == 99:
            jax.clear_caches()  # a program a case: they are never used again
            print(f"{number + 1} cases", file=sys.stderr, flush=True)


def results(arguments: argparse.Namespace, first: int, *options: str):
    """What a process says of its cases, and last its exit status."""
    command = [sys.executable, "-m", "tests.proof.random_cases", "--worker", "--first", str(first)]
    command += ["--count", str(arguments.count), "--seed", str(arguments.seed), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield json.loads(line)
    yield process.returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case checked")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        check(arguments)
        return 0
    passed, failed, start = collections.Counter(), 0, time.monotonic()
    aborted, number = [], arguments.first

    def record(result) -> None:
        nonlocal failed
        passed[result["layer"]] += not result["failed"]
        failed += bool(result["failed"])
        for name, message in result["failed"].items():
            print(f"{result['case']}\n{name}: {message}\n", flush=True)

    while number < arguments.count:
        for result in results(arguments, number):
            if isinstance(result, dict):
                record(result)
                number = result["number"] + 1
            elif result != 0 and number < arguments.count:
                found = next(results(arguments, number, "--alone"))
                if not isinstance(found, dict):
                    failed += 1
                    print(f"case {number}: the layer itself ended the process", flush=True)
                else:
                    aborted.append(found["case"])
                    record(found)
                number += 1
    seconds = time.monotonic() - start
    for case in aborted:
        print(f"autodiff ended the process, the layer did not: {case}")
    print(
        f"seed {arguments.seed}: {arguments.count} random cases, {failed} disagreements, "
        f"{seconds:.0f} s, jax {jax.__version__}: {dict(sorted(passed.items()))}; "
        f"autodiff ended the process in {len(aborted)}"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
