"""docs/compiler.md shows what the compiler does today."""

import re

from needle.compiler.fuse.fuse import fuse
from needle.compiler.lower.lower import Kernels
from needle.compiler.plan import order as plan_order
from needle.compiler.simplify.simplify import simplify
from needle.compiler.target import named
from tests.compiler import building as g
from tools.kernel_loops import describe
from tools.make_compiler_page import PAGE, made


def test_the_page_is_what_the_compiler_makes():
    page = PAGE.read_text(encoding="utf-8")
    assert made(page, any_llvm=True) == page, "run tools/make_compiler_page.py"


def test_what_the_page_says_about_its_loops_holds():
    page = PAGE.read_text(encoding="utf-8")
    loops, code = (page.split(f"<!-- made: {name} -->")[1] for name in ("loops", "assembly"))
    first = loops.partition("then,")[0]
    assert first.count("for j in 512 by 64:") == 3
    code = code.partition("<!-- end -->")[0]
    assert code.count("vfmadd") == 8 and "%zmm" in code
    assert "%rsp" not in code and "%xmm" not in code and "%ymm" not in code


def test_loops_are_printed_with_their_sweeps():
    x = g.input_node(0, "x", (8, 40), "float32")
    top = g.broadcast(g.reshape(g.reduce("max", x, (1,)), (8, 1)), x.shape)
    graph = g.Graph((x,), (g.unary("exp", g.sub(x, top)),))
    fused = fuse(graph)
    kernels = Kernels(named("haswell"))
    (one,) = plan_order.tailed([kernels.lower(group, fused.memory) for group in fused.groups])
    text = describe(one.work, ["x", "y"])
    assert text.count("for j in 40 by ") == 2
    second = r"v0 - v\1\n +v(\d+) = exp\(v\d+\)\n +y\[40\*i \+ j\] = v\2$"
    assert re.search(r"v(\d+) max= v0\n.*for j.*v\d+ = " + second, text, re.DOTALL), text


def test_simplify_counts_the_rules_that_applied():
    x = g.input_node(0, "x", (3,), "float32")
    fired: dict[str, int] = {}
    simplify(g.Graph((x,), (g.sub(x, g.unary("neg", x)),)), fired=fired)
    assert fired == {"add_of_negation": 1}
